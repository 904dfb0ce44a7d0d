import { test } from "uvu";
import * as assert from "uvu/assert";
import { Scheduler, type MachineDeath, type SchedulerOptions } from "@millrace/scheduler";
import type * as handlers from "../fixtures/handlers.ts";
import { handlersUrl, rejectsWith, until } from "../support.ts";
import { schedulersOf } from "./with-scheduler.ts";

function open(options: Partial<SchedulerOptions> = {}): Promise<Scheduler<typeof handlers>> {
  return Scheduler.open<typeof handlers>({ handlers: handlersUrl, processors: 2, ...options });
}

const withScheduler = schedulersOf<typeof handlers>({ handlers: handlersUrl, processors: 2 });

test("a call returns what its handler returns, for values of every kind", () =>
  withScheduler({}, async ({ run }) => {
    for (const value of [
      undefined,
      null,
      true,
      false,
      0,
      -0,
      1.5,
      NaN,
      "text",
      [1, "two"],
      new Map([[1, new Set([2])]]),
    ]) {
      assert.equal(await run.echo(value), value);
    }
    assert.equal(await run.add({ a: 1, b: 2 }), { sum: 3 });
    assert.is(await run.later(5), "after 5");
  }));

test("an error crosses threads with name, message, stack, code, cause and own members", () =>
  withScheduler({}, async ({ run }) => {
    try {
      await run.fail("too much");
      assert.unreachable();
    } catch (thrown) {
      const error = thrown as RangeError & { code: string; detail: unknown };
      assert.ok(error instanceof RangeError);
      assert.is(error.message, "too much");
      assert.is(error.code, "E_TEST");
      assert.equal(error.detail, { n: 1 });
      assert.is((error.cause as Error).message, "the reason");
      assert.match(error.stack ?? "", "fixtures/handlers");
    }
    try {
      await run.failLater("later");
      assert.unreachable();
    } catch (thrown) {
      assert.ok(thrown instanceof TypeError);
    }
  }));

test("a result that can't be sent rejects the call and nothing else", () =>
  withScheduler({}, async ({ run }) => {
    await rejectsWith(run.unsendable(), "ERR_VALUE_UNSUPPORTED");
    assert.is(await run.echo(1), 1);
  }));

test("an argument that can't be sent rejects the call, with the path to the culprit", () =>
  withScheduler({}, async ({ run }) => {
    const error = await rejectsWith(run.echo({ list: [() => 1] }), "ERR_VALUE_UNSUPPORTED");
    assert.match(error.message, "value.list[0] is a function");
  }));

test("ten thousand calls at once all come back with their own result", () =>
  withScheduler({ tasksMax: 64 }, async ({ run }) => {
    const results = await Promise.all(
      Array.from({ length: 10_000 }, (_, n) => (n % 3 === 0 ? run.echo(n) : run.add({ a: n, b: 1 }))),
    );
    results.forEach((result, n) => assert.equal(result, n % 3 === 0 ? n : { sum: n + 1 }));
  }));

test("an argument is taken as it is at the call, also when the call has to wait", () =>
  withScheduler({ tasksMax: 2, processors: 1 }, async ({ run }) => {
    const value = { n: 0 };
    const results = Array.from({ length: 20 }, (_, n) => {
      value.n = n;
      return run.echo(value);
    });
    assert.equal(
      await Promise.all(results),
      Array.from({ length: 20 }, (_, n) => ({ n })),
    );
  }));

test("tasks run in parallel on as many threads as there are processors", () =>
  withScheduler({ processors: 2 }, async ({ run }) => {
    const threads = new Set(await Promise.all(Array.from({ length: 40 }, () => run.spin(2))));
    assert.is(threads.size, 2);
  }));

test("one machine steals what waits behind a long task on the other", () =>
  withScheduler({ processors: 2 }, async (scheduler) => {
    // The long task occupies a machine until everything else is done.
    const words = new Int32Array(new SharedArrayBuffer(8));
    const long = scheduler.run.holdUntilSet(words);
    await until(() => Atomics.load(words, 1) === 1, "the long task has begun");
    await Promise.all(Array.from({ length: 200 }, () => scheduler.run.spin(0.2)));
    Atomics.store(words, 0, 1);
    Atomics.notify(words, 0);
    await long;
  }));

test("async handlers overlap on one machine", () =>
  withScheduler({ processors: 1 }, async ({ run }) => {
    const started = performance.now();
    await Promise.all(Array.from({ length: 50 }, () => run.later(40)));
    assert.ok(performance.now() - started < 50 * 40, "they were pending at the same time");
  }));

test("at most asyncTasksPerMachine handlers are pending on a machine, all are served", () =>
  withScheduler({ processors: 1, asyncTasksPerMachine: 3 }, async ({ run }) => {
    assert.is((await Promise.all(Array.from({ length: 20 }, () => run.later(2)))).length, 20);
  }));

test("a machine that slept in its event loop is woken", () =>
  withScheduler({ processors: 1 }, async (scheduler) => {
    await scheduler.run.echo(1);
    const parks = scheduler.stats().machines[0]?.parks ?? 0;
    await until(() => (scheduler.stats().machines[0]?.parks ?? 0) > parks, "the machine goes to sleep a second time");
    assert.is(await scheduler.run.echo(2), 2);
    assert.is(await scheduler.run.later(1), "after 1");
  }));

test("large arguments and results go through, and their memory is used again", () =>
  withScheduler({ processors: 1, arenaBytesMax: 2 ** 23 }, async ({ run }) => {
    for (let round = 0; round < 20; round += 1) {
      const result = (await run.echo(Buffer.alloc(1_000_000, round))) as Buffer;
      assert.is(result.length, 1_000_000);
      assert.is(result[999_999], round);
      assert.is((await run.big(2_000_000)).length, 2_000_000);
    }
  }));

test("many large calls at once wait for memory instead of failing", () =>
  withScheduler({ processors: 1, arenaBytesMax: 2 ** 22 }, async ({ run }) => {
    const results = await Promise.all(Array.from({ length: 20 }, () => run.echo(Buffer.alloc(500_000))));
    assert.ok(results.every((result) => (result as Buffer).length === 500_000));
  }));

test("an argument that can never fit is refused, and so is a result", () =>
  withScheduler({ processors: 1, arenaBytesMax: 2 ** 20 }, async ({ run }) => {
    await rejectsWith(run.echo(Buffer.alloc(2 ** 20)), "ERR_ARENA_FULL");
    await rejectsWith(run.big(2 ** 20 + 1), "ERR_ARENA_FULL");
    assert.is(await run.echo(3), 3);
  }));

test("values beyond what any arena takes are refused, and cost no machine", () =>
  withScheduler({ processors: 1 }, async (scheduler) => {
    const { run } = scheduler;
    await rejectsWith(run.echo(Buffer.alloc(2 ** 30)), "ERR_ARENA_FULL");
    await rejectsWith(run.big(2 ** 30), "ERR_ARENA_FULL");
    assert.is(await run.echo(4), 4);
    assert.is(scheduler.stats().restarts, 0);
  }));

test("a machine that dies takes only its own tasks with it, and is replaced", async () => {
  const deaths: MachineDeath[] = [];
  await withScheduler({ processors: 2, onMachineDeath: (death) => deaths.push(death) }, async (scheduler) => {
    const others = Array.from({ length: 500 }, (_, n) => scheduler.run.echo(n));
    const error = await rejectsWith(scheduler.run.exit(9), "ERR_MACHINE_DIED");
    assert.is(error.details.attempts, 1);
    assert.equal(
      await Promise.all(others),
      Array.from({ length: 500 }, (_, n) => n),
    );
    assert.is(deaths.length, 1);
    assert.is(deaths[0]?.exitCode, 9);
    await until(() => scheduler.stats().restarts === 1, "the machine is replaced");
    assert.equal(await scheduler.run.add({ a: 2, b: 3 }), { sum: 5 });
  });
});

test("with a single processor that dies again and again, every call still settles once", () =>
  withScheduler({ processors: 1 }, async (scheduler) => {
    const calls: Promise<unknown>[] = [];
    for (let n = 0; n < 60; n += 1) calls.push(n % 20 === 7 ? scheduler.run.exit(1) : scheduler.run.echo(n));
    const outcomes = await Promise.allSettled(calls);
    outcomes.forEach((outcome, n) => {
      if (n % 20 === 7) assert.is(outcome.status, "rejected");
      else assert.equal(outcome, { status: "fulfilled", value: n });
    });
  }));

test("async tasks of a machine that dies are rejected too", () =>
  withScheduler({ processors: 1 }, async ({ run }) => {
    const pending = run.later(60_000);
    const crash = run.throwLater();
    await rejectsWith(crash, "ERR_MACHINE_DIED");
    await rejectsWith(pending, "ERR_MACHINE_DIED");
  }));

test('a task with retry "crash" runs again, at most three times', () =>
  withScheduler({ processors: 1 }, async ({ run }) => {
    assert.is(await run.crashBelow(2, { retry: "crash" }), 2);
    assert.is(await run.crashBelow(3, { retry: "crash" }), 3);
    const error = await rejectsWith(run.crashBelow(4, { retry: "crash" }), "ERR_MACHINE_DIED");
    assert.is(error.details.attempts, 3);
  }));

test("wrong names, options and modules are refused with what would be right", async () => {
  await rejectsWith(Scheduler.open({ handlers: "/nowhere/handlers.js" }), "ERR_HANDLER_MODULE");
  await rejectsWith(Scheduler.open({ handlers: handlersUrl, processors: 0 }), "ERR_INVALID_OPTION");
  const misspelt = await rejectsWith(open({ procesors: 2 } as never), "ERR_INVALID_OPTION");
  assert.match(misspelt.message, 'did you mean "processors"?');
  await withScheduler({ processors: 1 }, async ({ run }) => {
    assert.throws(
      () => (run as unknown as Record<string, () => void>).ecko?.(),
      (error: Error) => /did you mean "echo"\?/.test(error.message),
    );
    await assertThrowsOption(() => run.echo(1, { priority: "urgent" } as never));
  });
});

async function assertThrowsOption(call: () => Promise<unknown>): Promise<void> {
  await rejectsWith(Promise.resolve().then(call), "ERR_INVALID_OPTION");
}

test("close waits for what is under way and then refuses", async () => {
  const scheduler = await open();
  const pending = [scheduler.run.later(30), ...Array.from({ length: 100 }, () => scheduler.run.spin(0.1))];
  const closing = scheduler.close();
  await rejectsWith(scheduler.run.echo(1), "ERR_SCHEDULER_CLOSED");
  await closing;
  assert.is((await Promise.all(pending)).length, 101);
  await scheduler.close();
});

test("terminate ends a handler that never returns", async () => {
  const scheduler = await open({ processors: 1 });
  const stuck = scheduler.run.spin(1e9);
  await until(() => scheduler.stats().outstanding === 1, "the call is under way");
  const rejected = rejectsWith(stuck, "ERR_SCHEDULER_CLOSED");
  await scheduler.terminate();
  await rejected;
});

test("priorities: what is high goes first, what is low isn't starved", () =>
  withScheduler({ processors: 1 }, async ({ run }) => {
    const order: string[] = [];
    const note = (name: string) => (): void => void order.push(name);
    // The machine is busy while the others are queued.
    const first = run.spin(50);
    const low = Array.from({ length: 10 }, () => run.spin(0.1, { priority: "low" }).then(note("low")));
    const high = Array.from({ length: 300 }, () => run.spin(0.1, { priority: "high" }).then(note("high")));
    await Promise.all([first, ...low, ...high]);
    assert.is(order[0], "high");
    assert.ok(order.indexOf("low") < 299, "a low one ran before the last high one");
    assert.ok(order.lastIndexOf("high") < order.lastIndexOf("low"), "most low ones ran after the high ones");
  }));

test("priorities: what a machine has taken isn't starved by high ones that never end", () =>
  withScheduler({ processors: 1 }, async ({ run }) => {
    const order: string[] = [];
    const note = (name: string) => (): void => void order.push(name);
    // The machine takes a share of these into its own queue.
    const normal = Array.from({ length: 12 }, () => run.spin(20).then(note("normal")));
    await normal[0];
    const high = Array.from({ length: 3000 }, () => run.spin(0.1, { priority: "high" }).then(note("high")));
    await Promise.all([...normal, ...high]);
    assert.ok(order.lastIndexOf("normal") < order.lastIndexOf("high"), `${order.lastIndexOf("normal")}`);
  }));

test.run();
