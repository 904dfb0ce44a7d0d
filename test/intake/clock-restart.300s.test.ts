// Somebody sets the clock while no process runs.
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Steady } from "@millrace/intake/internal/delivery/steady";
import { pauseLeftMs } from "@millrace/intake/internal/states/retry-table";
import { temporaryDirectory } from "../support.ts";

const DAY_MS = 86_400_000;
const fixtures = new URL("../../../test/fixtures/", import.meta.url);
const service = fileURLToPath(new URL("clock-service.mjs", fixtures));

/** Runs the service by a clock that is set by so many ms; what it prints, or undefined. */
async function serve(stepMs: number, ...args: readonly string[]): Promise<unknown> {
  const env = { ...process.env, CLOCK_STEP_MS: `${stepMs}` };
  const setClock = new URL("set-clock.mjs", fixtures).href;
  const running = promisify(execFile)(process.execPath, ["--import", setClock, service, ...args], {
    env,
    timeout: 60_000,
  });
  const { stdout } = await running.catch((thrown: { signal: string; stderr: string }) => {
    assert.is(thrown.signal, "SIGKILL", thrown.stderr);
    return { stdout: "null" };
  });
  return JSON.parse(stdout);
}

const CASES: readonly (readonly [name: string, ending: string, steps: string, stepMs: number, attempts: number[]])[] = [
  ["set back by a day", "close", "fail,ok", -DAY_MS, [1, 2]],
  ["set back by a day, after a kill", "kill", "fail,ok", -DAY_MS, [1, 2]],
  ["set ahead by two days", "close", "fail,fail,ok", 2 * DAY_MS, [1, 2, 3]],
  ["set ahead by two days, after a kill", "kill", "fail,fail,fail,ok", 2 * DAY_MS, [1, 2, 3, 4]],
  ["left alone after a snooze", "close", "snooze,fail,ok", 0, [1, 1, 2]],
];

for (const [name, ending, steps, stepMs, attempts] of CASES) {
  test(`a record keeps its pause and its attempts when the clock is ${name}`, async () => {
    const directory = temporaryDirectory();
    const file = join(directory, "called");
    await serve(0, join(directory, "journal"), file, ending, steps);
    assert.equal(await serve(stepMs, join(directory, "journal"), file, "drain"), { dead: 0 });
    const called = readFileSync(file, "utf8").trimEnd().split("\n").map(Number);
    // An end without a word counts as well in what a handler is told.
    if (ending === "kill") assert.is(called.length, attempts.length);
    else assert.equal(called, attempts);
  });
}

test("a pause is never longer than it was, by whatever clock", () => {
  const retry = { attempts: 1, dueMs: 10_000, pauseMs: 5000, ageMs: 1000, place: 1 };
  assert.is(pauseLeftMs(retry, 7000), 3000);
  assert.is(pauseLeftMs(retry, 20_000), 0);
  assert.is(pauseLeftMs(retry, 5000 - DAY_MS), 5000);
});

test("an age is that of the RETRY record, and grows while a process runs", () => {
  for (const stepMs of [0, DAY_MS, -DAY_MS]) {
    const clock = { nowMs: 50, now: () => clock.nowMs, wall: () => 1_000_000 + stepMs };
    const steady = new Steady(clock);
    const retry = { attempts: 1, dueMs: 999_000, pauseMs: 100, ageMs: 9000, place: 1 };
    clock.nowMs += 2000;
    assert.is(steady.nowMs() - steady.firstOf(retry), 11_000);
    // One that this process has written.
    const dueMs = steady.nowMs() - 400;
    assert.is(steady.nowMs() - steady.firstOf({ ...retry, dueMs }), 9500);
    assert.is(steady.firstOf({ ...retry, attempts: 0 }), 0, "a snooze is no failure");
  }
});

test.run();
