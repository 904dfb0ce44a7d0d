/**
 * Machines sleep and are woken: the protocol of machine.ts around IdleSet, Parker and outbox flags,
 * with a counter in place of the queues.
 */
import * as assert from "uvu/assert";
import { Parker, ThreadTable, unpark, unparkAgain } from "@millrace/atomics-sync";
import {
  RunQueue,
  type RunQueuePlace,
  runQueueLength,
  runQueueWords,
  RETRY,
  EMPTY,
  hasBit,
} from "@millrace/shared-memory";
import { lowerFlag, raiseFlag } from "@millrace/scheduler/internal/shared/outbox-flags";
import { IdleSet, idleWords } from "@millrace/scheduler/internal/shared/idle";
import { join, type Mutant, scenario, type Scenario } from "../api.ts";

/** One machine in each word of the set. */
const LOW = 0;
const HIGH = 17;
assert.is(idleWords(HIGH + 1), 2);
const IDLE = 0;
const IDLE_ASYNC = 32;
const WORK = 64;
const DONE = 96;
const CLOSED = 128;
const WORDS = 160;
/** The publisher's number in the thread table. */
const PUBLISHER = 2;

interface Shared {
  readonly words: Int32Array;
  readonly threads: Int32Array;
  readonly machineThreads: readonly number[];
}

/** Machines 0 and `high`, which are threads 0 and 1; those in between don't exist. */
function machines(high: number): () => Shared {
  return () => {
    const machineThreads: number[] = [];
    for (let machine = 0; machine <= high; machine += 1) machineThreads.push(machine === high ? 1 : 0);
    return {
      words: new Int32Array(new SharedArrayBuffer(WORDS * 4)),
      threads: new Int32Array(ThreadTable.allocate(3)),
      machineThreads,
    };
  };
}

/** Two machines, of which the first has announced its sleep and never does anything again. */
function lowSleeps(): Shared {
  const shared = machines(1)();
  idleSet(shared).sleep(LOW);
  new Parker(shared.threads, 0).prepare();
  return shared;
}

function idleSet({ words, threads, machineThreads }: Shared, lateMs?: number): IdleSet {
  return new IdleSet(words, IDLE, IDLE_ASYNC, threads, machineThreads, lateMs);
}

/** Takes one of the things to do. */
function take(words: Int32Array): boolean {
  let waiting = Atomics.load(words, WORK);
  while (waiting > 0) {
    const seen = Atomics.compareExchange(words, WORK, waiting, waiting - 1);
    if (seen === waiting) return true;
    waiting = seen;
  }
  return false;
}

function mustGoOn(words: Int32Array): boolean {
  return Atomics.load(words, WORK) > 0 || Atomics.load(words, CLOSED) === 1;
}

function finishOne({ words, threads }: Shared): void {
  Atomics.add(words, DONE, 1);
  unpark(threads, PUBLISHER);
}

/**
 * A machine that blocks when there is nothing to do. The only one counts as searching until then.
 */
function work(machine: number, isOnly = false) {
  return (shared: Shared, log: unknown[]): void => {
    const { words } = shared;
    const idle = idleSet(shared);
    const parker = new Parker(shared.threads, shared.machineThreads[machine] as number);
    let isSearching = false;
    for (let turn = 0; turn < 10; turn += 1) {
      if (!isSearching) isSearching = idle.trySearch(machine);
      if (take(words)) {
        if (isSearching && !isOnly) {
          isSearching = false;
          idle.stopSearch(machine);
          if (Atomics.load(words, WORK) > 0) idle.wakeOne();
        }
        log.push("did");
        finishOne(shared);
        continue;
      }
      if (isSearching) idle.stopSearch(machine);
      isSearching = false;
      if (Atomics.load(words, CLOSED) === 1) return;
      parker.prepare();
      idle.sleep(machine);
      if (mustGoOn(words)) parker.cancel();
      else parker.wait(Infinity);
      isSearching = idle.wakeUp(machine);
      if (!isSearching && mustGoOn(words)) {
        isSearching = true;
        idle.search(machine);
      }
    }
    assert.unreachable("a machine goes round and round");
  };
}

/** A machine that sleeps in its event loop. */
function workInLoop(machine: number) {
  return async (shared: Shared, log: unknown[]): Promise<void> => {
    const { words } = shared;
    const idle = idleSet(shared);
    const parker = new Parker(shared.threads, shared.machineThreads[machine] as number);
    for (let turn = 0; turn < 10; turn += 1) {
      if (take(words)) {
        log.push("did");
        finishOne(shared);
        continue;
      }
      if (Atomics.load(words, CLOSED) === 1) return;
      parker.prepareAsync();
      idle.sleepAsync(machine);
      if (mustGoOn(words)) {
        parker.cancel();
        idle.wakeUpAsync(machine);
        continue;
      }
      const ring = parker.listen();
      if (typeof ring !== "string") await ring;
      parker.answered();
      idle.wakeUpAsync(machine);
    }
    assert.unreachable("a machine goes round and round");
  };
}

/**
 * Publishes one thing after the other, waits until all are done, and closes. With `lateMs` it looks
 * for a machine once more at last, as if more came: one that doesn't come isn't noticed earlier.
 */
function publish(count: number, lateMs?: number) {
  return (shared: Shared): void => {
    const { words } = shared;
    const idle = idleSet(shared, lateMs);
    const parker = new Parker(shared.threads, PUBLISHER);
    for (let published = 0; published < count; published += 1) {
      Atomics.add(words, WORK, 1);
      idle.wakeOne();
    }
    if (lateMs !== undefined) idle.wakeOne();
    for (let turn = 0; Atomics.load(words, DONE) < count; turn += 1) {
      assert.ok(turn < 10);
      parker.prepare();
      if (Atomics.load(words, DONE) >= count) parker.cancel();
      else parker.wait(Infinity);
    }
    Atomics.store(words, CLOSED, 1);
    idle.wake(LOW);
    idle.wake(shared.machineThreads.length - 1);
  };
}

/** Of so many things to do. */
function mournLow(count: number) {
  return (shared: Shared): void => {
    if (!join("low")) return;
    // The work that the dead machine had taken must be done again. At worst the other machine has
    // just taken it, or it isn't published yet, and it is done twice.
    const undone = count - Atomics.load(shared.words, WORK) - Atomics.load(shared.words, DONE);
    if (undone > 0) Atomics.add(shared.words, WORK, undone);
    idleSet(shared).forget(LOW);
    unparkAgain(shared.threads, PUBLISHER);
  };
}

function assertAllDone({ words }: Shared, { logs }: { logs: Readonly<Record<string, readonly unknown[]>> }): void {
  assert.is((logs["low"]?.length ?? 0) + (logs["high"] as unknown[]).length, 2);
  for (let word = 0; word < 2; word += 1) assert.is(Atomics.load(words, IDLE + word), 0, "nobody sleeps or searches");
  assert.is(Atomics.load(words, IDLE_ASYNC), 0);
}

interface HintShared {
  readonly words: Int32Array;
  readonly place: RunQueuePlace;
}

const HINTS = 0;
const OUTBOX = 33;
const SEARCHES = 3;
const WOKEN = 4;

export const scenarios: Scenario[] = [
  scenario({
    name: "idle set: a machine that blocks, two things to do",
    setUp: machines(HIGH),
    threads: { publisher: publish(2), high: work(HIGH) },
    check: assertAllDone,
    bounds: { preemptions: 3 },
    deep: { preemptions: 5 },
  }),
  scenario({
    name: "idle set: the only machine, which searches until it sleeps",
    setUp: machines(HIGH),
    threads: { publisher: publish(2), high: work(HIGH, true) },
    check: assertAllDone,
    bounds: { preemptions: 3 },
    deep: { preemptions: 5 },
  }),
  scenario({
    name: "idle set: a machine in its event loop, two things to do",
    setUp: machines(HIGH),
    threads: { publisher: publish(2), high: workInLoop(HIGH) },
    check: assertAllDone,
    bounds: { preemptions: 3 },
    deep: { preemptions: 5 },
  }),
  scenario({
    name: "idle set: two machines that block",
    setUp: machines(1),
    threads: { publisher: publish(2), low: work(LOW), high: work(1) },
    check: assertAllDone,
    random: { executions: 6000, changes: 3 },
  }),
  scenario({
    name: "idle set: two machines that block, and one that is slow to wake up doesn't count",
    setUp: machines(1),
    threads: { publisher: publish(2, 0), low: work(LOW), high: work(1) },
    check: assertAllDone,
    random: { executions: 6000, changes: 3 },
  }),
  scenario({
    name: "idle set: a machine that never comes when it is woken, and one that blocks",
    setUp: lowSleeps,
    threads: { publisher: publish(2, 0), high: work(1) },
    check(_shared, { logs }) {
      assert.is((logs["high"] as unknown[]).length, 2);
    },
    bounds: { preemptions: 3 },
    deep: { preemptions: 5 },
  }),
  scenario({
    name: "idle set: a machine that blocks and one in its event loop",
    setUp: machines(1),
    threads: { publisher: publish(2), low: work(LOW), high: workInLoop(1) },
    check: assertAllDone,
    bounds: { preemptions: 1 },
    deep: { preemptions: 3 },
  }),
  scenario({
    name: "idle set: a machine that dies is forgotten, and what it owed is made good",
    setUp: machines(1),
    threads: {
      publisher: publish(2),
      low: work(LOW),
      high: work(1),
      supervisor: mournLow(2),
    },
    check({ words }, { died }) {
      if (died.length > 0) assert.is(Atomics.load(words, IDLE), 0, "the dead machine neither sleeps nor searches");
    },
    kill: ["low"],
    bounds: { preemptions: 0 },
    deep: { preemptions: 1 },
  }),
  scenario({
    name: "idle set: a machine in its event loop that dies is forgotten",
    setUp: machines(1),
    threads: {
      publisher: publish(1),
      low: workInLoop(LOW),
      high: workInLoop(1),
      supervisor: mournLow(1),
    },
    check({ words }, { died }) {
      if (died.length > 0) assert.is(Atomics.load(words, IDLE_ASYNC), 0, "the dead machine doesn't sleep");
    },
    kill: ["low"],
    bounds: { preemptions: 0 },
    deep: { preemptions: 1 },
  }),
  scenario({
    name: "outbox flags: an outbox with entries has its flag",
    setUp: (): HintShared => {
      const words = new Int32Array(new SharedArrayBuffer((64 + runQueueWords(2)) * 4));
      return { words, place: { words, base: 64, capacity: 2 } };
    },
    threads: {
      owner({ words, place }) {
        const outbox = new RunQueue(place);
        for (let entry = 1; entry <= 2; entry += 1) {
          outbox.push(entry);
          outbox.publish();
          raiseFlag(words, HINTS, OUTBOX);
        }
      },
      first: emptyOutbox,
      second: emptyOutbox,
    },
    check({ words, place }, { logs }) {
      const left = runQueueLength(place);
      assert.is((logs["first"] as unknown[]).length + (logs["second"] as unknown[]).length + left, 2);
      if (left > 0) assert.ok(hasBit(words, HINTS, OUTBOX), "an entry that nobody looks for");
    },
    bounds: { preemptions: 3 },
  }),
  scenario({
    name: "outbox flags: a searcher that looks while a flag is lowered, and a machine that sleeps",
    setUp: (): HintShared => {
      const words = new Int32Array(new SharedArrayBuffer((64 + runQueueWords(2)) * 4));
      raiseFlag(words, HINTS, OUTBOX);
      words[SEARCHES] = 1;
      return { words, place: { words, base: 64, capacity: 2 } };
    },
    threads: {
      owner({ words, place }) {
        const outbox = new RunQueue(place);
        outbox.push(1);
        outbox.publish();
        raiseFlag(words, HINTS, OUTBOX);
        wakeUnlessSearched(words);
      },
      searcher({ words, place }) {
        // It has found something else.
        Atomics.store(words, SEARCHES, 0);
        if (hasBit(words, HINTS, OUTBOX) && runQueueLength(place) > 0) wakeUnlessSearched(words);
      },
      passer({ words, place }) {
        if (!hasBit(words, HINTS, OUTBOX) || runQueueLength(place) > 0) return;
        if (lowerFlag(words, HINTS, OUTBOX, place)) wakeUnlessSearched(words);
      },
    },
    check({ words }) {
      assert.is(words[WOKEN], 1, "an entry, and nobody was woken for it");
    },
    bounds: { preemptions: 3 },
  }),
];

/** As an idle set with one machine that sleeps: it is woken unless somebody searches. */
function wakeUnlessSearched(words: Int32Array): void {
  if (Atomics.load(words, SEARCHES) === 0) Atomics.store(words, WOKEN, 1);
}

/** Takes entries as long as there is a hint, as a processor does. */
function emptyOutbox({ words, place }: HintShared, log: unknown[]): void {
  const other = new Int32Array(new SharedArrayBuffer(runQueueWords(2) * 4));
  const own = new RunQueue({ words: other, base: 0, capacity: 2 });
  for (let turn = 0; turn < 2; turn += 1) {
    if (!hasBit(words, HINTS, OUTBOX)) return;
    const entry = own.takeFrom(place, 2, 1);
    if (entry !== EMPTY && entry !== RETRY) log.push(entry);
    else if (runQueueLength(place) <= 0) lowerFlag(words, HINTS, OUTBOX, place);
  }
}

const IDLE_FILE = "scheduler/shared/idle";
const FLAGS_FILE = "scheduler/shared/outbox-flags";

export const mutants: Mutant[] = [
  {
    breaks: "nobody is woken while a machine sleeps",
    by: "a machine that blocks, two",
    file: IDLE_FILE,
    from: "if (sleepers !== 0 && this.#wakeSleeper())",
    to: "if (sleepers === 0 && this.#wakeSleeper())",
  },
  {
    breaks: "only the first word is looked at",
    by: "a machine that blocks, two",
    file: IDLE_FILE,
    from: "this.#idleWords = idleWords(machineThreads.length);",
    to: "this.#idleWords = 1;",
  },
  {
    breaks: "a waker moves a sleeper without a compare-and-swap",
    by: "two machines",
    file: IDLE_FILE,
    from: "const seen = Atomics.compareExchange(this.#words, this.#idle + index, state, (state & ~bit) | (bit << GROUP));",
    to: "const seen = state;\n                Atomics.store(this.#words, this.#idle + index, (state & ~bit) | (bit << GROUP));",
  },
  {
    breaks: "a sleeper is picked and not woken",
    by: "a machine that blocks, two",
    file: IDLE_FILE,
    from: "unpark(this.#threads, this.#machineThreads[this.#chosen]);",
    to: "",
  },
  {
    breaks: "a machine that never comes counts as a searcher",
    by: "never comes",
    file: IDLE_FILE,
    from: "return performance.now() - this.#chosenAt >= this.#lateMs ? this.#chosen : -1;",
    to: "return -1;",
  },
  {
    breaks: "a machine that has come isn't told from one that never comes",
    by: "never comes",
    file: IDLE_FILE,
    from: "if (!isWaking(",
    to: "if (isWaking(",
  },
  {
    breaks: "a machine in its event loop is picked and not woken",
    by: "a machine in its event loop, two",
    file: IDLE_FILE,
    from: "unpark(this.#threads, this.#machineThreads[member]);",
    to: "",
  },
  {
    breaks: "machines in their event loops are never woken",
    by: "a machine in its event loop, two",
    file: IDLE_FILE,
    from: "return this.#wakeAsync();",
    to: "return false;",
  },
  {
    breaks: "a machine doesn't say that it sleeps",
    by: "a machine that blocks, two",
    file: IDLE_FILE,
    from: "Atomics.or(this.#words, this.#word(machine), sleepBit(machine));",
    to: "",
  },
  {
    breaks: "a machine keeps searching for ever",
    by: "a machine that blocks, two",
    file: IDLE_FILE,
    from: "Atomics.and(this.#words, this.#word(machine), ~searchBit(machine));",
    to: "",
  },
  {
    breaks: "the only machine counts as searching while it sleeps",
    by: "the only machine",
    file: IDLE_FILE,
    from: "Atomics.and(this.#words, this.#word(machine), ~searchBit(machine));",
    to: "",
  },
  {
    breaks: "the only machine is picked and keeps sleeping by its bit",
    by: "the only machine",
    file: IDLE_FILE,
    from: "Atomics.and(this.#words, this.#word(machine), ~sleepBit(machine));",
    to: "Atomics.load(this.#words, this.#word(machine));",
  },
  {
    breaks: "a machine that wakes up doesn't learn that it was picked",
    by: "two machines",
    file: IDLE_FILE,
    from: "return (before & sleepBit(machine)) === 0;",
    to: "return false;",
  },
  {
    breaks: "a dead machine keeps searching",
    by: "a machine that dies",
    file: IDLE_FILE,
    from: "~(sleepBit(machine) | searchBit(machine))",
    to: "~sleepBit(machine)",
  },
  {
    breaks: "a dead machine's wake-up isn't made good",
    by: "a machine that dies",
    file: IDLE_FILE,
    from: "unparkAgain(this.#threads, this.#machineThreads[other]);",
    to: "",
  },
  {
    breaks: "a dead machine's wake-up is taken for delivered",
    by: "a machine that dies",
    file: IDLE_FILE,
    from: "unparkAgain(this.#threads, this.#machineThreads[other]);",
    to: "unpark(this.#threads, this.#machineThreads[other]);",
  },
  {
    breaks: "a dead machine is chosen again and again",
    by: "a machine that dies",
    file: IDLE_FILE,
    from: "~(sleepBit(machine) | searchBit(machine))",
    to: "~searchBit(machine)",
  },
  {
    breaks: "a dead machine sleeps on in its event loop",
    by: "in its event loop that dies",
    file: IDLE_FILE,
    from: "clearBit(this.#words, this.#idleAsync, machine);\n        for",
    to: "for",
  },
  {
    breaks: "a machine that is awake can be chosen",
    by: "two machines",
    file: IDLE_FILE,
    from: "Atomics.and(this.#words, this.#word(machine), ~sleepBit(machine));",
    to: "Atomics.load(this.#words, this.#word(machine));",
  },
  {
    breaks: "a machine that is awake still sleeps in its event loop",
    by: "a machine in its event loop, two",
    file: IDLE_FILE,
    from: "wakeUpAsync(machine) {\n        clearBit(this.#words, this.#idleAsync, machine);",
    to: "wakeUpAsync(machine) {",
  },
  {
    breaks: "a machine doesn't say that it sleeps in its event loop",
    by: "a machine in its event loop, two",
    file: IDLE_FILE,
    from: "setBit(this.#words, this.#idleAsync, machine);",
    to: "",
  },
  {
    breaks: "a machine begins to search in the word of another",
    by: "a machine that blocks, two",
    file: IDLE_FILE,
    from: "return this.#idle + (machine >> 4);",
    to: "return this.#idle;",
  },
  {
    breaks: "a flag is lowered without another look",
    by: "outbox flags",
    file: FLAGS_FILE,
    from: "if (runQueueLength(place) <= 0)\n        return false;",
    to: "return false;",
  },
  {
    breaks: "nobody is woken for a flag that is raised again",
    by: "while a flag is lowered",
    file: FLAGS_FILE,
    from: "setBit(words, flags, outbox);\n    return true;",
    to: "setBit(words, flags, outbox);\n    return false;",
  },
  {
    breaks: "a flag isn't raised again",
    by: "outbox flags",
    file: FLAGS_FILE,
    from: "if (!hasBit(words, flags, outbox))\n        setBit(words, flags, outbox);",
    to: "",
  },
];
