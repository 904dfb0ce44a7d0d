/** The packages of a release are sound, and no heavier than they are said to be. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { basename, join } from "node:path";
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

test("a tarball holds every file of the folders that its package names", () => {
  const folders: string[] = [];
  for (const { name, files } of packages) {
    const directory = join(root, "packages", basename(name));
    const manifest = JSON.parse(readFileSync(join(directory, "package.json"), "utf8")) as { files: string[] };
    const paths = new Set(files.map(({ path }) => path));
    // What is compiled is in the tarball as far as an entry reaches it.
    for (const folder of manifest.files.filter((each) => each !== "dist")) {
      folders.push(`${name}/${folder}`);
      for (const file of readdirSync(join(directory, folder), { recursive: true, encoding: "utf8" })) {
        if (statSync(join(directory, folder, file)).isFile())
          assert.ok(paths.has(join(folder, file)), `${name}: ${join(folder, file)}`);
      }
    }
  }
  // The launcher and the live page at least.
  assert.ok(folders.includes("@millrace/cli/bin") && folders.includes("@millrace/server/page"), folders.join());
});

test.run();
