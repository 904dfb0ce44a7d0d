import { test } from "uvu";
import * as assert from "uvu/assert";
import { Cond, locksHeld, Mutex } from "@millrace/atomics-sync";
import { COUNTER } from "../fixtures/sync-words.ts";
import { rejectsWith, throwsWith } from "../support.ts";
import { runEnds, sharedWords, startEnd } from "./support.ts";

async function turn(): Promise<void> {
  for (let turns = 0; turns < 5; turns += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** Waits for the condition and says so. */
async function waitAsync(mutex: Mutex, cond: Cond, woken: number[], name: number): Promise<void> {
  const hold = await mutex.lockAsync();
  await cond.waitAsync(hold);
  woken.push(name);
  hold.unlock();
}

test("a signal wakes the longest waiter, a broadcast all, neither a later one", async () => {
  const mutex = new Mutex();
  const cond = new Cond(mutex);
  const woken: number[] = [];
  cond.signal();
  cond.broadcast();
  const waiting = [0, 1, 2, 3].map((name) => waitAsync(mutex, cond, woken, name));
  await turn();
  assert.equal(woken, []);
  cond.signal();
  await waiting[0];
  assert.equal(woken, [0]);
  cond.broadcast();
  const later = waitAsync(mutex, cond, woken, 4);
  await Promise.all(waiting);
  assert.equal(
    woken.toSorted((one, other) => one - other),
    [0, 1, 2, 3],
  );
  await turn();
  assert.is(woken.length, 4);
  cond.signal();
  await later;
  cond.close();
  mutex.close();
});

test("the mutex is free during the wait and held afterwards, also after a failure", async () => {
  const mutex = new Mutex();
  const cond = new Cond(mutex);
  const hold = mutex.lock();
  const before = locksHeld();
  const waiting = cond.waitAsync(hold, { timeoutMs: 5 });
  assert.is(locksHeld(), before - 1);
  throwsWith(() => hold.unlock(), "ERR_LOCK_NOT_HELD");
  const other = await mutex.lockAsync();
  other.unlock();
  await rejectsWith(waiting, "ERR_SYNC_TIMEOUT");
  assert.ok(mutex.isLocked);
  assert.is(locksHeld(), before);
  const controller = new AbortController();
  const aborted = cond.waitAsync(hold, { signal: controller.signal });
  controller.abort(new Error("enough"));
  await aborted.then(
    () => assert.unreachable(),
    (thrown: Error) => assert.is(thrown.message, "enough"),
  );
  assert.ok(mutex.isLocked);
  hold.unlock();
  cond.close();
  mutex.close();
});

test("waiting needs the mutex, another thread than the main one, or the async form", async () => {
  const mutex = new Mutex();
  const cond = new Cond(mutex);
  const foreign = new Mutex();
  const hold = mutex.lock();
  const other = foreign.lock();
  assert.match(throwsWith(() => cond.wait(hold), "ERR_BLOCKING_MAIN").message, "waitAsync");
  throwsWith(() => cond.wait(other), "ERR_LOCK_NOT_HELD");
  await rejectsWith(cond.waitAsync(other), "ERR_LOCK_NOT_HELD");
  hold.unlock();
  await rejectsWith(cond.waitAsync(hold), "ERR_LOCK_NOT_HELD");
  other.unlock();
  foreign.close();
  throwsWith(() => new Cond(foreign), "ERR_SYNC_CLOSED");
  cond.close();
  cond.close();
  throwsWith(() => cond.signal(), "ERR_SYNC_CLOSED");
  throwsWith(() => Cond.from(cond.handle), "ERR_SYNC_CLOSED");
  mutex.close();
});

test("a condition that somebody waits for can't be closed", async () => {
  const mutex = new Mutex();
  const cond = new Cond(mutex);
  const hold = mutex.lock();
  const waiting = cond.waitAsync(hold);
  throwsWith(() => Cond.from(cond.handle).close(), "ERR_SYNC_IN_USE");
  cond.broadcast();
  await waiting;
  hold.unlock();
  cond.close();
  mutex.close();
});

test("producers and consumers of a buffer for one lose no signal", async () => {
  for (const forms of [
    ["blocking", "blocking"],
    ["async", "mixed"],
  ] as const) {
    const mutex = new Mutex();
    const objects = [mutex, new Cond(mutex), new Cond(mutex)];
    const words = sharedWords();
    const rounds = 1000;
    const [taken, given] = await Promise.all([
      runEnds<number>("consumer", objects, rounds, words, forms),
      runEnds<number>("producer", objects, rounds, words, forms),
    ]);
    const sum = (values: number[]): number => values.reduce((total, value) => total + value, 0);
    assert.is(sum(taken), sum(given));
    for (const object of objects.toReversed()) object.close();
  }
});

test("a thread that dies while it waits keeps no signal: the others are woken", async () => {
  const mutex = new Mutex();
  const cond = new Cond(mutex);
  const words = sharedWords();
  const dying = await startEnd("waits-for-condition", [mutex, cond], words);
  const woken: number[] = [];
  const waiting = waitAsync(mutex, cond, woken, 1);
  await turn();
  const hold = await mutex.lockAsync();
  // The one that has waited longest can't act on it: it doesn't get the mutex any more.
  cond.signal();
  await dying.terminate();
  hold.unlock();
  await waiting;
  assert.equal(woken, [1]);
  cond.close();
  mutex.close();
});

test("a blocked thread is woken, sees the condition, and holds nothing afterwards", async () => {
  const mutex = new Mutex();
  const cond = new Cond(mutex);
  const words = sharedWords();
  const waiting = runEnds<number>("waits-for-condition", [mutex, cond], 0, words, ["blocking"]);
  const hold = await mutex.lockAsync();
  Atomics.store(words, COUNTER, 1);
  cond.signal();
  hold.unlock();
  assert.equal(await waiting, [0]);
  cond.close();
  mutex.close();
});

test.run();
