/**
 * Carries out the operation that a thread stands before, with its effect on memory, clocks, queues
 * of waiters, and hashes.
 */
import { advance, type Conflict, learn } from "./clocks.ts";
import { hashOf, mixA, mixB } from "./hash.ts";
import { OP, opName, PAUSE, PLAIN_READ, PLAIN_WRITE, START } from "./operations.ts";
import { PromiseStandIn } from "./promise.ts";
import { describeSite, noteExecuted, siteOf } from "./sites.ts";
import { type Memory, type Thread, type Waiter, WAITING, WOKEN, world } from "./world.ts";

/** The thread waits; there is no result yet. */
export const BLOCKED: unique symbol = Symbol("blocked");

export function observe(thread: Thread, value: unknown): void {
  const hash = hashOf(value);
  thread.seenA = mixA(thread.seenA, hash);
  thread.seenB = mixB(thread.seenB, hash);
}

export function perform(thread: Thread): unknown {
  if (thread.op === START || thread.op === PAUSE) return undefined;
  const array = thread.array as Int32Array;
  const memory = world.memoryOf(array);
  if (memory === undefined) return fail(thread.site, "Atomics on memory that is not shared");
  if (thread.op === PLAIN_READ) return readPlain(thread, memory, array, thread.at, thread.site);
  if (thread.op === PLAIN_WRITE) return writePlain(thread, memory, array, thread.at, thread.first, thread.site);
  const word = wordOf(memory, array, thread.at, thread.site);
  if (!world.isChecking) noteExecuted(thread.site);
  const result = atomic(thread, memory, array, word);
  if (result === BLOCKED) return BLOCKED;
  observe(thread, typeof result === "object" ? 1 : result);
  if (world.onAccess !== undefined) world.onAccess(thread.op, thread.site, memory, word, result);
  return result;
}

/** Int32 index in the buffer of what is accessed. */
function wordOf(memory: Memory, array: Int32Array, at: number, site: number): number {
  if (!Number.isInteger(at) || at < 0 || at >= array.length) {
    return fail(site, `index ${String(at)} of shared memory with ${array.length} elements`);
  }
  const word = (array.byteOffset + at * array.BYTES_PER_ELEMENT) >> 2;
  if (word >= memory.words.length) memory.words = new Int32Array(memory.buffer, 0, memory.buffer.byteLength >> 2);
  return word;
}

function fail(site: number, what: string): never {
  const { where, line } = describeSite(site);
  return world.fail("access", `${where}: ${what}\n    ${line}`);
}

function atomic(thread: Thread, memory: Memory, array: Int32Array, word: number): unknown {
  const { at, first, second } = thread;
  switch (thread.op) {
    case OP.load:
      acquire(thread, memory, word);
      return Atomics.load(array, at);
    case OP.wait:
      return wait(thread, memory, array, word);
    case OP.waitAsync:
      return waitAsync(thread, memory, array, word);
    case OP.notify:
      return notify(thread, memory, word, first === undefined ? Infinity : (first as number));
    case OP.compareExchange: {
      const seen = Atomics.load(array, at);
      // A failed exchange writes nothing and so passes nothing on.
      if (seen !== coerced(array, first)) {
        acquire(thread, memory, word);
        return seen;
      }
      change(thread, memory, array, word, true, () => Atomics.store(array, at, second as number));
      return seen;
    }
    case OP.store:
      return change(thread, memory, array, word, false, () => Atomics.store(array, at, first as number));
    case OP.exchange:
      return change(thread, memory, array, word, true, () => Atomics.exchange(array, at, first as number));
    case OP.add:
      return change(thread, memory, array, word, true, () => Atomics.add(array, at, first as number));
    case OP.sub:
      return change(thread, memory, array, word, true, () => Atomics.sub(array, at, first as number));
    case OP.and:
      return change(thread, memory, array, word, true, () => Atomics.and(array, at, first as number));
    case OP.or:
      return change(thread, memory, array, word, true, () => Atomics.or(array, at, first as number));
    case OP.xor:
      return change(thread, memory, array, word, true, () => Atomics.xor(array, at, first as number));
    default:
      return world.fail("unsupported", `operation ${opName(thread.op)}`);
  }
}

function coerced(array: Int32Array, value: unknown): unknown {
  if (array instanceof Int32Array) return (value as number) | 0;
  return typeof value === "bigint" ? BigInt.asIntN(64, value) : value;
}

// ── memory ──────────────────────────────────────────────────────────────────────────────────────

function change<T>(thread: Thread, memory: Memory, array: Int32Array, word: number, reads: boolean, write: () => T): T {
  if (world.isRunning) {
    const { execution } = world;
    report(
      thread,
      memory.clocks.atomicWrite(memory.id, word, execution, thread.index, thread.site, reads),
      thread.site,
    );
  }
  return touch(memory, array, word, write);
}

function touch<T>(memory: Memory, array: Int32Array, word: number, write: () => T): T {
  const wide = array.BYTES_PER_ELEMENT === 8;
  world.toggle(memory, word);
  if (wide) world.toggle(memory, word + 1);
  const result = write();
  world.toggle(memory, word);
  if (wide) world.toggle(memory, word + 1);
  return result;
}

/** Changes `count` bytes from `at` in one go. */
export function changeBytes(
  memory: Memory,
  array: Uint8Array,
  at: number,
  count: number,
  write: () => unknown,
): unknown {
  const first = (array.byteOffset + at) >> 2;
  const last = (array.byteOffset + at + count - 1) >> 2;
  for (let word = first; word <= last; word += 1) world.toggle(memory, word);
  const result = write();
  for (let word = first; word <= last; word += 1) world.toggle(memory, word);
  return result;
}

function acquire(thread: Thread, memory: Memory, word: number): void {
  if (!world.isRunning) return;
  report(thread, memory.clocks.atomicRead(memory.id, word, world.execution, thread.index, thread.site), thread.site);
}

export function readPlain(thread: Thread, memory: Memory, array: Int32Array, at: number, site: number): unknown {
  const word = wordOf(memory, array, at, site);
  if (world.isRunning) {
    report(thread, memory.clocks.plainRead(memory.id, word, world.execution, thread.index, site), site);
    observe(thread, array[at]);
  }
  if (world.onAccess !== undefined) world.onAccess(PLAIN_READ, site, memory, word, array[at]);
  return array[at];
}

export function writePlain(
  thread: Thread,
  memory: Memory,
  array: Int32Array,
  at: number,
  value: unknown,
  site: number,
): unknown {
  const word = wordOf(memory, array, at, site);
  if (world.isRunning) {
    report(thread, memory.clocks.plainWrite(memory.id, word, world.execution, thread.index, site), site);
    // How far the thread has come, where a plain write is a step of its own.
    observe(thread, site);
  }
  touch(memory, array, word, () => {
    array[at] = value as number;
  });
  if (world.onAccess !== undefined) world.onAccess(PLAIN_WRITE, site, memory, word, value);
  return value;
}

function report(thread: Thread, conflict: Conflict | undefined, site: number): void {
  if (conflict === undefined || !world.checksRaces) return;
  if (isAllowed(site) || isAllowed(conflict.site)) return;
  const here = describeSite(site);
  const there = describeSite(conflict.site);
  const other = world.threads[conflict.thread] as Thread;
  world.fail(
    "race",
    `no order between two accesses to the same word, at least one of them plain and one a write:\n` +
      `    ${thread.name}: ${here.where}: ${here.line}\n    ${other.name}: ${there.where}: ${there.line}`,
  );
}

function isAllowed(site: number): boolean {
  const { label, text } = siteOf(site);
  const race = world.races.find((each) => label === `${each.file}.js` && text.includes(each.line));
  if (race === undefined) return false;
  world.racesSeen.add(race);
  return true;
}

// ── waiting ─────────────────────────────────────────────────────────────────────────────────────

function dueMs(timeout: unknown): number {
  const ms = timeout === undefined || Number.isNaN(Number(timeout)) ? Infinity : Math.max(0, Number(timeout));
  return world.nowMs + ms;
}

function wait(thread: Thread, memory: Memory, array: Int32Array, word: number): unknown {
  if (!world.isRunning) return fail(thread.site, "Atomics.wait while no thread runs that could notify");
  if (thread.name === world.mainThread) return fail(thread.site, "the main thread blocks in Atomics.wait");
  acquire(thread, memory, word);
  if (Atomics.load(array, thread.at) !== thread.first) return "not-equal";
  const due = dueMs(thread.second);
  if (due <= world.nowMs) return "timed-out";
  thread.status = WAITING;
  thread.dueMs = due;
  world.waiters.push({ thread, memory, word, resolve: undefined, serial: 0, dueMs: due });
  return BLOCKED;
}

function waitAsync(thread: Thread, memory: Memory, array: Int32Array, word: number): unknown {
  acquire(thread, memory, word);
  if (Atomics.load(array, thread.at) !== thread.first) return { async: false, value: "not-equal" };
  const due = dueMs(thread.second);
  if (due <= world.nowMs) return { async: false, value: "timed-out" };
  const promise = new PromiseStandIn();
  thread.serial += 1;
  world.waiters.push({
    thread,
    memory,
    word,
    resolve: (outcome) => promise.settle(outcome),
    serial: thread.serial,
    dueMs: due,
  });
  return { async: true, value: promise };
}

/**
 * Wakes the first `count` in the word's queue, sync and async mixed, and returns how many; the dead
 * are gone from it.
 */
function notify(thread: Thread, memory: Memory, word: number, count: number): number {
  let woken = 0;
  // Leaving the queue's critical section comes before entering it again (ECMA-262,
  // host-synchronizes-with).
  const left: Waiter[] = [];
  for (const waiter of world.waiters) {
    if (woken >= count || waiter.memory !== memory || waiter.word !== word) {
      left.push(waiter);
      continue;
    }
    woken += 1;
    if (waiter.resolve === undefined) {
      waiter.thread.status = WOKEN;
      learn(waiter.thread.index, thread.index);
    } else deliver(waiter, "ok", thread);
  }
  if (woken > 0) {
    world.waiters = left;
    if (world.isRunning) advance(thread.index);
  }
  return woken;
}

/** The outcome reaches the thread only when it is back at its event loop. */
export function deliver(waiter: Waiter, outcome: string, by: Thread | undefined): void {
  const snapshot = by === undefined ? undefined : by.index;
  const { thread, resolve } = waiter;
  if (snapshot !== undefined) learn(thread.index, snapshot);
  thread.deliveries.push(() => (resolve as (outcome: string) => void)(outcome));
}
