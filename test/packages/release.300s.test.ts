/** The packages of a release are sound, and no heavier than they are said to be. */
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { temporaryDirectory } from "../support.ts";
import type { Packed } from "./registry.ts";
import { root } from "./support.ts";

const load = async <Module>(path: string): Promise<Module> => (await import(join(root, path))) as Module;
const { pack } = await load<{ pack: (built: string) => Packed[] }>("scripts/release/pack.mjs");
const { check } = await load<{ check: (packages: readonly Packed[]) => Promise<string[]> }>(
  "scripts/release/check.mjs",
);
const packages = pack(join(temporaryDirectory(), "pack"));

test("publint, are-the-types-wrong and the limits of sizes have no complaint", async () => {
  assert.equal(await check(packages), []);
});

test("a package that weighs too much is named", async () => {
  const [first] = packages as [Packed];
  const complaints = await check([{ ...first, size: first.size + 10_000_000 }]);
  assert.is(complaints.length, 1);
  assert.match(complaints[0] as string, `${first.name}: tarball of ${first.size + 10_000_000} bytes, at most `);
});

test("no tarball holds fakes, maps, build files or sources", () => {
  for (const { name, files } of packages) {
    const paths = files.map(({ path }) => path);
    for (const wanted of ["README.md", "LICENSE", "package.json"])
      assert.ok(paths.includes(wanted), `${name}: ${wanted}`);
    const unwanted = paths.filter((path) => /\.map$|tsbuildinfo|\.fault\.|\.model\.|(^|\/)src\/|\.test\./.test(path));
    assert.equal(unwanted, [], name);
  }
});

test.run();
