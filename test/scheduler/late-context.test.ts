// A context that is used after its task: an error with a code, from every method.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Blocking } from "@millrace/pool";
import { blockingContext } from "@millrace/pool/internal/blocking-context";
import type * as handlers from "../fixtures/late-handlers.ts";
import { schedulersOf } from "./with-scheduler.ts";

const url = new URL("../fixtures/late-handlers.js", import.meta.url);
const withScheduler = schedulersOf<typeof handlers>({ handlers: url, processors: 1 });

const METHODS = ["run", "spawn", "join", "group", "blocking", "transfer", "group.spawn", "group.join", "group.done"];
const OVER = {
  ...Object.fromEntries([...METHODS, "signal"].map((name) => [name, "ERR_TASK_OVER"])),
  isCancelled: true,
  deadlineMs: undefined,
  attempt: 1,
};

for (const how of ["keep", "keepLater", "keepAndFail", "keepOnTheSpot"] as const) {
  test(`a context of a task that is over refuses every use: ${how}`, () =>
    withScheduler({ nestedTasksMax: 2 }, async ({ run }) => {
      await Promise.allSettled([run[how](undefined)]);
      assert.equal(await run.useKept(), OVER);
    }));
}

test("code that goes on after its handler is refused, even when the thread sleeps", () =>
  withScheduler({}, async ({ run }) => {
    await run.goOnAfterwards(undefined);
    assert.equal(await run.whatCameOfIt(), OVER);
  }));

test("a call that was made in time settles, although its maker didn't await it", () =>
  withScheduler({}, async ({ run }) => {
    await run.runWithoutAwaiting(undefined);
    assert.is(await run.awaitIt(), "in time");
  }));

test("a handler that hears the signal reads that it is cancelled", () => {
  const delivered = {
    isLate: () => false,
    record: undefined,
    openStage: (): never => assert.unreachable("not staged") as never,
  };
  const context = blockingContext(undefined, delivered);
  assert.not(context.signal.aborted || context.isCancelled);
  context.abort();
  assert.ok(context.signal.aborted && context.isCancelled);
});

test("the same holds on a thread of the blocking pool", async () => {
  const pool = new Blocking<typeof handlers>(url.href, ["keep", "useKept"], { threadsMax: 1 });
  try {
    await pool.run.keep(undefined);
    assert.equal(await pool.run.useKept(), OVER);
  } finally {
    await pool.close();
  }
});

test.run();
