/** Permits: never too many, none lost, first come first served, and deaths at any step. */
import * as assert from "uvu/assert";
import { block } from "@millrace/atomics-sync/internal/objects/block";
import { PERMITS } from "@millrace/atomics-sync/internal/objects/kinds";
import { HELD, NODE_STATE } from "@millrace/atomics-sync/internal/objects/node";
import { ASKS_EXCLUSIVE, PermitsCore } from "@millrace/atomics-sync/internal/locks/permits";
import { join, type Mutant, scenario, type Scenario } from "../api.ts";
import { assertNodesFree, bury, cellOf, setUpSpace, type Shared, spaceOf } from "../fixtures/spaces.ts";

function setUp(permits: number): Shared {
  const shared = setUpSpace([PERMITS]);
  permitsOf(shared, 0).setPermits(permits);
  return shared;
}

function permitsOf(shared: Shared, thread: number): PermitsCore {
  return new PermitsCore(spaceOf(shared, thread), cellOf(shared));
}

/**
 * Word 0 counts what is held; with all permits, word 1 is changed by a plain access, which the race
 * check watches.
 */
function inside(shared: Shared, permits: number, need: number): void {
  assert.ok(Atomics.add(shared.words, 0, need) + need <= permits, "never more than there are");
  if (need === permits) shared.words[1] = (shared.words[1] as number) + 1;
  Atomics.sub(shared.words, 0, need);
}

function takeAndRelease(shared: Shared, thread: number, permits: number, needs: readonly number[], asks = 0): boolean {
  const core = permitsOf(shared, thread);
  let isRecovered = false;
  for (const need of needs) {
    const node = core.take(need, asks, thread);
    block(spaceOf(shared, thread), core, node, Infinity);
    isRecovered = core.isRecovered(node);
    inside(shared, permits, need);
    core.release(node);
  }
  return isRecovered;
}

/** Held by a thread that may die there: nobody counts what is inside then. */
function takeAndReleaseUncounted(shared: Shared, thread: number, need: number, asks = 0): void {
  const core = permitsOf(shared, thread);
  const node = core.take(need, asks, thread);
  block(spaceOf(shared, thread), core, node, Infinity);
  core.release(node);
}

function assertQuiet(shared: Shared): void {
  const core = permitsOf(shared, 0);
  // Brings in line what the last ones have left to the next latch holder.
  core.pump();
  assertNodesFree(shared);
  assert.is(core.available, core.permits, "all permits are back");
  assert.ok(core.close(), "nobody holds a permit or waits for one");
}

/** Thread 0 holds the only permit, thread 1 waits for it: each in the first node of its chunk. */
function setUpHeld(): Shared {
  const shared = setUp(1);
  permitsOf(shared, 0).take(1, 0, 0);
  permitsOf(shared, 1).take(1, 0, 1);
  return shared;
}

function awaitAndRelease(shared: Shared, thread: number): void {
  const core = permitsOf(shared, thread);
  const node = spaceOf(shared, thread).nodeAt(thread, 0);
  block(spaceOf(shared, thread), core, node, Infinity);
  core.release(node);
}

export const scenarios: Scenario[] = [
  scenario({
    name: "permits: one each, twice",
    setUp: () => setUp(1),
    threads: {
      one: (shared) => takeAndRelease(shared, 0, 1, [1, 1]),
      two: (shared) => takeAndRelease(shared, 1, 1, [1, 1]),
    },
    check: assertQuiet,
    bounds: { preemptions: 2 },
  }),
  scenario({
    name: "permits: different weights",
    setUp: () => setUp(2),
    threads: {
      one: (shared) => takeAndRelease(shared, 0, 2, [1]),
      all: (shared) => takeAndRelease(shared, 1, 2, [2]),
      other: (shared) => takeAndRelease(shared, 2, 2, [1]),
    },
    check: assertQuiet,
    bounds: { preemptions: 1 },
  }),
  scenario({
    name: "permits: a try overtakes nobody and leaves nothing behind",
    setUp: () => setUp(2),
    threads: {
      one: (shared) => takeAndRelease(shared, 0, 2, [2, 1]),
      trier(shared) {
        const core = permitsOf(shared, 1);
        const node = core.tryTake(1, 0);
        if (node === 0) return;
        inside(shared, 2, 1);
        core.release(node);
      },
    },
    check: assertQuiet,
    bounds: { preemptions: 2 },
  }),
  scenario({
    name: "permits: a wait that runs out of time makes way for those behind it",
    setUp: () => setUp(2),
    threads: {
      one: (shared) => takeAndRelease(shared, 0, 2, [1]),
      impatient(shared) {
        const core = permitsOf(shared, 1);
        const node = core.take(2, 0, 1);
        if (!block(spaceOf(shared, 1), core, node, 5)) return;
        inside(shared, 2, 2);
        core.release(node);
      },
      behind: (shared) => takeAndRelease(shared, 2, 2, [1]),
    },
    check: assertQuiet,
    bounds: { preemptions: 1, timeouts: 1 },
  }),
  scenario({
    name: "permits: a holder dies anywhere, and its permits come back",
    setUp: () => setUp(2),
    threads: {
      victim: (shared) => takeAndReleaseUncounted(shared, 0, 1),
      all: (shared) => takeAndReleaseUncounted(shared, 1, 2),
      parent(shared) {
        if (join("victim")) bury(shared, 3, 0);
      },
    },
    kill: ["victim"],
    check: assertQuiet,
    bounds: { preemptions: 0 },
  }),
  scenario({
    name: "permits: a thread dies while it gives a permit back and serves",
    setUp() {
      const shared = setUp(1);
      // Chunk 0 belongs to thread 0: its first node holds the permit.
      permitsOf(shared, 0).take(1, 0, 0);
      return shared;
    },
    threads: {
      victim(shared) {
        permitsOf(shared, 0).release(spaceOf(shared, 0).nodeAt(0, 0));
      },
      one: (shared) => takeAndReleaseUncounted(shared, 1, 1),
      parent(shared) {
        if (join("victim")) bury(shared, 3, 0);
      },
    },
    kill: ["victim"],
    check: assertQuiet,
    bounds: { preemptions: 1 },
  }),
  scenario({
    name: "permits: a release that finds the latch taken isn't forgotten",
    setUp: setUpHeld,
    threads: {
      releaser: (shared) => permitsOf(shared, 0).release(spaceOf(shared, 0).nodeAt(0, 0)),
      waiter: (shared) => awaitAndRelease(shared, 1),
      pumper: (shared) => permitsOf(shared, 2).pump(),
    },
    check: assertQuiet,
    bounds: { preemptions: 3 },
  }),
  scenario({
    name: "permits: a thread dies with the latch while another one releases",
    setUp: setUpHeld,
    threads: {
      releaser: (shared) => permitsOf(shared, 0).release(spaceOf(shared, 0).nodeAt(0, 0)),
      waiter: (shared) => awaitAndRelease(shared, 1),
      pumper: (shared) => permitsOf(shared, 2).pump(),
      parent(shared) {
        if (join("pumper")) bury(shared, 3, 2);
      },
    },
    kill: ["pumper"],
    check: assertQuiet,
    bounds: { preemptions: 1 },
  }),
  scenario({
    name: "permits: after a writer's death the next one is told",
    setUp: () => setUp(2),
    threads: {
      writer(shared, log) {
        const core = permitsOf(shared, 0);
        const node = core.take(2, ASKS_EXCLUSIVE, 0);
        block(spaceOf(shared, 0), core, node, Infinity);
        log.push("held");
        assert.is(Atomics.load(spaceOf(shared, 0).words, node + NODE_STATE), HELD);
        core.release(node);
        log.push("released");
      },
      parent(shared) {
        if (join("writer")) bury(shared, 3, 0);
        return takeAndRelease(shared, 3, 2, [1]);
      },
    },
    kill: ["writer"],
    check(shared, { logs, results, died }) {
      const log = logs["writer"] as string[];
      // Between the two it may have died before, in, or after the release.
      if (log.length === 0 && died.length === 0) assert.unreachable();
      if (log.includes("released") || died.length === 0) assert.not(results["parent"], "it was whole");
      assertQuiet(shared);
    },
    bounds: { preemptions: 1 },
  }),
];

const FILE = "atomics-sync/locks/permits";
const MONITOR = "atomics-sync/objects/monitor";
const QUEUE = "atomics-sync/objects/wait-queue";
const MOURNING = "atomics-sync/objects/mourning";

export const mutants: Mutant[] = [
  {
    breaks: "what was given isn't counted",
    by: "a holder dies",
    file: FILE,
    from: "if (this.settleOldest(node, WAITING, HELD))\n                this.#count(need, asks);",
    to: "this.settleOldest(node, WAITING, HELD);",
  },
  {
    breaks: "a request that doesn't fit is served",
    by: "one each",
    file: FILE,
    from: "return this.#taken() + need <= this.permits;",
    to: "return this.#taken() <= this.permits;",
  },
  {
    breaks: "a release that another thread carries out isn't counted",
    by: "gives a permit back",
    file: FILE,
    from: "released(node) {\n        this.#setTaken(this.#taken() - this.words[node + NODE_NEED]);",
    to: "released(node) {",
  },
  {
    breaks: "a release that finds the latch taken isn't pumped",
    by: "dies with the latch",
    file: FILE,
    from: "this.space.leaveNode(node);\n        this.pump();",
    to: "this.space.leaveNode(node);",
  },
  {
    breaks: "a releasing node keeps its order",
    by: "dies with the latch",
    file: FILE,
    from: "this.words[node + ORDER] = 0;",
    to: "",
  },
  {
    breaks: "what is taken isn't counted anew after a death",
    by: "a holder dies",
    file: FILE,
    from: "this.#setTaken(this.heldInAll());",
    to: "",
  },
  {
    breaks: "a waiter that can't be served is not posted",
    by: "a holder dies",
    file: FILE,
    from: "this.fillNode(node, need, asks, wakes);\n                this.post(node, WAITING);\n            }\n            this.unlatch();",
    to: "this.fillNode(node, need, asks, wakes);\n                Atomics.store(this.words, node + NODE_STATE, WAITING);\n            }\n            this.unlatch();",
  },
  {
    breaks: "releases in the inbox are not taken for held after a death",
    by: "dies with the latch",
    file: MOURNING,
    from: "const isHeld = state === HELD || (state === RELEASING && space.words[node + ORDER] === 0);",
    to: "const isHeld = state === HELD;",
  },
  {
    breaks: "a release that a dead thread was about to finish is forgotten",
    by: "dies with the latch",
    file: MONITOR,
    from: "finishLostReleases(this.space, this.cell);",
    to: "",
  },
  {
    breaks: "a burial doesn't make the next one count anew",
    by: "a holder dies",
    file: MONITOR,
    from: "this.words[this.cell + STALE] = 1;\n        Atomics.store(this.words, this.cell + LATCH, this.#tag);",
    to: "Atomics.store(this.words, this.cell + LATCH, this.#tag);",
  },
  {
    breaks: "a node that was given up in mid-queue stops the queue",
    by: "runs out of time",
    file: QUEUE,
    from: "if (head === 0 || Atomics.load(this.words, head + NODE_STATE) !== CANCELLED)\n                return head;",
    to: "return head;",
  },
  {
    breaks: "a dead holder keeps its permits",
    by: "gives a permit back",
    file: MOURNING,
    from: "freeBlock(space, node);\n        Atomics.store(words, node + NODE_STATE, FREE);",
    to: "freeBlock(space, node);",
  },
];
