import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
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

/** A checkout whose code would change this process's exit code, were it to run here. */
function strangeCheckout(): string {
  const checkout = mkdtempSync(join(tmpdir(), "millrace-test-"));
  const directory = join(checkout, ".build", "bench");
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(checkout, "package.json"), JSON.stringify({ type: "module" }));
  const cases = [{ id: "three" }, { id: "none" }];
  const codec = `{ name: "codec", cases: ${JSON.stringify(cases)}, subjects: [{ name: "ours" }] }`;
  const bad = "process.on('exit', () => (process.exitCode = process.argv.length > 3 ? 9 : 0));";
  writeFileSync(join(directory, "benchmarks.js"), `${bad} export const benchmarks = [${codec}];`);
  const measured = JSON.stringify([{ unit: "ns", value: 1, better: "less" }]);
  writeFileSync(join(directory, "cell.js"), `console.log(${JSON.stringify(measured)});`);
  return checkout;
}

test("code of the other checkout runs in its own processes", () => {
  const checkout = strangeCheckout();
  try {
    const { status, stderr } = against(checkout, "codec", "--case", "three", "--rounds", "1", "--ms", "5");
    assert.is(status, 0, stderr);
    const none = against(checkout, "codec", "--case", "none");
    assert.is(none.status, 2, none.stderr);
    assert.match(none.stderr, /share no case that matches/);
  } finally {
    rmSync(checkout, { recursive: true });
  }
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
