// Calls that end early, are tried again, or carry what bytes can't.
import { MessageChannel, type MessagePort, receiveMessageOnPort } from "node:worker_threads";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Scheduler } from "@millrace/scheduler";
import type * as handlers from "../fixtures/nested-handlers.ts";
import { rejectsWith, until } from "../support.ts";
import { schedulersOf } from "./with-scheduler.ts";

const nestedUrl = new URL("../fixtures/nested-handlers.js", import.meta.url);

const withScheduler = schedulersOf<typeof handlers>({ handlers: nestedUrl, processors: 1, onHint: () => {} });

function sharedWords(): Int32Array {
  return new Int32Array(new SharedArrayBuffer(64));
}

test("an aborted call rejects at once; a task that no machine has yet never runs", () =>
  withScheduler({ tasksMax: 4 }, async (scheduler) => {
    const words = sharedWords();
    const waiting = scheduler.run.waitFor(words);
    const controller = new AbortController();
    const first = scheduler.run.hold(100);
    const calls = Array.from({ length: 10 }, () => scheduler.run.mark(words, { signal: controller.signal }));
    controller.abort(new Error("enough"));
    for (const call of calls) {
      const error = await rejectsWith(call, "ERR_TASK_ABORTED");
      assert.is((error.cause as Error).message, "enough");
    }
    await first;
    await scheduler.run.release(words);
    await waiting;
    assert.is(Atomics.load(words, 2), 0);
    await rejectsWith(scheduler.run.mark(words, { signal: controller.signal }), "ERR_TASK_ABORTED");
  }));

test("a handler sees that its call was aborted, by its context or by its signal", () =>
  withScheduler({}, async (scheduler) => {
    for (const name of ["untilCancelled", "untilAborted"] as const) {
      const words = sharedWords();
      const controller = new AbortController();
      const call = scheduler.run[name](words, { signal: controller.signal });
      await until(() => Atomics.load(words, 0) === 1, "the handler runs");
      controller.abort();
      await rejectsWith(call, "ERR_TASK_ABORTED");
      await until(() => Atomics.load(words, 1) === 1, "the handler has ended");
      await until(() => scheduler.stats().outstanding === 0, "its slot is free");
    }
  }));

test("a call that a getter of its argument aborts never runs, and its slot is free", () =>
  withScheduler({ tasksMax: 2 }, async (scheduler) => {
    for (let n = 0; n < 5; n += 1) {
      const controller = new AbortController();
      const pair = {
        get length(): number {
          controller.abort();
          return 1;
        },
      };
      const call = scheduler.run.lengthOf(pair as never, { signal: controller.signal, timeoutMs: 60_000 });
      await rejectsWith(call, "ERR_TASK_ABORTED");
    }
    assert.equal(await scheduler.runMany.double([1, 2, 3]), [2, 4, 6]);
    const run = scheduler.stats().machines.reduce((sum, machine) => sum + machine.ok + machine.failed, 0);
    assert.is(run, 3);
  }));

test("timeoutMs counts from the call, and the handler knows its deadline", () =>
  withScheduler({}, async (scheduler) => {
    const words = sharedWords();
    const late = await rejectsWith(scheduler.run.untilCancelled(words, { timeoutMs: 50 }), "ERR_TASK_TIMEOUT");
    assert.is(late.details.timeoutMs, 50);
    const holding = scheduler.run.hold(200);
    const queued = await rejectsWith(scheduler.run.mark(words, { timeoutMs: 30 }), "ERR_TASK_TIMEOUT");
    assert.is(queued.details.isStarted, false);
    await holding;
    assert.is(Atomics.load(words, 2), 0);
    const deadline = (await scheduler.run.deadline(undefined, { timeoutMs: 5000 })) as number;
    const left = deadline - (performance.timeOrigin + performance.now());
    assert.ok(left > 0 && left <= 5001, `${left} ms left`);
    assert.is(await scheduler.run.deadline(), undefined);
    await until(() => scheduler.stats().outstanding === 0, "everything has ended");
  }));

test("runTimeoutMs counts from the start: waiting in the queue doesn't use it up", () =>
  withScheduler({}, async (scheduler) => {
    const words = sharedWords();
    const holding = scheduler.run.hold(200);
    const patient = scheduler.run.mark(words, { runTimeoutMs: 100 });
    await holding;
    await patient;
    assert.is(Atomics.load(words, 2), 1);
    const controller = new AbortController();
    const error = await rejectsWith(
      scheduler.run.untilAborted(words, { runTimeoutMs: 30, signal: controller.signal }),
      "ERR_TASK_TIMEOUT",
    );
    assert.is(error.details.isStarted, true);
    await until(() => scheduler.stats().outstanding === 0, "the handler was told");
  }));

for (const processors of [1, 2]) {
  test(`handlers whose arguments came by message call others while one is pending, on ${processors} processors`, () =>
    withScheduler({ processors }, async ({ run }) => {
      const pending = run.untilLetGo(undefined);
      // One after the other: so the machine sleeps whenever an argument comes.
      for (let length = 1; length <= 20; length += 1) {
        const buffer = new ArrayBuffer(length);
        assert.is(await run.lengthLater(buffer, { transferList: [buffer] }), length * 2);
      }
      // Wherever it is pending.
      let isOver = false;
      void pending.then(() => (isOver = true));
      while (!isOver) await Promise.all([run.letItGo(undefined), run.letItGo(undefined)]);
    }));
}

test("a value carried by message is what it was at the call, for each attempt", () =>
  withScheduler({}, async ({ run }) => {
    for (const retry of ["none", "crash"] as const) {
      const value = { shared: new SharedArrayBuffer(8), buffer: new ArrayBuffer(16) };
      const call = run.bytesOf(value, { priority: "high", retry });
      structuredClone(value.buffer, { transfer: [value.buffer] });
      if (retry === "none") assert.is(await call, 16);
      else {
        await rejectsWith(call, "ERR_VALUE_UNSUPPORTED");
      }
    }
    const next = { shared: new SharedArrayBuffer(8), buffer: new ArrayBuffer(4) };
    assert.is(await run.bytesOf(next), 4);
  }));

test("a computing handler learns that it should stop, though its machine is full", () =>
  withScheduler({ asyncTasksPerMachine: 1 }, async (scheduler) => {
    const words = sharedWords();
    const controller = new AbortController();
    const call = scheduler.run.abortedMeanwhile(words, { signal: controller.signal });
    await until(() => Atomics.load(words, 0) === 1, "the handler computes");
    controller.abort();
    await rejectsWith(call, "ERR_TASK_ABORTED");
    await until(() => Atomics.load(words, 1) === 1, "the handler was told");
    await until(() => scheduler.stats().outstanding === 0, "the handler is over");
  }));

test("what only looks like a promise settles its call once", () =>
  withScheduler({}, async ({ run }) => {
    assert.is(await run.thenable("twice"), 1);
    const error = (await run.thenable("throws").catch((thrown: unknown) => thrown)) as Error;
    assert.is(error.message, "then threw");
    assert.is(await run.double(2), 4);
  }));

test("an argument that can't be cloned for another attempt fails its call", () =>
  withScheduler({}, async ({ run }) => {
    for (const thrown of [null, Object.create(null) as object, Object.assign(new Error("x"), { name: Symbol("x") })]) {
      let isGone = false;
      const value = {
        shared: new SharedArrayBuffer(8),
        get buffer(): ArrayBuffer {
          // oxlint-disable-next-line typescript/only-throw-error -- what other people's code may throw
          if (isGone) throw thrown;
          return new ArrayBuffer(4);
        },
      };
      const call = run.bytesOf(value, { retry: "crash" });
      isGone = true;
      const error = (await call.catch((reason: unknown) => reason)) as Error;
      assert.match(error.message, "can't be sent any more");
    }
  }));

test("an async handler is tried again though its machine sleeps for another's sake", () =>
  withScheduler({}, async ({ run }) => {
    const pending = run.untilLetGo(undefined);
    let isLate = false;
    const limit = setTimeout(() => {
      isLate = true;
      void run.letItGo(undefined);
    }, 10_000);
    assert.is(await run.failBelowLater(2, { retry: "error" }), 2);
    clearTimeout(limit);
    assert.not.ok(isLate, "the second attempt had to wait for another call");
    await run.letItGo(undefined);
    await pending;
  }));

test('retry "error" runs a task again up to attemptsMax starts', () =>
  withScheduler({}, async ({ run }) => {
    assert.is(await run.failBelow(3, { retry: "error" }), 3);
    assert.is(await run.failBelow(10, { retry: "error", attemptsMax: 10 }), 10);
    try {
      await run.failBelow(4, { retry: "error" });
      assert.unreachable();
    } catch (thrown) {
      assert.is((thrown as Error).message, "attempt 3");
    }
    try {
      await run.failBelow(2);
      assert.unreachable();
    } catch (thrown) {
      assert.is((thrown as Error).message, "attempt 1");
    }
    await rejectsWith(
      Promise.resolve().then(() => run.failBelow(2, { retry: "error", attemptsMax: 16 })),
      "ERR_INVALID_OPTION",
    );
  }));

test("a task that kills every machine is given up, with its history", () =>
  withScheduler({}, async (scheduler) => {
    const words = sharedWords();
    const error = await rejectsWith(
      scheduler.run.exitHandler(words, { retry: "crash", attemptsMax: 15 }),
      "ERR_MACHINE_DIED",
    );
    assert.is(error.details.attempts, 3);
    assert.is((error.details.crashedMachines as number[]).length, 3);
    assert.is(Atomics.load(words, 1), 3);
    await until(() => scheduler.stats().outstanding === 0, "it is over");
  }));

test("a death is held against a task only if it ran alone; others run again, apart", () =>
  withScheduler({}, async (scheduler) => {
    const words = sharedWords();
    const calls = Array.from({ length: 5 }, () => scheduler.run.crashTogether(words, { retry: "crash" }));
    await until(() => Atomics.load(words, 1) === 5, "all are pending on one machine");
    Atomics.store(words, 0, 1);
    assert.equal(await Promise.all(calls), [2, 2, 2, 2, 2]);
  }));

test("ports, shared memory and moved buffers reach the handler", () =>
  withScheduler({}, async (scheduler) => {
    const { port1, port2 } = new MessageChannel();
    assert.is(await scheduler.run.answerOn(port1, { transferList: [port1] }), "sent");
    await until(() => {
      const received = receiveMessageOnPort(port2) as { message: string } | undefined;
      return received !== undefined && received.message.startsWith("from thread");
    }, "the handler's message arrives");
    port2.close();
    const buffer = new ArrayBuffer(1000);
    assert.is(await scheduler.run.lengthOf(buffer, { transferList: [buffer] }), 1000);
    assert.is(buffer.byteLength, 0, "it was moved");
    const words = sharedWords();
    await scheduler.run.mark(words);
    assert.is(Atomics.load(words, 2), 1);
  }));

test("results that bytes can't carry come back too", () =>
  withScheduler({}, async (scheduler) => {
    const port = (await scheduler.run.makeChannel()) as MessagePort;
    const received = receiveMessageOnPort(port) as { message: string };
    assert.is(received.message, "hello from the handler");
    port.close();
    const words = sharedWords();
    const same = await scheduler.run.sharedBack(words);
    Atomics.add(same, 3, 1);
    assert.is(Atomics.load(words, 3), 2, "both see the same memory");
  }));

test("what is transferred can't be retried", () =>
  withScheduler({}, async (scheduler) => {
    const buffer = new ArrayBuffer(8);
    await rejectsWith(
      Promise.resolve().then(() => scheduler.run.lengthOf(buffer, { transferList: [buffer], retry: "crash" })),
      "ERR_INVALID_OPTION",
    );
    assert.is(buffer.byteLength, 8);
  }));

test("close with a signal ends what doesn't end, and says what it was", async () => {
  const scheduler = await Scheduler.open<typeof handlers>({ handlers: nestedUrl, processors: 1, onHint: () => {} });
  const words = sharedWords();
  const stuck = rejectsWith(scheduler.run.untilCancelled(words), "ERR_SCHEDULER_CLOSED");
  await until(() => Atomics.load(words, 0) === 1, "the handler runs");
  const queued = rejectsWith(scheduler.run.double(1), "ERR_SCHEDULER_CLOSED");
  const error = await rejectsWith(scheduler.close({ signal: AbortSignal.timeout(20) }), "ERR_CLOSE_ABORTED");
  assert.equal(error.details.tasks, [
    { handler: "untilCancelled", running: 1, queued: 0 },
    { handler: "double", running: 0, queued: 1 },
  ]);
  await stuck;
  await queued;
});

test.run();
