// A runtime in a program whose timers are faked: its own are the real ones.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { temporaryDirectory } from "../support.ts";

const program = fileURLToPath(new URL("../fixtures/fake-time.js", import.meta.url));
const ANSWERS = [
  1,
  "after 5",
  [1, 2],
  [3, 4],
  5,
  6,
  "ERR_TASK_TIMEOUT",
  "ERR_TASK_TIMEOUT",
  "ERR_TASK_TIMEOUT",
  "timed out",
  5,
  8,
];

for (const kind of ["sinon", "node", "nothing"]) {
  for (const when of ["after", "before"]) {
    test(`everything settles under fake timers: ${kind}, put in place ${when} the runtime is loaded`, () => {
      const { stdout, stderr } = spawnSync(process.execPath, [program, kind, when, temporaryDirectory()], {
        encoding: "utf8",
        timeout: 60_000,
      });
      assert.is(stdout, `${JSON.stringify(ANSWERS)}\n`, stderr);
    });
  }
}

test.run();
