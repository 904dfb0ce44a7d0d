// A handler's output is there before its call settles, whatever the program does then.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";

const program = fileURLToPath(new URL("../fixtures/printing.js", import.meta.url));
/**
 * Output that process.exit() can't write to a full pipe is lost, also in a program without threads.
 * So it is half of a pipe's room: a page of the pipe without room for a whole line stays partly
 * empty.
 */
const LINES: Readonly<Record<string, number>> = { nothing: 2000, close: 2000, unawaited: 2000, exit: 100 };

function linesOf(way: string, end: string): string[] {
  const { stdout, stderr } = spawnSync(process.execPath, [program, way, end, `${LINES[end]}`], {
    encoding: "utf8",
    maxBuffer: 2 ** 26,
    timeout: 60_000,
  });
  assert.is(stderr, "");
  return stdout.split("\n").slice(0, -1);
}

for (const way of ["run", "runMany", "parallelMap", "async", "parcel", "bytes", "throws", "dies", "blocking"]) {
  for (const end of ["exit", "nothing", "close"]) {
    test(`${way}, then ${end}: all lines, in order, before the outcome`, () => {
      const lines = linesOf(way, end);
      const count = LINES[end] as number;
      assert.is(lines.length, count + 1);
      assert.is(lines.at(-1), "told");
      if (way === "runMany" || way === "parallelMap") return;
      assert.is(
        lines.findIndex((line, index) => index < count && !line.startsWith(`line ${index}`)),
        -1,
      );
    });
  }
}

test("a program that doesn't await its call gets the lines as well", () => {
  const lines = linesOf("run", "unawaited");
  assert.is(lines.length, 2001);
});

test.run();
