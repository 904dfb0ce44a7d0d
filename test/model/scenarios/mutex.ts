/**
 * The mutex, and the monitor under it: exclusion, wake-ups, time limits, and deaths at any step.
 */
import * as assert from "uvu/assert";
import { ThreadTable } from "@millrace/atomics-sync";
import { block } from "@millrace/atomics-sync/internal/objects/block";
import { finishBurial, mournEverywhere } from "@millrace/atomics-sync/internal/objects/burial";
import { MUTEX } from "@millrace/atomics-sync/internal/objects/kinds";
import { MutexCore, OWNED, OWNED_RECOVERED, TAKEN, TIMED_OUT } from "@millrace/atomics-sync/internal/locks/mutex-core";
import { ASKS_KIND, FREE, GRANTED, NODE_STATE } from "@millrace/atomics-sync/internal/objects/node";
import { SyncSpace } from "@millrace/atomics-sync/internal/objects/space";
import { join, type Mutant, pause, scenario, type Scenario } from "../api.ts";

interface Shared {
  /** Each thread's own view; made before the threads start, because it reads its shape. */
  readonly spaces: readonly SyncSpace[];
  readonly cell: number;
  /** [0] plain, inside the critical section: the race check is also the check of exclusion. */
  readonly words: Int32Array;
}

interface Queued extends Shared {
  readonly nodes: readonly number[];
}

const THREADS = 4;
const VIEW = { spins: 0, napsMax: 0, mayBlock: true, now: (): number => 0 };

/** Threads 0 to 3, and one mutex. */
function setUp(): Shared {
  const table = ThreadTable.allocate(THREADS);
  const memory = SyncSpace.allocate({ cells: 1, chunks: THREADS, chunkNodes: 1 }, 1);
  const spaces: SyncSpace[] = [];
  for (let thread = 0; thread < THREADS; thread += 1) {
    const threads = new ThreadTable(table);
    threads.reserve();
    spaces.push(new SyncSpace(memory, threads, thread, VIEW));
  }
  const cell = spaceOf({ spaces }, 0).takeCell(MUTEX);
  return { spaces, cell, words: new Int32Array(new SharedArrayBuffer(4)) };
}

function spaceOf({ spaces }: Pick<Shared, "spaces">, thread: number): SyncSpace {
  return spaces[thread] as SyncSpace;
}

function mutexOf(shared: Shared, thread: number): MutexCore {
  return new MutexCore(spaceOf(shared, thread), shared.cell);
}

/** The data that the lock protects. */
function inside(shared: Shared): void {
  shared.words[0] = (shared.words[0] as number) + 1;
}

function lockAndUnlock(shared: Shared, thread: number, rounds: number, log: unknown[]): void {
  const mutex = mutexOf(shared, thread);
  for (let round = 0; round < rounds; round += 1) {
    const outcome = mutex.lock(Infinity);
    log.push(outcome);
    inside(shared);
    assert.ok(mutex.unlock());
  }
}

/** Waits with a node that is in the queue already, then locks and unlocks. */
function waitQueued(shared: Shared, thread: number, node: number, waitedMs = 0): number {
  const space = spaceOf(shared, thread);
  const mutex = new MutexCore(space, shared.cell);
  let outcome = TAKEN;
  for (let attempt = 0; attempt < 4 && outcome === TAKEN; attempt += 1) {
    block(space, mutex, node, Infinity);
    outcome = mutex.served(node, waitedMs);
  }
  assert.is.not(outcome, TAKEN);
  inside(shared);
  assert.ok(mutex.unlock());
  return outcome;
}

/** Waits for the lock as one that has waited too long. */
function lockStarved(shared: Shared, thread: number): number {
  return waitQueued(shared, thread, mutexOf(shared, thread).enqueue(ASKS_KIND, thread), 2);
}

/** The parent of the thread: buries it once it is dead. */
function bury(shared: Shared, parent: number, dead: number): void {
  const space = spaceOf(shared, parent);
  space.threads.markDead(dead);
  while (!mournEverywhere(space, dead)) pause();
  finishBurial(space, dead);
}

/** Everything is as if nobody had ever waited. */
function assertQuiet(shared: Shared): void {
  const space = spaceOf(shared, 0);
  for (let chunk = 0; chunk < THREADS; chunk += 1) {
    assert.is(space.words[space.nodeAt(chunk, 0) + NODE_STATE], FREE, "every node was given back");
  }
  assert.ok(mutexOf(shared, 0).close(), "nobody holds the lock or waits for it");
}

export const scenarios: Scenario[] = [
  scenario({
    name: "mutex: two threads, twice each",
    setUp,
    threads: {
      one: (shared, log) => lockAndUnlock(shared, 0, 2, log),
      two: (shared, log) => lockAndUnlock(shared, 1, 2, log),
    },
    check(shared, { logs }) {
      assert.equal([...(logs["one"] as []), ...(logs["two"] as [])], [OWNED, OWNED, OWNED, OWNED]);
      assertQuiet(shared);
    },
    bounds: { preemptions: 3 },
  }),
  scenario({
    name: "mutex: three threads",
    setUp,
    threads: {
      one: (shared, log) => lockAndUnlock(shared, 0, 1, log),
      two: (shared, log) => lockAndUnlock(shared, 1, 1, log),
      three: (shared, log) => lockAndUnlock(shared, 2, 1, log),
    },
    check: assertQuiet,
    bounds: { preemptions: 2 },
  }),
  scenario({
    name: "mutex: a waiter that has waited too long is handed the lock",
    setUp,
    threads: {
      one: (shared, log) => lockAndUnlock(shared, 0, 2, log),
      starved(shared) {
        assert.is(lockStarved(shared, 1), OWNED);
      },
      two: (shared, log) => lockAndUnlock(shared, 2, 1, log),
    },
    check: assertQuiet,
    bounds: { preemptions: 2 },
  }),
  scenario({
    name: "mutex: a woken waiter loses and is back at the front while it is still being served",
    setUp(): Queued {
      const shared = setUp();
      assert.is(mutexOf(shared, 0).tryLock(), OWNED);
      const nodes: number[] = [];
      for (let thread = 1; thread < 3; thread += 1) nodes.push(mutexOf(shared, thread).enqueue(0, thread));
      return { ...shared, nodes };
    },
    threads: {
      holder(shared) {
        assert.ok(mutexOf(shared, 0).unlock());
      },
      first(shared: Queued) {
        waitQueued(shared, 1, shared.nodes[0] as number);
      },
      barger(shared) {
        const mutex = mutexOf(shared, 3);
        if (mutex.tryLock() !== OWNED) return;
        inside(shared);
        assert.ok(mutex.unlock());
      },
    },
    // Nobody runs behind the second node: it is enough that it was told.
    check({ spaces, nodes }: Queued) {
      assert.is((spaces[0] as SyncSpace).words[(nodes[1] as number) + NODE_STATE], GRANTED);
    },
    bounds: { preemptions: 2 },
  }),
  scenario({
    name: "mutex: waits that run out of time",
    setUp,
    threads: {
      one: (shared, log) => lockAndUnlock(shared, 0, 1, log),
      impatient(shared, log) {
        const mutex = mutexOf(shared, 1);
        const outcome = mutex.lock(5);
        log.push(outcome);
        if (outcome === TIMED_OUT) return;
        inside(shared);
        assert.ok(mutex.unlock());
      },
      two: (shared, log) => lockAndUnlock(shared, 2, 1, log),
    },
    check: assertQuiet,
    bounds: { preemptions: 2, timeouts: 1 },
  }),
  scenario({
    name: "mutex: a thread dies anywhere, its parent buries it, and the others come through",
    setUp,
    threads: {
      victim: (shared, log) => lockAndUnlock(shared, 0, 1, log),
      one(shared, log) {
        const mutex = mutexOf(shared, 1);
        const outcome = mutex.lock(Infinity);
        log.push(outcome);
        inside(shared);
        assert.ok(mutex.unlock());
      },
      parent(shared) {
        if (join("victim")) bury(shared, 3, 0);
      },
    },
    kill: ["victim"],
    check(shared, { logs }) {
      const [outcome] = logs["one"] as number[];
      assert.ok(outcome === OWNED || outcome === OWNED_RECOVERED);
      assertQuiet(shared);
    },
    bounds: { preemptions: 2 },
  }),
  scenario({
    name: "mutex: a thread dies while it hands the lock over",
    setUp,
    threads: {
      victim: (shared, log) => lockAndUnlock(shared, 0, 1, log),
      starved(shared) {
        const outcome = lockStarved(shared, 1);
        assert.ok(outcome === OWNED || outcome === OWNED_RECOVERED);
      },
      parent(shared) {
        if (join("victim")) bury(shared, 3, 0);
      },
    },
    kill: ["victim"],
    check: assertQuiet,
    bounds: { preemptions: 1 },
  }),
  scenario({
    name: "mutex: a waiter dies while it is woken or served",
    setUp,
    threads: {
      one: (shared, log) => lockAndUnlock(shared, 0, 1, log),
      victim: (shared, log) => lockAndUnlock(shared, 1, 1, log),
      two: (shared, log) => lockAndUnlock(shared, 2, 1, log),
      parent(shared) {
        if (join("victim")) bury(shared, 3, 1);
      },
    },
    kill: ["victim"],
    check: assertQuiet,
    bounds: { preemptions: 1 },
  }),
];

const MONITOR = "atomics-sync/objects/monitor";
const FILE = "atomics-sync/locks/mutex-core";
const QUEUE = "atomics-sync/objects/wait-queue";
const MOURNING = "atomics-sync/objects/mourning";

export const mutants: Mutant[] = [
  {
    breaks: "the lock is taken without a compare-and-swap",
    file: FILE,
    from: "const seen = Atomics.compareExchange(this.words, this.cell + CELL_STATE, this.#free, this.#own);",
    to: "const seen = Atomics.load(this.words, this.cell + CELL_STATE);\n        if (seen === this.#free)\n            Atomics.store(this.words, this.cell + CELL_STATE, this.#own);",
  },
  {
    breaks: "the releaser doesn't look after the queue",
    file: FILE,
    from: "if ((state & (WAKE | STARVING)) !== 0)\n            this.pump();",
    to: "",
  },
  {
    breaks: "a woken waiter takes the lock without looking after those behind it",
    file: FILE,
    from: "outcome = this.#tryLockSlow(WAKE);",
    to: "outcome = this.#tryLockSlow(0);",
  },
  {
    breaks: "the queue is seen while the lock is held, and the holder isn't told",
    file: FILE,
    from: "state | WAKE | this.#starvingBit(node)",
    to: "state | this.#starvingBit(node)",
  },
  {
    breaks: "OWED is overlooked",
    file: MONITOR,
    from: "Atomics.store(this.words, this.cell + LATCH, own);\n        return false;",
    to: "Atomics.store(this.words, this.cell + LATCH, 0);\n        return true;",
  },
  {
    breaks: "nobody is told that the latch is wanted",
    file: MONITOR,
    from: "seen = Atomics.compareExchange(this.words, latch, held, held | OWED);",
    to: "seen = Atomics.compareExchange(this.words, latch, held, held);",
  },
  {
    breaks: "a node is posted by a plain store",
    file: MONITOR,
    from: "const seen = Atomics.compareExchange(this.words, inbox, top, next);",
    to: "const seen = top;\n            Atomics.store(this.words, inbox, next);",
  },
  {
    breaks: "the inbox is emptied although more was posted",
    file: MONITOR,
    from: "const seen = Atomics.compareExchange(this.words, inbox, top, this.#tag);",
    to: "const seen = top;\n            Atomics.store(this.words, inbox, this.#tag);",
  },
  {
    breaks: "nobody is woken",
    file: MONITOR,
    from: "unpark(this.space.threads.words, thread);",
    to: "",
  },
  {
    breaks: "the latch of a dead thread isn't taken over",
    file: MONITOR,
    from: "|| this.space.threads.isDead(holder - 1);",
    to: ";",
  },
  {
    breaks: "the queue isn't built again after a death",
    file: MOURNING,
    from: "queued.push({ node, order });",
    to: "void 0;",
  },
  {
    breaks: "an inbox that a dead thread has begun to empty is forgotten",
    file: MONITOR,
    from: "this.words[this.cell + STALE] = 1;\n        this.settleInbox();",
    to: "this.words[this.cell + STALE] = 1;\n        Atomics.store(this.words, this.cell + INBOX, this.#tag);",
  },
  {
    breaks: "a dead owner keeps the lock",
    file: MONITOR,
    from: "if (isOwned)\n            orphan(this.words, this.cell, dead);",
    to: "",
  },
  {
    breaks: "a dead waiter stays in the queue",
    file: MONITOR,
    from: "this.relink(alive);",
    to: "",
  },
  {
    breaks: "nobody looks again after a burial",
    file: "atomics-sync/objects/space",
    from: "if (this.threads.isTaken(thread))\n                unparkAgain(this.threads.words, thread);",
    to: "",
  },
  {
    breaks: "who was about to be woken by the dead thread isn't woken",
    file: "atomics-sync/threads/parker",
    from: "if (unpark(words, id) || Atomics.load(words, parkWord(id)) !== NOTIFIED)",
    to: "if (unpark(words, id) || true)",
  },
  {
    breaks: "a node that changed its mind is served",
    file: QUEUE,
    from: "if (Atomics.compareExchange(this.words, node + NODE_STATE, from, to) !== from)\n            return false;",
    to: "Atomics.store(this.words, node + NODE_STATE, to);",
  },
  {
    breaks: "a waiter sleeps without looking whether it was served",
    file: "atomics-sync/objects/block",
    from: "parker.prepare();\n        if (isServed(space.words, node)) {",
    to: "parker.prepare();\n        if (false) {",
  },
  {
    breaks: "a hand-over that was interrupted is forgotten",
    file: FILE,
    from: "if (number !== 0)",
    to: "if (false)",
  },
  {
    breaks: "who buries mends an object that it doesn't know",
    file: MONITOR,
    from: "if (!this.#takeLatch())\n            return false;\n        this.settleInbox();",
    to: "if (!this.tryLatch())\n            return false;\n        this.settleInbox();",
  },
];
