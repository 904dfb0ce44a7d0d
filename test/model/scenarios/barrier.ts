/** The barrier: all or none go on, and nobody waits for the dead or for who gave up. */
import * as assert from "uvu/assert";
import { BarrierCore } from "@millrace/atomics-sync/internal/locks/barrier";
import { block } from "@millrace/atomics-sync/internal/objects/block";
import { WAITING } from "@millrace/atomics-sync/internal/objects/node";
import { BARRIER } from "@millrace/atomics-sync/internal/objects/kinds";
import { join, type Mutant, scenario, type Scenario } from "../api.ts";
import { assertNodesFree, bury, cellOf, setUpSpace, type Shared, spaceOf } from "../fixtures/spaces.ts";

const PASSED = 1;
const PASSED_LAST = 2;
const IS_BROKEN = 3;
const GAVE_UP = 4;

function barrierOf(shared: Shared, thread: number): BarrierCore {
  return new BarrierCore(spaceOf(shared, thread), cellOf(shared));
}

function setUp(parties: number): Shared {
  const shared = setUpSpace([BARRIER], 2);
  barrierOf(shared, 0).setParties(parties);
  return shared;
}

function rounds(shared: Shared, thread: number, count: number, log: unknown[], timeoutMs = Infinity): void {
  const barrier = barrierOf(shared, thread);
  for (let round = 0; round < count; round += 1) {
    // One thread writes before it arrives; the others read the value afterwards.
    shared.words[thread] = round + 1;
    const node = barrier.arrive(0, thread);
    if (!block(spaceOf(shared, thread), barrier, node, timeoutMs)) {
      log.push(GAVE_UP);
      break;
    }
    const outcome = barrier.outcome(node);
    log.push(outcome);
    if (outcome === IS_BROKEN) break;
  }
  barrier.leave();
}

/**
 * Waits with the node by which the thread has arrived in `setUp`, as the owner of that chunk of
 * nodes.
 */
function awaitArrival(shared: Shared, thread: number, chunk: number): number {
  const barrier = barrierOf(shared, thread);
  const node = spaceOf(shared, thread).nodeAt(chunk, 1);
  block(spaceOf(shared, thread), barrier, node, Infinity);
  return barrier.outcome(node);
}

export const scenarios: Scenario[] = [
  scenario({
    name: "barrier: two threads, two rounds",
    setUp: () => setUp(2),
    threads: {
      one: (shared, log) => rounds(shared, 0, 2, log),
      two: (shared, log) => rounds(shared, 1, 2, log),
    },
    check(shared, { logs }) {
      const [one, two] = [logs["one"] as number[], logs["two"] as number[]];
      for (let round = 0; round < 2; round += 1) {
        const last = [one[round], two[round]].filter((outcome) => outcome === PASSED_LAST);
        assert.is(last.length, 1, "one of them came last");
      }
      assertNodesFree(shared);
      assert.ok(barrierOf(shared, 0).close());
    },
    bounds: { preemptions: 2 },
  }),
  scenario({
    name: "barrier: what is written before is read behind it",
    setUp: () => setUp(3),
    threads: {
      one(shared, log) {
        rounds(shared, 0, 1, log);
        assert.equal([shared.words[0], shared.words[1], shared.words[2]], [1, 1, 1]);
      },
      two: (shared, log) => rounds(shared, 1, 1, log),
      three: (shared, log) => rounds(shared, 2, 1, log),
    },
    check: assertNodesFree,
    bounds: { preemptions: 1 },
  }),
  scenario({
    name: "barrier: who gives up breaks it for the others, or comes too late",
    setUp: () => setUp(2),
    threads: {
      patient: (shared, log) => rounds(shared, 0, 1, log),
      impatient: (shared, log) => rounds(shared, 1, 1, log, 5),
    },
    check(shared, { logs }) {
      const [patient] = logs["patient"] as number[];
      const [impatient] = logs["impatient"] as number[];
      if (impatient === GAVE_UP) assert.is(patient, IS_BROKEN);
      else assert.ok(patient === PASSED || patient === PASSED_LAST);
      barrierOf(shared, 0).pump();
      assertNodesFree(shared);
    },
    bounds: { preemptions: 2, timeouts: 1 },
  }),
  scenario({
    name: "barrier: a member dies anywhere, and nobody waits for it",
    setUp() {
      const shared = setUp(2);
      // It has arrived: nodes 0 and 1 of its chunk are its membership and its arrival.
      barrierOf(shared, 0).arrive(0, 0);
      return shared;
    },
    threads: {
      victim(shared, log) {
        const barrier = barrierOf(shared, 0);
        const node = spaceOf(shared, 0).nodeAt(0, 1);
        block(spaceOf(shared, 0), barrier, node, Infinity);
        log.push(barrier.outcome(node));
      },
      other: (shared, log) => rounds(shared, 1, 1, log),
      parent(shared) {
        if (join("victim")) bury(shared, 3, 0);
      },
    },
    kill: ["victim"],
    check(shared, { logs, died }) {
      const [outcome] = logs["other"] as number[];
      if (died.length === 0) assert.equal([outcome, logs["victim"]], [PASSED_LAST, [PASSED]]);
      else assert.ok(outcome === PASSED_LAST || outcome === IS_BROKEN);
      // A reset makes the barrier whole, whatever was lost.
      const barriers = [barrierOf(shared, 1), barrierOf(shared, 2)] as const;
      barriers[0].reset();
      const nodes = [barriers[0].arrive(0, 1), barriers[1].arrive(0, 2)] as const;
      assert.equal([barriers[0].outcome(nodes[0]), barriers[1].outcome(nodes[1])], [PASSED, PASSED_LAST]);
    },
    bounds: { preemptions: 0 },
  }),
  scenario({
    name: "barrier: the one that comes last dies while it tells the others: all go on, or none",
    setUp() {
      const shared = setUp(3);
      // Two have arrived and taken chunks 0 and 1, whose first nodes are membership and arrival.
      barrierOf(shared, 1).arrive(0, 1);
      barrierOf(shared, 2).arrive(0, 2);
      return shared;
    },
    threads: {
      victim: (shared, log) => rounds(shared, 0, 1, log),
      one: (shared) => awaitArrival(shared, 1, 0),
      two: (shared) => awaitArrival(shared, 2, 1),
      parent(shared) {
        if (!join("victim")) return;
        bury(shared, 3, 0);
        // It may have died before it was a member: a reset says that nobody is to wait for it.
        barrierOf(shared, 3).reset();
      },
    },
    kill: ["victim"],
    check(_shared, { results, died }) {
      const hasPassed = [results["one"], results["two"]].map((outcome) => outcome !== IS_BROKEN);
      assert.is(hasPassed[0], hasPassed[1]);
      if (died.length === 0) assert.ok(hasPassed[0]);
    },
    bounds: { preemptions: 0 },
  }),
  scenario({
    name: "barrier: who gives up while a round is about to pass leaves the others awake",
    setUp() {
      const shared = setUp(2);
      // Both have arrived, and nobody has looked yet: nodes 0 and 1 of chunks 0 and 1.
      const one = barrierOf(shared, 0);
      one.arrive(0, 0);
      const two = barrierOf(shared, 1) as unknown as BarrierCore & { post(node: number, state: number): void };
      const space = spaceOf(shared, 1);
      const node = space.takeNode();
      (two as unknown as { fillNode(...given: number[]): void }).fillNode(node, 0, 0, 1);
      two.post(node, WAITING);
      return shared;
    },
    threads: {
      patient(shared, log) {
        const barrier = barrierOf(shared, 0);
        const node = spaceOf(shared, 0).nodeAt(0, 1);
        block(spaceOf(shared, 0), barrier, node, Infinity);
        log.push(barrier.outcome(node));
      },
      quitter(shared, log) {
        if (barrierOf(shared, 1).cancel(spaceOf(shared, 1).nodeAt(1, 0))) log.push(GAVE_UP);
      },
      passer: (shared) => barrierOf(shared, 2).pump(),
    },
    check(_shared, { logs }) {
      const isBroken = (logs["quitter"] as number[]).length > 0;
      assert.is((logs["patient"] as number[])[0] === IS_BROKEN, isBroken);
    },
    bounds: { preemptions: 2 },
  }),
];

const FILE = "atomics-sync/locks/barrier";

export const mutants: Mutant[] = [
  {
    breaks: "the first party stays claimed when a round doesn't pass",
    file: FILE,
    from: "for (let node = first; node !== end;",
    to: "for (let node = this.words[first + QUEUE_NEXT]; node !== 0 && node !== end;",
    by: "about to pass",
  },
  {
    breaks: "a reset doesn't forget the members that were lost",
    file: FILE,
    from: "this.words[this.cell + LOST_ASKS] = 0;",
    to: "",
    by: "a member dies",
  },
  {
    breaks: "a round that was begun to be told is forgotten after a death",
    file: FILE,
    from: "this.settleClaimed(0, GRANTED);",
    to: "",
  },
  {
    breaks: "the round isn't committed before it is told",
    file: FILE,
    from: "Atomics.store(this.words, this.cell + PASSING, 1);",
    to: "",
  },
  {
    breaks: "who gives up breaks nothing",
    file: FILE,
    from: "return -1;",
    to: "continue;",
  },
  {
    breaks: "the death of a member breaks nothing",
    file: FILE,
    from: "arrived < 0 || this.#hasLostMember()",
    to: "arrived < 0",
  },
  {
    breaks: "a round passes with one too few",
    file: FILE,
    from: "else if (arrived >= this.parties)",
    to: "else if (arrived >= this.parties - 1)",
  },
];
