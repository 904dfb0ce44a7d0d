import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";

const root = fileURLToPath(new URL("../../..", import.meta.url));

function run(...patterns: string[]): { readonly code: number | null; readonly output: string } {
  const { status, stdout } = spawnSync(process.execPath, [join(root, "test/run.mjs"), ...patterns], {
    encoding: "utf8",
  });
  return { code: status, output: stdout };
}

test("a package's tests run by its name, in every form of it", () => {
  for (const word of ["metrics", "@millrace/metrics", "packages/metrics", "test/metrics/"]) {
    const { code, output } = run(word);
    assert.is(code, 0, output);
    assert.match(output, /^ok {4}metrics\//m);
  }
});

test("a word without tests is answered with the words that have some", () => {
  const { code, output } = run("no-such-package");
  assert.is(code, 1);
  assert.match(output, "no test file matches no-such-package");
  assert.match(output, /every one of these words matches some: .*\bjournal\b.*\bmillrace\b/);
  assert.is(run("(").code, 2, "a pattern that isn't one");
});

test.run();
