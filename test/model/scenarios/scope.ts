/**
 * Scopes, what contexts stand on: their end in all threads, places that are used again, and deaths
 * at any step.
 */
import * as assert from "uvu/assert";
import { ThreadTable } from "@millrace/atomics-sync";
import { block } from "@millrace/atomics-sync/internal/objects/block";
import { finishBurial, mournEverywhere } from "@millrace/atomics-sync/internal/objects/burial";
import { FREE, NODE_STATE } from "@millrace/atomics-sync/internal/objects/node";
import {
  makeScope,
  SCOPE_CANCELLED,
  SCOPE_CLOSED,
  SCOPE_MAKER_DIED,
  SCOPE_OVERDUE,
  ScopeCore,
} from "@millrace/atomics-sync/internal/objects/scope";
import { CELL_WORDS } from "@millrace/atomics-sync/internal/objects/cell";
import { SyncSpace } from "@millrace/atomics-sync/internal/objects/space";
import { isMillraceError } from "@millrace/base";
import { join, type Mutant, pause, scenario, type Scenario } from "../api.ts";

const THREADS = 4;
const NODES = 2;
/** As in scope.ts. */
const GENERATION_SHIFT = 8;
const VIEW = { spins: 0, napsMax: 0, mayBlock: true, now: (): number => 0 };

interface Shared {
  /** Each thread's own view; made before the threads start, because it reads its shape. */
  readonly spaces: readonly SyncSpace[];
  /** The scope that everything is about, made by `maker`, and one below it. */
  readonly top: Named;
  readonly child: Named;
}

/** A scope as its handle names it. */
interface Named {
  readonly place: number;
  readonly live: number;
}

const NOBODY: Named = { place: 0, live: 0 };

/** `scopes` places, their generations just below the wrap; `top` is of thread 0. */
function setUp(scopes: number): Shared {
  const table = ThreadTable.allocate(THREADS);
  const memory = SyncSpace.allocate({ cells: 1, chunks: THREADS, chunkNodes: NODES, scopes }, 1);
  const spaces: SyncSpace[] = [];
  for (let thread = 0; thread < THREADS; thread += 1) {
    const threads = new ThreadTable(table);
    threads.reserve();
    spaces.push(new SyncSpace(memory, threads, thread, VIEW));
  }
  const first = spaces[0] as SyncSpace;
  for (let index = 0; index < scopes; index += 1) {
    first.words[first.scopeAt(index) + CELL_WORDS] = (0xfffffe << GENERATION_SHIFT) | SCOPE_CLOSED;
  }
  const top = makeScope(first, undefined, Infinity);
  return { spaces, top: nameOf(top), child: NOBODY };
}

/** As `setUp`, with a scope of thread 1 below. */
function setUpFamily(): Shared {
  const shared = setUp(2);
  return { ...shared, child: nameOf(makeScope(spaceOf(shared, 1), scopeOf(shared, 1, shared.top), Infinity)) };
}

function nameOf(scope: ScopeCore): Named {
  return { place: scope.place, live: scope.live };
}

function spaceOf({ spaces }: Pick<Shared, "spaces">, thread: number): SyncSpace {
  return spaces[thread] as SyncSpace;
}

function scopeOf(shared: Shared, thread: number, { place, live }: Named): ScopeCore {
  return new ScopeCore(spaceOf(shared, thread), place, live);
}

/** A scope's `live`, or the code of what was thrown. */
function tryMake(shared: Shared, thread: number, parent?: ScopeCore): number | string {
  try {
    const scope = makeScope(spaceOf(shared, thread), parent, Infinity);
    assert.not(scope.isOver());
    return scope.live;
  } catch (thrown) {
    if (!isMillraceError(thrown)) throw thrown;
    return thrown.code;
  }
}

/** The code of `tryMake` while another thread is about to give the only place back. */
const NO_PLACE = "ERR_SYNC_SPACE_FULL";

/** The next scope in its place. */
function nextOf({ place, live }: Named): Named {
  return { place, live: (live + (1 << GENERATION_SHIFT)) | 0 };
}

/** Blocks until the scope is over, and returns why it is. */
function outcomeOf(shared: Shared, thread: number, named: Named): number {
  const space = spaceOf(shared, thread);
  const scope = scopeOf(shared, thread, named);
  const node = scope.watch(0, space.thread);
  if (node !== 0) {
    block(space, scope, node, Infinity);
    scope.unwatch(node);
  }
  assert.ok(scope.isOver());
  return scope.outcome();
}

function bury(shared: Shared, parent: number, dead: number): void {
  const space = spaceOf(shared, parent);
  space.threads.markDead(dead);
  while (!mournEverywhere(space, dead)) pause();
  finishBurial(space, dead);
}

/** Nobody waits, and `taken` places are in use. */
function assertQuiet(shared: Shared, taken: number): void {
  const space = spaceOf(shared, 0);
  for (let chunk = 0; chunk < THREADS; chunk += 1) {
    for (let index = 0; index < NODES; index += 1) {
      assert.is(space.words[space.nodeAt(chunk, index) + NODE_STATE], FREE, "every node was given back");
    }
  }
  let found = 0;
  for (let index = 0; index < space.scopes; index += 1) {
    if (space.words[space.scopeAt(index) + CELL_WORDS + 1] !== 0) found += 1;
  }
  assert.is(found, taken, "places in use");
}

export const scenarios: Scenario[] = [
  scenario({
    name: "scope: of two that end it one is the first, and whoever waits is woken",
    setUp: () => setUp(1),
    threads: {
      one: (shared) => scopeOf(shared, 0, shared.top).end(SCOPE_CANCELLED),
      two: (shared) => scopeOf(shared, 1, shared.top).end(SCOPE_OVERDUE),
      waiter: (shared) => outcomeOf(shared, 2, shared.top),
    },
    check(shared, { results }) {
      assert.is(Number(results["one"]) + Number(results["two"]), 1);
      assert.is(results["waiter"], results["one"] === true ? SCOPE_CANCELLED : SCOPE_OVERDUE);
      assertQuiet(shared, 1);
    },
    bounds: { preemptions: 2 },
  }),
  scenario({
    name: "scope: a reason is seen whole or not at all, and by all the same",
    setUp: () => setUp(1),
    threads: {
      one(shared) {
        const scope = scopeOf(shared, 0, shared.top);
        const isFirst = scope.end(SCOPE_CANCELLED, Int32Array.of(7, 8));
        assert.ok(scope.isOver());
        return isFirst;
      },
      two(shared) {
        const scope = scopeOf(shared, 1, shared.top);
        const isFirst = scope.end(SCOPE_OVERDUE);
        assert.ok(scope.isOver());
        return isFirst;
      },
      watcher(shared, log) {
        const scope = scopeOf(shared, 2, shared.top);
        for (let look = 0; look < 2; look += 1) {
          const isOver = scope.isOver();
          log.push(isOver ? scope.outcome() : 0, isOver ? String(scope.reason()) : "none yet");
        }
      },
    },
    check(_shared, { results, logs }) {
      assert.is(Number(results["one"]) + Number(results["two"]), 1);
      const expected = results["one"] === true ? [SCOPE_CANCELLED, "7,8"] : [SCOPE_OVERDUE, "undefined"];
      const [first, , second] = logs["watcher"] as [number, string, number, string];
      if (first !== 0) assert.equal(logs["watcher"]?.slice(0, 2), expected);
      if (second !== 0) assert.equal(logs["watcher"]?.slice(2), expected);
    },
    bounds: { preemptions: 3 },
  }),
  scenario({
    name: "scope: one that is made while the one above ends is over, with the same reason",
    setUp: () => setUp(2),
    threads: {
      canceller: (shared) => scopeOf(shared, 0, shared.top).end(SCOPE_CANCELLED, Int32Array.of(7)),
      maker(shared) {
        const child = makeScope(spaceOf(shared, 1), scopeOf(shared, 1, shared.top), Infinity);
        const outcome = outcomeOf(shared, 1, nameOf(child));
        assert.equal(child.reason(), Int32Array.of(7));
        child.release();
        return outcome;
      },
    },
    check(shared, { results }) {
      assert.is(results["maker"], SCOPE_CANCELLED);
      assertQuiet(shared, 1);
    },
    bounds: { preemptions: 3 },
  }),
  scenario({
    name: "scope: one below is closed while the one above ends, and leaves nothing behind",
    setUp: () => setUp(2),
    threads: {
      canceller: (shared) => scopeOf(shared, 0, shared.top).end(SCOPE_CANCELLED),
      maker(shared) {
        const child = makeScope(spaceOf(shared, 1), scopeOf(shared, 1, shared.top), Infinity);
        child.release();
      },
    },
    check: (shared) => assertQuiet(shared, 1),
    bounds: { preemptions: 3 },
  }),
  scenario({
    name: "scope: those that are closed below one that stays leave nothing behind",
    setUp: () => setUp(2),
    threads: {
      maker(shared) {
        for (let round = 0; round < 3; round += 1) {
          makeScope(spaceOf(shared, 1), scopeOf(shared, 1, shared.top), Infinity).release();
        }
      },
    },
    check: (shared) => assertQuiet(shared, 1),
  }),
  scenario({
    name: "scope: one below that no node is left for is not made",
    setUp: () => setUp(2),
    threads: {
      maker(shared) {
        const space = spaceOf(shared, 1);
        const top = scopeOf(shared, 1, shared.top);
        const nodes: number[] = [];
        for (let left = THREADS * NODES; left > 0; left -= 1) nodes.push(space.takeNode());
        for (let round = 0; round < 3; round += 1) assert.is(tryMake(shared, 1, top), "ERR_WAITERS_EXHAUSTED");
        for (const node of nodes) space.giveNode(node);
        makeScope(space, top, Infinity).release();
      },
    },
    check: (shared) => assertQuiet(shared, 1),
  }),
  scenario({
    name: "scope: who waits for the end of one below is woken by the end of the one above",
    setUp: setUpFamily,
    threads: {
      canceller: (shared) => scopeOf(shared, 0, shared.top).end(SCOPE_CANCELLED, Int32Array.of(7)),
      waiter(shared) {
        const outcome = outcomeOf(shared, 2, shared.child);
        assert.equal(scopeOf(shared, 2, shared.child).reason(), Int32Array.of(7));
        return outcome;
      },
    },
    check(_shared, { results }) {
      assert.is(results["waiter"], SCOPE_CANCELLED);
    },
    bounds: { preemptions: 3 },
  }),
  scenario({
    name: "scope: a place that is used again keeps nobody of those that waited for the last one, and wakes nobody of the next",
    setUp: () => setUp(1),
    threads: {
      maker(shared) {
        scopeOf(shared, 0, shared.top).release();
        return tryMake(shared, 0);
      },
      waiter: (shared) => outcomeOf(shared, 1, shared.top),
      late(shared) {
        scopeOf(shared, 2, shared.top).end(SCOPE_CANCELLED);
        return outcomeOf(shared, 2, shared.top);
      },
    },
    check(shared, { results }) {
      for (const thread of ["waiter", "late"]) {
        assert.ok(results[thread] === SCOPE_CLOSED || results[thread] === SCOPE_CANCELLED);
      }
      const live = results["maker"] as number | string;
      if (typeof live === "number") assert.not(scopeOf(shared, 0, { place: shared.top.place, live }).isOver());
      else assert.is(live, NO_PLACE);
      assertQuiet(shared, live === NO_PLACE ? 0 : 1);
    },
    bounds: { preemptions: 2 },
  }),
  scenario({
    name: "scope: a place is given away while somebody looks after it and another one begins to wait",
    setUp: () => setUp(1),
    threads: {
      pumper: (shared) => scopeOf(shared, 2, shared.top).pump(),
      waiter: (shared) => outcomeOf(shared, 1, shared.top),
      maker(shared) {
        scopeOf(shared, 0, shared.top).release();
        // The pumper may have to give the place back first.
        pause();
        return tryMake(shared, 0);
      },
    },
    check(shared, { results }) {
      assert.is(results["waiter"], SCOPE_CLOSED);
      assertQuiet(shared, results["maker"] === NO_PLACE ? 0 : 1);
    },
    bounds: { preemptions: 2 },
  }),
  scenario({
    name: "scope: who looks after a place too late gives the next scope there away only when its waiters were served",
    setUp() {
      const shared = setUp(1);
      scopeOf(shared, 0, shared.top).release();
      return shared;
    },
    threads: {
      late: (shared) => scopeOf(shared, 2, shared.top).pump(),
      waiter(shared) {
        const next = nextOf(shared.top);
        for (let look = 0; look < 2; look += 1) {
          // Nobody hears of it before it is made.
          if (Atomics.load(spaceOf(shared, 1).words, next.place + CELL_WORDS) === next.live) {
            return outcomeOf(shared, 1, next);
          }
          pause();
        }
        return 0;
      },
      maker(shared) {
        const next = makeScope(spaceOf(shared, 0), undefined, Infinity);
        pause();
        next.release();
        pause();
        return tryMake(shared, 0);
      },
    },
    check(shared, { results }) {
      assert.ok(
        results["waiter"] === SCOPE_CLOSED || results["waiter"] === 0,
        "nobody is told of the end of another scope",
      );
      assertQuiet(shared, results["maker"] === NO_PLACE ? 0 : 1);
    },
    bounds: { preemptions: 2 },
  }),
  scenario({
    name: "scope: who makes one below another dies anywhere, and both are over and given back",
    setUp: () => setUp(2),
    threads: {
      victim(shared) {
        const space = spaceOf(shared, 0);
        const child = makeScope(space, scopeOf(shared, 0, shared.top), Infinity);
        child.release();
        scopeOf(shared, 0, shared.top).release();
      },
      parent(shared) {
        if (join("victim")) bury(shared, 3, 0);
      },
    },
    kill: ["victim"],
    check(shared, { died }) {
      const outcome = scopeOf(shared, 1, shared.top).outcome();
      assert.ok(outcome === SCOPE_CLOSED || (outcome === SCOPE_MAKER_DIED && died.length === 1));
      assertQuiet(shared, 0);
    },
  }),
  scenario({
    name: "scope: the maker dies anywhere while another thread waits for the end",
    setUp: () => setUp(1),
    threads: {
      victim: (shared) => scopeOf(shared, 0, shared.top).release(),
      waiter: (shared) => outcomeOf(shared, 1, shared.top),
      parent(shared) {
        if (join("victim")) bury(shared, 3, 0);
      },
    },
    kill: ["victim"],
    check(shared, { results }) {
      assert.ok(results["waiter"] === SCOPE_CLOSED || results["waiter"] === SCOPE_MAKER_DIED);
      assertQuiet(shared, 0);
    },
    bounds: { preemptions: 1 },
  }),
  scenario({
    name: "scope: who ends one dies on the way to those below, and they end all the same",
    setUp: setUpFamily,
    threads: {
      victim: (shared) => scopeOf(shared, 3, shared.top).end(SCOPE_CANCELLED, Int32Array.of(7)),
      waiter: (shared) => outcomeOf(shared, 2, shared.child),
      parent(shared) {
        if (!join("victim")) return;
        bury(shared, 0, 3);
        // It may have died before it did anything.
        scopeOf(shared, 0, shared.top).end(SCOPE_OVERDUE);
      },
    },
    kill: ["victim"],
    check(shared, { results }) {
      const top = scopeOf(shared, 0, shared.top);
      assert.is(results["waiter"], top.outcome());
      // The reason of one below is lost when the victim was just writing it.
      const reason = scopeOf(shared, 0, shared.child).reason();
      if (reason !== undefined) assert.equal(reason, top.reason());
    },
    bounds: { preemptions: 0 },
    deep: { preemptions: 1 },
  }),
];

const FILE = "atomics-sync/objects/scope";

export const mutants: Mutant[] = [
  {
    breaks: "a scope is ended without a compare-and-swap",
    by: "of two that end it",
    file: FILE,
    from: "if (Atomics.compareExchange(this.words, state, this.live, next) !== this.live)\n            return false;",
    to: "if (Atomics.load(this.words, state) !== this.live)\n            return false;\n        Atomics.store(this.words, state, next);",
  },
  {
    breaks: "who waits is not looked after",
    by: "of two that end it",
    file: FILE,
    from: "if (!this.#end(code, reason) && !this.#takeOver(code))\n            return false;\n        this.pump();",
    to: "if (!this.#end(code, reason) && !this.#takeOver(code))\n            return false;",
  },
  {
    breaks: "a node that was posted too late is waited for",
    by: "is used again",
    file: FILE,
    from: "if (!this.isOver())\n            return node;",
    to: "if (node !== 0)\n            return node;",
  },
  {
    breaks: "the place is given away before the inbox was looked at",
    by: "is given away while",
    file: FILE,
    from: "this.settleInbox();",
    to: "",
  },
  {
    breaks: "the next scope in the place is given away for the last one",
    by: "too late",
    file: FILE,
    from: "if (isClosing && Atomics.load(this.words, this.cell + STATE) === state) {",
    to: "if (isClosing) {",
  },
  {
    breaks: "who waits for the next scope in the place is told that it is over, like the last one",
    by: "too late",
    file: FILE,
    from: "if (seen === state)",
    to: "if (seen !== 0)",
  },
  {
    breaks: "the reason is published although the scope was taken over",
    by: "a reason is seen whole",
    file: FILE,
    from: "return Atomics.compareExchange(this.words, state, this.#claimed, over) === this.#claimed;",
    to: "Atomics.store(this.words, state, over);\n        return true;",
  },
  {
    breaks: "a scope that somebody is writing a reason for counts as over",
    by: "who ends one dies",
    file: FILE,
    from: "if (state === this.live || state === this.#claimed)\n            return 0;",
    to: "if (state === this.live)\n            return 0;",
  },
  {
    breaks: "the scopes below are ended, and who waits for them isn't woken",
    by: "made while the one above ends",
    file: FILE,
    from: "if (next.tryLatch())\n                next.unlatch();",
    to: "",
  },
  {
    breaks: "the scopes below are not ended",
    by: "made while the one above ends",
    file: FILE,
    from: "if (child.#end(self.outcome(), self.reason()))\n            this.#ended.push(child);",
    to: "this.#ended.push(child);",
  },
  {
    breaks: "one that is made below one that is over stays live",
    by: "made while the one above ends",
    file: FILE,
    from: "if (this.#link === 0)\n            this.#follow(parent);",
    to: "",
  },
  {
    breaks: "a scope that no node was left for keeps its place",
    by: "no node is left",
    file: FILE,
    from: "this.release();\n            throw thrown;",
    to: "throw thrown;",
  },
  {
    breaks: "a scope that is closed stays in the queue of the one above",
    by: "made while the one above ends",
    file: FILE,
    from: "if (this.#link !== 0)\n            this.#parent?.unwatch(this.#link);",
    to: "",
  },
  {
    breaks: "a live scope doesn't let go of those below that were closed",
    by: "below one that stays",
    file: FILE,
    from: "this.oldest();\n                return;",
    to: "return;",
  },
  {
    breaks: "the scopes of a dead thread live on",
    by: "who makes one below",
    file: FILE,
    from: "this.end(SCOPE_MAKER_DIED);",
    to: "",
  },
  {
    breaks: "the place of a dead thread's scope is not given back",
    by: "who makes one below",
    file: FILE,
    from: "this.end(SCOPE_MAKER_DIED);\n            this.#leave();",
    to: "this.end(SCOPE_MAKER_DIED);",
  },
  {
    breaks: "a claim of a dead thread is left standing",
    by: "who ends one dies",
    file: FILE,
    from: "this.#takeOver(SCOPE_CANCELLED);",
    to: ";",
  },
  {
    breaks: "a scope below leaves the queue before it is ended",
    by: "who ends one dies",
    file: FILE,
    from: "this.#endChild(node, phaseOf(state, LIVE));\n            this.settleOldest(node, WAITING, GRANTED);",
    to: "{\n                this.settleOldest(node, WAITING, GRANTED);\n                this.#endChild(node, phaseOf(state, LIVE));\n            }\n            else\n                this.settleOldest(node, WAITING, GRANTED);",
  },
  {
    breaks: "what a dead canceller has not come to stays undone",
    by: "who ends one dies",
    file: FILE,
    from: "this.pump();\n        return true;\n    }\n}",
    to: "return true;\n    }\n}",
  },
];
