// Tasks that handlers submit, joins, blocking, and lists.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Mutex } from "@millrace/atomics-sync";
import { Scheduler } from "@millrace/scheduler";
import type * as handlers from "../fixtures/nested-handlers.ts";
import { rejectsWith, temporaryDirectory, until } from "../support.ts";
import { nothingSwept, schedulersOf } from "./with-scheduler.ts";

const nestedUrl = new URL("../fixtures/nested-handlers.js", import.meta.url);

const withScheduler = schedulersOf<typeof handlers>(
  { handlers: nestedUrl, processors: 2, onHint: () => {} },
  nothingSwept,
);

function sharedWords(): Int32Array {
  return new Int32Array(new SharedArrayBuffer(64));
}

for (const processors of [1, 2, 4]) {
  test(`a recursive handler spawns and joins on ${processors} processors`, () =>
    withScheduler({ processors }, async ({ run }) => {
      assert.is(await run.fib(16), 987);
    }));
}

test("a handler may spawn far more tasks than there are slots", () =>
  withScheduler({ nestedTasksMax: 8 }, async ({ run }) => {
    assert.is(await run.spawnMany(20_000), 20_000);
  }));

test("a machine with room for one async handler runs more than its queue holds", () =>
  withScheduler({ processors: 1, asyncTasksPerMachine: 1 }, async ({ run }) => {
    const numbers = Array.from({ length: 1000 }, (_, n) => n);
    assert.is(await run.sumOf(numbers), 999_000);
  }));

test("a lock that can't be waited for doesn't make its machine deaf", () =>
  withScheduler({ processors: 1 }, async ({ run }) => {
    const mutex = new Mutex();
    const guard = mutex.lock();
    const pending = run.untilLetGo(undefined);
    assert.is(await run.lockAfterAwait(mutex.handle), "ERR_ASYNC_PENDING");
    assert.is(await run.double(3), 6);
    await run.letItGo(undefined);
    await pending;
    guard.unlock();
  }));

test("close waits for a call that a handler has left behind", async () => {
  const path = join(temporaryDirectory(), "note");
  const scheduler = await Scheduler.open<typeof handlers>({ handlers: nestedUrl, processors: 1 });
  await scheduler.run.leaveNote(path);
  await scheduler.close();
  assert.ok(existsSync(path));
});

test("a task isn't over before what it spawned is", () =>
  withScheduler({}, async (scheduler) => {
    assert.is(await scheduler.run.spawnAndLeave(5000), "left");
    const settled = scheduler.stats().machines.reduce((sum, machine) => sum + machine.ok, 0);
    assert.is(settled, 5001);
  }));

test("an error of a spawned task fails the task, or is thrown by the join", () =>
  withScheduler({}, async ({ run }) => {
    try {
      await run.spawnFailing();
      assert.unreachable();
    } catch (thrown) {
      assert.ok(thrown instanceof RangeError);
      assert.is(thrown.message, "a child failed");
    }
    assert.is(await run.joinFailing(), "a child failed");
  }));

test("an async handler calls others and awaits them, also more than there are slots", () =>
  withScheduler({ nestedTasksMax: 4 }, async ({ run }) => {
    const numbers = Array.from({ length: 200 }, (_, n) => n);
    assert.is(await run.sumOf(numbers), 2 * 19_900);
    const sums = await Promise.all(Array.from({ length: 50 }, () => run.sumOf([1, 2, 3])));
    assert.ok(sums.every((sum) => sum === 12));
  }));

test("calls beyond the slots begin when those before them end, with nothing else on", async () => {
  for (const processors of [1, 2]) {
    await withScheduler({ processors, nestedTasksMax: 2 }, async ({ run }) => {
      const numbers = Array.from({ length: 20 }, (_, n) => n);
      assert.is(await run.sumOfLater(numbers), 380);
    });
  }
});

test("a group of async handlers is awaited by done()", () =>
  withScheduler({}, async ({ run }) => {
    assert.equal(await run.groupLater(5), [0, 2, 4, 6, 8]);
  }));

test("a misspelt name within a handler is refused with what would be right", () =>
  withScheduler({ processors: 1 }, async ({ run }) => {
    assert.match(await run.misspelt(), 'did you mean "nothing"?');
  }));

test("a machine that dies takes the tasks it had submitted with it, and is replaced", () =>
  withScheduler({ processors: 2, nestedTasksMax: 64 }, async (scheduler) => {
    for (let round = 0; round < 5; round += 1) {
      const calls = [scheduler.run.spawnMany(2000), scheduler.run.exit(4), scheduler.run.fib(14)];
      const outcomes = await Promise.allSettled(calls);
      assert.is(outcomes[1]?.status, "rejected");
    }
    assert.is(await scheduler.run.fib(15), 610);
    assert.is(await scheduler.run.spawnMany(3000), 3000);
  }));

// ── blocking ────────────────────────────────────────────────────────────────────────────────────

test("a handler that blocks hands its processor to another thread", () =>
  withScheduler({ processors: 1 }, async (scheduler) => {
    const words = sharedWords();
    const waiting = scheduler.run.waitFor(words);
    // With one processor this only runs because the one that waits has given it away.
    assert.is(await scheduler.run.double(21), 42);
    await scheduler.run.release(words);
    assert.ok(["ok", "not-equal"].includes(await waiting));
    assert.is(scheduler.stats().threads, 2);
    assert.is(await scheduler.run.double(4), 8);
  }));

test("what a handler leaves behind when it blocks is for every idle machine", () =>
  withScheduler({ processors: 2 }, async ({ run }) => {
    const directory = temporaryDirectory();
    await run.double(1);
    // Then an idle machine has gone to sleep in its event loop, and doesn't look around by itself.
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.equal(await run.meetElsewhere(directory), ["met", "met"]);
  }));

test("more handlers block than there are spare threads: ERR_MACHINES_EXHAUSTED", () =>
  withScheduler({ processors: 1, machinesMax: 3 }, async (scheduler) => {
    const words = sharedWords();
    const waiting = [scheduler.run.waitFor(words), scheduler.run.waitFor(words)];
    await until(() => scheduler.stats().threads === 3, "both have handed their processor over");
    await rejectsWith(scheduler.run.waitFor(words), "ERR_MACHINES_EXHAUSTED");
    await scheduler.run.release(words);
    await Promise.all(waiting);
  }));

test("a thread with pending handlers isn't blocked: ERR_ASYNC_PENDING", () =>
  withScheduler({ processors: 1 }, async ({ run }) => {
    assert.is(await run.blockWhilePending(), "ERR_ASYNC_PENDING");
  }));

test("what only a stuck machine could reach is given to others", () =>
  withScheduler({ processors: 2 }, async (scheduler) => {
    // The spawned task lies on the private stack while the handler holds its thread; the other
    // machine sleeps by then.
    for (let round = 0; round < 10; round += 1) {
      await scheduler.run.double(1);
      if ((await scheduler.run.spawnThenHold(120)) === 0) return;
    }
    assert.unreachable("the other machine never got the task");
  }));

test("a join waits for what others took, though handlers are pending on its thread", () =>
  withScheduler({ processors: 2 }, async (scheduler) => {
    const words = sharedWords();
    const pending = Array.from({ length: 8 }, () => scheduler.run.pend(words));
    let outcome = "";
    for (let tries = 0; tries < 20 && outcome !== "ran elsewhere";) {
      outcome = await scheduler.run.joinWithPending(undefined);
      // All of them may be on the machine that didn't get the join: then that was no try. Ends:
      // sooner or later this one gets some too.
      if (outcome === "nobody pending") pending.push(scheduler.run.pend(words));
      else tries += 1;
    }
    await scheduler.run.release(words);
    await Promise.all(pending);
    assert.is(outcome, "ran elsewhere");
  }));

test("a join doesn't wait for what is pending on its own thread: ERR_ASYNC_PENDING", () =>
  withScheduler({ processors: 1 }, async ({ run }) => {
    await rejectsWith(run.joinLater(undefined), "ERR_ASYNC_PENDING");
    await rejectsWith(run.joinAfterAwait(undefined), "ERR_ASYNC_PENDING");
  }));

test("handlers that run on and on are named once", async () => {
  const hints: string[] = [];
  await withScheduler({ processors: 1, onHint: (text) => hints.push(text) }, async ({ run }) => {
    // On a loaded machine most of these 250 ms may go to others, and don't count.
    while (hints.length === 0) {
      await run.hold(250);
      await run.double(1);
    }
    for (let times = 0; times < 2; times += 1) await run.hold(250);
    await run.double(1);
  });
  assert.is(hints.length, 1);
  assert.match(hints[0] as string, /^hold ran \d+ ms without a pause: call it through mill\.blocking\.hold/);
});

// ── lists ───────────────────────────────────────────────────────────────────────────────────────

test("runMany returns the results in order, for any length", () =>
  withScheduler({ tasksMax: 16 }, async ({ runMany }) => {
    assert.equal(await runMany.double([]), []);
    const numbers = Array.from({ length: 5000 }, (_, n) => n);
    assert.equal(
      await runMany.double(numbers),
      numbers.map((n) => 2 * n),
    );
  }));

test("runMany rejects with the first error once every task is over", () =>
  withScheduler({}, async (scheduler) => {
    try {
      await scheduler.runMany.fail(["one", "two", "three"]);
      assert.unreachable();
    } catch (thrown) {
      assert.ok(thrown instanceof RangeError);
    }
    assert.is(scheduler.stats().outstanding, 0);
    await rejectsWith(scheduler.runMany.double([1, (() => 1) as never, 3]), "ERR_VALUE_UNSUPPORTED");
    assert.is(scheduler.stats().outstanding, 0);
  }));

test("parallelMap applies a handler to each of a list, sync or async", () =>
  withScheduler({}, async ({ parallelMap }) => {
    const numbers = Array.from({ length: 1000 }, (_, n) => n);
    const doubled = numbers.map((n) => 2 * n);
    assert.equal(await parallelMap.double(numbers), doubled);
    assert.equal(await parallelMap.doubleLater(numbers.slice(0, 100)), doubled.slice(0, 100));
    assert.equal(await parallelMap.double([]), []);
    try {
      await parallelMap.fail(["x"]);
      assert.unreachable();
    } catch (thrown) {
      assert.ok(thrown instanceof RangeError);
    }
  }));

test("parallelMap rejects with the first error once nothing of the list runs", async () => {
  const file = join(temporaryDirectory(), "notes");
  const value = (index: number, ms: number, more: Partial<handlers.Noted> = {}): handlers.Noted => ({
    file,
    ms: index < 56 ? 0 : ms,
    ...(index < 56 ? {} : more),
  });
  // Two processors: eight pieces, and the last one, where all the time lies, is given away in part.
  const lists: readonly (readonly handlers.Noted[])[] = [
    Array.from({ length: 64 }, (_, n) => value(n, 30, { fails: n === 57 })),
    Array.from({ length: 64 }, (_, n) => value(n, 20 * (n - 50), { isAsync: true, fails: n === 56 })),
    Array.from({ length: 64 }, (_, n) => value(n, 30, { isAsync: n < 57, fails: n <= 57 })),
  ];
  await withScheduler({}, async (scheduler) => {
    for (const list of lists) {
      writeFileSync(file, "");
      const error = await scheduler.parallelMap.noteAndHold(list).catch((thrown: unknown) => thrown);
      assert.is((error as Error).message, "as told");
      const notes = readFileSync(file, "utf8");
      assert.is(notes.replaceAll("b", "").length, notes.length / 2, "everything that has begun has ended");
      assert.is(scheduler.stats().outstanding, 0);
      assert.is(scheduler.stats().restarts, 0);
    }
  });
});

test("a join makes way for an async task, which needs an event loop", () =>
  withScheduler({}, async ({ run }) => {
    const directory = temporaryDirectory();
    const [file, begun] = [join(directory, "file"), join(directory, "begun")];
    const joining = run.joinHeld({ file, begun });
    await until(() => existsSync(begun), "another machine runs what is joined");
    await run.writeLater(file);
    await joining;
  }));

test("a join that meets an async call waits where no thread could have the processor", () =>
  withScheduler({ machinesMax: 2 }, async ({ run }) => {
    const directory = temporaryDirectory();
    const [file, begun, other] = [join(directory, "file"), join(directory, "begun"), join(directory, "other")];
    const joining = run.joinHeld({ file, begun });
    await until(() => existsSync(begun), "another machine runs what is joined");
    const later = run.writeLater(other);
    // Long enough for the join to meet it.
    await new Promise((resolve) => setTimeout(resolve, 50));
    writeFileSync(file, "");
    await joining;
    await later;
  }));

test("a join isn't disturbed by an outside call that it ran and that became async", () =>
  withScheduler({}, async ({ run }) => {
    const directory = temporaryDirectory();
    const [file, begun, other] = [join(directory, "file"), join(directory, "begun"), join(directory, "other")];
    const joining = run.joinHeld({ file, begun });
    await until(() => existsSync(begun), "another machine runs what is joined");
    const later = run.returnLater(other);
    await until(() => existsSync(other), "the join runs it");
    writeFileSync(file, "");
    await joining;
    assert.is(await later, other);
  }));

test("more async handlers than may be pending still get what they have submitted run", async () => {
  for (const processors of [1, 2]) {
    await withScheduler({ processors, asyncTasksPerMachine: 4 }, async ({ run }) => {
      const calls = Array.from({ length: 40 }, (_, n) => run.sumOf([n, 1, 2]));
      assert.equal(
        await Promise.all(calls),
        Array.from({ length: 40 }, (_, n) => 2 * n + 6),
      );
    });
  }
});

test("a machine that reads outcomes for a handler that is gone goes on", async () => {
  for (const processors of [1, 2]) {
    await withScheduler({ processors }, async ({ run }) => {
      for (let round = 0; round < 50; round += 1) await run.leaveBehind();
      assert.is(await run.fib(10), 55);
    });
  }
});

test("parallelMap gives part of a long list to a machine that has nothing to do", () =>
  withScheduler({ processors: 2 }, async ({ parallelMap }) => {
    // All the time lies in the last piece.
    const threads = await parallelMap.hold(Array.from({ length: 64 }, (_, n) => (n < 56 ? 0 : 30)));
    assert.ok(new Set(threads.slice(56)).size > 1, "two threads worked on the last piece");
  }));

test("parallelReduce joins a list in order, and maps it first if asked", () =>
  withScheduler({}, async ({ parallelReduce }) => {
    const numbers = Array.from({ length: 1000 }, (_, n) => n);
    assert.is(await parallelReduce.add(numbers), 499_500);
    assert.is(await parallelReduce.add(numbers, { map: "double" }), 999_000);
    assert.is(await parallelReduce.add(numbers.slice(0, 50), { map: "doubleLater" }), 2450);
    assert.is(await parallelReduce.add([7]), 7);
    await rejectsWith(parallelReduce.add([]), "ERR_LIST_EMPTY");
  }));

test("module state is kept per machine, and initialize runs before the first task", () =>
  withScheduler({ processors: 1 }, async ({ run, handlerNames }) => {
    assert.not(handlerNames.includes("initialize"));
    assert.equal(await run.state(), { initialized: 0, calls: 1 });
    assert.equal(await run.state(), { initialized: 0, calls: 2 });
  }));

test.run();
