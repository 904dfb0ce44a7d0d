/**
 * The wait group: nobody sleeps when all is done, nobody goes on before, and claims end with their
 * thread.
 */
import * as assert from "uvu/assert";
import { block } from "@millrace/atomics-sync/internal/objects/block";
import { WAIT_GROUP } from "@millrace/atomics-sync/internal/objects/kinds";
import { ASKS_FRONT, ASKS_KIND } from "@millrace/atomics-sync/internal/objects/node";
import { WaitGroupCore } from "@millrace/atomics-sync/internal/locks/wait-group";
import { join, type Mutant, scenario, type Scenario } from "../api.ts";
import { assertNodesFree, bury, cellOf, setUpSpace, type Shared, spaceOf } from "../fixtures/spaces.ts";
import { COUNT_LOOK } from "../fixtures/races.ts";

function groupOf(shared: Shared, thread: number): WaitGroupCore {
  return new WaitGroupCore(spaceOf(shared, thread), cellOf(shared));
}

function setUp(units: number): Shared {
  const shared = setUpSpace([WAIT_GROUP], 2);
  groupOf(shared, 0).add(units);
  return shared;
}

/** The work is a plain write, which must be in order with whoever waits for it. */
function work(shared: Shared, word: number): void {
  shared.words[word] = 1;
}

function wait(shared: Shared, thread: number): number {
  const group = groupOf(shared, thread);
  const node = group.enqueue(0, thread);
  block(spaceOf(shared, thread), group, node, Infinity);
  return group.abandoned(node);
}

function claimAndWork(shared: Shared, thread: number, log: unknown[]): void {
  const group = groupOf(shared, thread);
  const node = group.enqueue(ASKS_KIND | ASKS_FRONT, thread);
  block(spaceOf(shared, thread), group, node, Infinity);
  assert.ok(group.isClaimed(node));
  log.push("claimed");
  group.release(node);
}

function assertOver(shared: Shared): void {
  const group = groupOf(shared, 0);
  group.pump();
  assert.is(group.count, 0);
  assertNodesFree(shared);
  assert.ok(group.close());
}

export const scenarios: Scenario[] = [
  scenario({
    name: "wait group: who waits sees the work of all",
    races: [COUNT_LOOK],
    setUp: () => setUp(2),
    threads: {
      one(shared) {
        work(shared, 0);
        assert.ok(groupOf(shared, 0).add(-1));
      },
      two(shared) {
        work(shared, 1);
        assert.ok(groupOf(shared, 1).add(-1));
      },
      waiter(shared) {
        assert.is(wait(shared, 2), 0);
        assert.equal([shared.words[0], shared.words[1]], [1, 1]);
      },
    },
    check: assertOver,
    bounds: { preemptions: 3 },
  }),
  scenario({
    name: "wait group: a claim on the way is seen by who looks without the latch",
    setUp: () => setUp(1),
    threads: {
      claimer(shared, log) {
        const group = groupOf(shared, 0);
        const node = group.enqueue(ASKS_KIND | ASKS_FRONT, 0);
        block(spaceOf(shared, 0), group, node, Infinity);
        assert.ok(group.isClaimed(node));
        work(shared, 0);
        group.release(node);
        log.push("done");
      },
      looker(shared) {
        if (groupOf(shared, 1).isDone()) assert.is(shared.words[0], 1);
      },
      waiter(shared) {
        assert.is(wait(shared, 2), 0);
        assert.is(shared.words[0], 1);
      },
    },
    check: assertOver,
    bounds: { preemptions: 2 },
  }),
  scenario({
    name: "wait group: units that are added before a claim is over are never taken for done",
    setUp() {
      const shared = setUp(1);
      const group = groupOf(shared, 0);
      group.enqueue(ASKS_KIND | ASKS_FRONT, 0);
      return shared;
    },
    threads: {
      claimer(shared) {
        const group = groupOf(shared, 0);
        // The claim of `setUp` is the first node of the first chunk.
        const node = spaceOf(shared, 0).nodeAt(0, 0);
        assert.ok(group.isClaimed(node));
        assert.ok(group.add(1));
        group.release(node);
        work(shared, 0);
        assert.ok(group.add(-1));
      },
      looker(shared) {
        if (groupOf(shared, 1).isDone()) assert.is(shared.words[0], 1);
      },
    },
    check: assertOver,
    bounds: { preemptions: 4 },
  }),
  scenario({
    name: "wait group: a thread dies while it claims or has claimed, and the wait is over",
    setUp: () => setUp(1),
    threads: {
      victim: (shared, log) => claimAndWork(shared, 0, log),
      waiter: (shared) => wait(shared, 1),
      parent(shared) {
        if (!join("victim")) return false;
        bury(shared, 3, 0);
        groupOf(shared, 3).pump();
        // A unit that was never claimed is nobody's: somebody else does it.
        return groupOf(shared, 3).add(-1);
      },
    },
    kill: ["victim"],
    check(shared, { results, logs, died }) {
      const others = (results["waiter"] as number) + (results["parent"] === true ? 1 : 0);
      if (died.length === 0) assert.is(others, 0);
      else if ((logs["victim"] as unknown[]).length === 0)
        assert.is(others, 1, "the unit is abandoned, or done by another");
      else assert.ok(others <= 1);
      assertOver(shared);
    },
    bounds: { preemptions: 0 },
  }),
  scenario({
    name: "wait group: a thread dies while it serves the claim of another",
    setUp: () => setUp(1),
    threads: {
      claimer: (shared, log) => claimAndWork(shared, 1, log),
      victim(shared) {
        groupOf(shared, 0).pump();
      },
      parent(shared) {
        if (join("victim")) bury(shared, 3, 0);
      },
    },
    kill: ["victim"],
    check: assertOver,
    bounds: { preemptions: 1 },
  }),
];

const FILE = "atomics-sync/locks/wait-group";

export const mutants: Mutant[] = [
  {
    breaks: "whether all is done is read from two words",
    file: FILE,
    from: "return Atomics.load(this.words, this.cell + CELL_STATE) === 0 &&",
    to: "return Atomics.load(this.words, this.cell + CELL_STATE) >>> COUNT_SHIFT === 0 && Atomics.load(this.words, this.cell + CLAIMS) === 0 &&",
  },
  {
    breaks: "the last claim leaves the state before it is counted",
    file: FILE,
    from: "(state - (1 << COUNT_SHIFT)) | MOVING | HAS_CLAIMS",
    to: "(state - (1 << COUNT_SHIFT)) | MOVING",
  },
  {
    breaks: "the unit of a claimer that dies on the way goes nowhere",
    file: FILE,
    from: "isBack ? (1 << COUNT_SHIFT) - MOVING : -MOVING",
    to: "-MOVING",
    by: "a thread dies while it claims",
  },
  {
    breaks: "the last one doesn't look whether anybody waits",
    file: FILE,
    from: "if (count === 0 && (state & WAITERS) !== 0)\n                    this.pump();",
    to: "",
  },
  {
    breaks: "who waits isn't announced",
    file: FILE,
    from: "node === 0 ? state & ~WAITERS : state | WAITERS",
    to: "state",
  },
  {
    breaks: "units are counted down without a compare-and-swap",
    file: FILE,
    from: "const seen = Atomics.compareExchange(this.words, this.cell + CELL_STATE, state, next);\n            if (seen === state) {\n                if (count === 0",
    to: "const seen = state;\n            Atomics.store(this.words, this.cell + CELL_STATE, next);\n            if (seen === state) {\n                if (count === 0",
  },
  {
    breaks: "a unit that is being claimed looks like one that is done",
    file: FILE,
    from: "(state - (1 << COUNT_SHIFT)) | MOVING | HAS_CLAIMS",
    to: "state - (1 << COUNT_SHIFT)",
  },
  {
    breaks: "a claim isn't counted",
    file: FILE,
    from: "Atomics.add(this.words, this.cell + CLAIMS, 1);",
    to: "",
  },
  {
    breaks: "the end of a claim isn't counted",
    file: FILE,
    from: "if (Atomics.sub(this.words, this.cell + CLAIMS, 1) > 1)\n            return;\n        Atomics.and(this.words, this.cell + CELL_STATE, ~HAS_CLAIMS);",
    to: "",
  },
  {
    breaks: "the claims of the dead stay",
    file: FILE,
    from: "if (claims === 0)\n            Atomics.and(this.words, this.cell + CELL_STATE, ~HAS_CLAIMS);",
    to: "",
  },
  {
    breaks: "a claim that was broken off between its two steps goes back",
    file: FILE,
    from: "if (isMoving)\n            this.settleClaimed(0, HELD);",
    to: "",
  },
];
