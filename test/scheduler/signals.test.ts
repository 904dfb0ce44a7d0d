// One signal for many calls: no warning of a leak, and none is left.
import { getEventListeners } from "node:events";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Blocking } from "@millrace/pool";
import type * as handlers from "../fixtures/handlers.ts";
import { handlersUrl, rejectsWith } from "../support.ts";
import { schedulersOf } from "./with-scheduler.ts";

const withScheduler = schedulersOf<typeof handlers>({ handlers: handlersUrl, processors: 1 });
const CALLS = 50;

const warnings: Error[] = [];
process.on("warning", (warning) => warnings.push(warning));

/** Warnings are emitted in a later turn. */
async function assertNoWarning(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(
    warnings.filter(({ name }) => name === "MaxListenersExceededWarning"),
    [],
  );
}

for (const how of ["aborted", "in time"] as const) {
  test(`${CALLS} calls with one signal, ${how}`, () =>
    withScheduler({ tasksMax: 16 }, async ({ run }) => {
      const controller = new AbortController();
      const { signal } = controller;
      const long = run.later(how === "aborted" ? 50 : 1);
      const calls = Array.from({ length: CALLS }, (_, n) => run.echo(n, { signal, timeoutMs: 60_000 }));
      assert.is(getEventListeners(signal, "abort").length, 1);
      if (how === "aborted") {
        controller.abort();
        for (const call of calls) await rejectsWith(call, "ERR_TASK_ABORTED");
      } else assert.is((await Promise.all(calls)).length, CALLS);
      await long;
      assert.is(getEventListeners(signal, "abort").length, 0);
      await assertNoWarning();
    }));
}

test(`${CALLS} blocking calls with one signal`, async () => {
  const pool = new Blocking<typeof handlers>(handlersUrl.href, ["echo", "later"], { threadsMax: 1 });
  const controller = new AbortController();
  const { signal } = controller;
  const calls = Array.from({ length: CALLS }, (_, n) =>
    rejectsWith(pool.run.later(n + 100, { signal }), "ERR_TASK_ABORTED"),
  );
  controller.abort();
  await Promise.all(calls);
  assert.is(getEventListeners(signal, "abort").length, 0);
  await assertNoWarning();
  await pool.close();
});

test.run();
