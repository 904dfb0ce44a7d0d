import { test } from "uvu";
import * as assert from "uvu/assert";
import { LongRun } from "@millrace/scheduler/internal/supervisor/long-run";
import { systemThread, waitedMs } from "@millrace/scheduler/internal/shared/system-thread";

test("a handler isn't blamed for the time in which the system let others run", () => {
  const run = new LongRun();
  run.begin(1000);
  run.look(1010, 5000);
  assert.is(run.ms, 10);
  // 500 ms later, of which the thread had a processor for 20.
  run.look(1510, 5480);
  assert.is(run.ms, 30);
  run.look(1610, 5480);
  assert.is(run.ms, 130);
});

test("what lies behind the last look doesn't count, nor does the task before", () => {
  const run = new LongRun();
  run.begin(1000);
  // The watchdog itself came late: the task may have ended long before.
  assert.is(run.ms, 0);
  run.look(1200, 0);
  assert.is(run.ms, 200);
  run.begin(1900);
  run.look(1905, 300);
  assert.is(run.ms, 5);
});

test("a handler that sleeps in a call is blamed: it holds its thread", () => {
  const run = new LongRun();
  run.begin(0);
  for (let now = 10; now <= 500; now += 10) run.look(now, 7);
  assert.is(run.ms, 500);
});

test("the system's account of a thread is read where there is one", () => {
  const thread = systemThread();
  assert.is(thread !== undefined, process.platform === "linux");
  const waited = waitedMs(thread);
  assert.ok(waited >= 0 && Number.isFinite(waited));
  assert.is(waitedMs(undefined), 0);
  assert.is(waitedMs(2 ** 30), 0);
});

test.run();
