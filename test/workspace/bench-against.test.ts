import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";

const root = fileURLToPath(new URL("../../..", import.meta.url));

function against(...args: string[]): {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
} {
  const program = join(root, ".build/bench/against.js");
  return spawnSync(process.execPath, [program, ...args], { encoding: "utf8", timeout: 60_000 });
}

test("a checkout is compared with another one, and with itself", () => {
  const { status, stdout, stderr } = against(root, "codec", "--case", "^three", "--rounds", "2", "--ms", "5");
  assert.is(status, 0, stderr);
  const lines = stdout.trimEnd().split("\n");
  assert.ok(lines.length > 0, stdout);
  for (const line of lines) assert.match(line, /^codec three, .* \d+\.\d\d \(\d.*–\d.*\) +noise \d+\.\d\d \(/);
});

test("what is missing is named", () => {
  for (const [args, message] of [
    [[root], /^usage: npm run bench:against/],
    [[root, "codec", "--rounds", "none"], /^usage: npm run bench:against/],
    [[root, "codecs"], /has no benchmark codecs; there are .*codec/],
    [[join(root, "nowhere"), "codec"], /build that checkout first/],
  ] as const) {
    const { status, stderr } = against(...args);
    assert.is(status, 2, stderr);
    assert.match(stderr, message);
    assert.not.match(stderr, "    at ");
  }
});

test.run();
