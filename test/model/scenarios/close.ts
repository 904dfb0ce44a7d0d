/**
 * `close()` beside use: one of them has its way, nobody notices a close that fails, and the next
 * object in the place is left alone.
 */
import * as assert from "uvu/assert";
import { isMillraceError } from "@millrace/base";
import { BarrierCore } from "@millrace/atomics-sync/internal/locks/barrier";
import { CondCore } from "@millrace/atomics-sync/internal/locks/cond";
import { MutexCore, OWNED, OWNED_RECOVERED } from "@millrace/atomics-sync/internal/locks/mutex-core";
import { PermitsCore } from "@millrace/atomics-sync/internal/locks/permits";
import { WaitGroupCore } from "@millrace/atomics-sync/internal/locks/wait-group";
import { block } from "@millrace/atomics-sync/internal/objects/block";
import { BARRIER, COND, MUTEX, PERMITS, WAIT_GROUP } from "@millrace/atomics-sync/internal/objects/kinds";
import { HELD, NODE_STATE } from "@millrace/atomics-sync/internal/objects/node";
import { join, type Mutant, pause, scenario, type Scenario } from "../api.ts";
import { bury, cellOf, setUpSpace, type Shared, spaceOf } from "../fixtures/spaces.ts";
import { COUNT_LOOK } from "../fixtures/races.ts";

/** Runs a use; "refused" where it finds the object closed. */
function attempt(use: () => string): string {
  try {
    return use();
  } catch (thrown) {
    if (!isMillraceError(thrown, "ERR_SYNC_CLOSED")) throw thrown;
    return "refused";
  }
}

/**
 * The data that the holder of an object changes; the race check tells whether two threads could.
 */
function touch({ words }: Shared): void {
  words[0] = (words[0] as number) + 1;
}

function useMutex(shared: Shared, thread: number): string {
  const mutex = new MutexCore(spaceOf(shared, thread), cellOf(shared));
  const outcome = mutex.lock(Infinity);
  if (outcome !== OWNED && outcome !== OWNED_RECOVERED) return `outcome ${outcome}`;
  touch(shared);
  assert.ok(mutex.unlock());
  return "used";
}

function tryMutex(shared: Shared, thread: number): string {
  const mutex = new MutexCore(spaceOf(shared, thread), cellOf(shared));
  if (mutex.tryLock() !== OWNED) return "taken";
  touch(shared);
  assert.ok(mutex.unlock(), "nobody has taken it away");
  return "used";
}

function usePermits(shared: Shared, thread: number): string {
  const core = new PermitsCore(spaceOf(shared, thread), cellOf(shared));
  const node = core.take(1, 0, thread);
  block(spaceOf(shared, thread), core, node, Infinity);
  const { words } = spaceOf(shared, thread);
  assert.is(Atomics.load(words, node + NODE_STATE), HELD);
  touch(shared);
  core.release(node);
  return "used";
}

function useGroup(shared: Shared, thread: number): string {
  const group = new WaitGroupCore(spaceOf(shared, thread), cellOf(shared));
  if (!group.add(1)) return "refused";
  touch(shared);
  assert.ok(group.add(-1), "nobody has closed it");
  return "used";
}

function useCond(shared: Shared, thread: number): string {
  const cond = new CondCore(spaceOf(shared, thread), cellOf(shared));
  const node = cond.register(0, thread);
  cond.signal();
  block(spaceOf(shared, thread), cond, node, Infinity);
  cond.leave(node, true);
  return "used";
}

function useBarrier(shared: Shared, thread: number): string {
  const barrier = new BarrierCore(spaceOf(shared, thread), cellOf(shared));
  const node = barrier.arrive(0, thread);
  block(spaceOf(shared, thread), barrier, node, Infinity);
  barrier.outcome(node);
  barrier.leave();
  return "used";
}

interface Kind {
  readonly name: string;
  readonly kind: number;
  readonly use: (shared: Shared, thread: number) => string;
  readonly close: (shared: Shared, thread: number) => boolean;
  readonly setUp?: (shared: Shared) => void;
}

const closeMutex = (shared: Shared, thread: number): boolean =>
  new MutexCore(spaceOf(shared, thread), cellOf(shared)).close();

const kinds: readonly Kind[] = [
  { name: "a mutex", kind: MUTEX, close: closeMutex, use: useMutex },
  { name: "a mutex that is tried", kind: MUTEX, close: closeMutex, use: tryMutex },
  {
    name: "permits",
    kind: PERMITS,
    close: (shared, thread) => new PermitsCore(spaceOf(shared, thread), cellOf(shared)).close(),
    use: usePermits,
    setUp: (shared) => new PermitsCore(spaceOf(shared, 0), cellOf(shared)).setPermits(1),
  },
  {
    name: "a wait group",
    kind: WAIT_GROUP,
    close: (shared, thread) => new WaitGroupCore(spaceOf(shared, thread), cellOf(shared)).close(),
    use: useGroup,
  },
  {
    name: "a condition",
    kind: COND,
    close: (shared, thread) => new CondCore(spaceOf(shared, thread), cellOf(shared)).close(),
    use: useCond,
  },
  {
    name: "a barrier",
    kind: BARRIER,
    close: (shared, thread) => new BarrierCore(spaceOf(shared, thread), cellOf(shared)).close(),
    use: useBarrier,
    setUp: (shared) => new BarrierCore(spaceOf(shared, 0), cellOf(shared)).setParties(1),
  },
];

/** A user, and a thread that closes the object once. */
function beside({ name, kind, close, use, setUp }: Kind): Scenario {
  return scenario({
    name: `close: ${name} beside one that closes it`,
    setUp() {
      const shared = setUpSpace([kind], 2);
      setUp?.(shared);
      return shared;
    },
    threads: {
      user: (shared) => attempt(() => use(shared, 0)),
      closer: (shared) => close(shared, 1),
    },
    check(_shared, { results }) {
      if (results["closer"] === false) assert.is.not(results["user"], "refused", "it stays open");
    },
    // A wait group's user waits for the decision, which it can't do here: it may be refused.
    bounds: { preemptions: kind === WAIT_GROUP ? 1 : 2 },
    races: kind === WAIT_GROUP ? [COUNT_LOOK] : [],
  });
}

export const scenarios: Scenario[] = [
  ...kinds.map(beside),
  scenario({
    name: "close: a mutex that stays in use turns nobody away",

    setUp: () => setUpSpace([MUTEX], 2),
    threads: {
      one: (shared) => attempt(() => useMutex(shared, 0)),
      two: (shared) => attempt(() => useMutex(shared, 1)),
      closer: (shared) => closeMutex(shared, 2),
    },
    check(_shared, { results }) {
      if (results["closer"] === false) assert.equal([results["one"], results["two"]], ["used", "used"]);
    },
    bounds: { preemptions: 1 },
    deep: { preemptions: 2 },
  }),
  scenario({
    name: "close: a late user of a mutex keeps out of the next one in its place",
    setUp() {
      const shared = setUpSpace([MUTEX], 2);
      // A user from before.
      return { ...shared, late: new MutexCore(spaceOf(shared, 0), cellOf(shared)) };
    },
    threads: {
      late(shared) {
        attempt(() => {
          if (shared.late.lock(Infinity) !== OWNED) return "taken";
          touch(shared);
          assert.ok(shared.late.unlock());
          return "used";
        });
      },
      closer(shared) {
        const space = spaceOf(shared, 1);
        if (!closeMutex(shared, 1)) return;
        assert.is(space.takeCell(MUTEX), cellOf(shared));
        const next = new MutexCore(space, cellOf(shared));
        assert.is(next.tryLock(), OWNED);
        touch(shared);
        assert.ok(next.unlock(), "it has it alone");
        assert.ok(next.close(), "nobody else waits for it");
      },
    },
    bounds: { preemptions: 2 },
  }),
  scenario({
    name: "close: the next object in the place is whole",
    setUp: () => setUpSpace([MUTEX], 2),
    threads: {
      closer: (shared) => closeMutex(shared, 0),
      taker(shared) {
        const space = spaceOf(shared, 1);
        for (let turn = 0; turn < 2; turn += 1) {
          try {
            const cell = space.takeCell(PERMITS);
            new PermitsCore(space, cell).setPermits(1);
            return true;
          } catch (thrown) {
            assert.ok(isMillraceError(thrown, "ERR_SYNC_SPACE_FULL"));
            pause();
          }
        }
        return false;
      },
    },
    check(shared, { results }) {
      if (results["taker"] !== true) return;
      const core = new PermitsCore(spaceOf(shared, 2), cellOf(shared));
      assert.is(core.permits, 1);
      assert.is.not(core.tryTake(1, 0), 0, "a permit is to be had");
    },
    bounds: { preemptions: 2 },
  }),
  scenario({
    name: "close: the one that closes dies anywhere, and the place is free or the mutex is whole",

    setUp: () => setUpSpace([MUTEX], 2),
    threads: {
      mortal: (shared) => closeMutex(shared, 0),
      user: (shared) => attempt(() => useMutex(shared, 1)),
      parent(shared) {
        if (join("mortal")) bury(shared, 2, 0);
      },
    },
    kill: ["mortal"],
    check(shared, { results }) {
      const space = spaceOf(shared, 3);
      if (space.kindOf(cellOf(shared)) === 0) assert.is(space.takeCell(MUTEX), cellOf(shared));
      else assert.is(results["user"], "used");
      assert.is(new MutexCore(space, cellOf(shared)).tryLock() > 0, true);
      assert.ok(new MutexCore(space, cellOf(shared)).unlock());
      assert.ok(closeMutex(shared, 3));
    },
    bounds: { preemptions: 1 },
  }),
];

const MONITOR = "atomics-sync/objects/monitor";
const SPACE = "atomics-sync/objects/space";

export const mutants: Mutant[] = [
  {
    breaks: "an object is closed without a second look at its inbox",
    file: MONITOR,
    from: "const seen = Atomics.compareExchange(this.words, this.cell + INBOX, this.#tag, nextTag(this.#tag));",
    to: "const seen = this.#tag;\n            Atomics.store(this.words, this.cell + INBOX, nextTag(this.#tag));",
  },
  {
    breaks: "an object is closed while a party holds it",
    file: MONITOR,
    from: "if (this.oldest() === 0 && this.shut()) {",
    to: "if (this.oldest() === 0) {",
  },
  {
    breaks: "a close that fails leaves the object shut",
    file: MONITOR,
    from: "this.reopen();\n        }\n        this.unlatch();",
    to: "}\n        this.unlatch();",
  },
  {
    breaks: "a cell is free before it is cleared",
    file: SPACE,
    from: "for (let word = CELL_STATE + 1; word < CELL_WORDS; word += 1)",
    to: "Atomics.store(this.words, cell + CELL_KIND, kind & ~KIND_MASK);\n        for (let word = CELL_STATE + 1; word < CELL_WORDS; word += 1)",
  },
  {
    breaks: "a mutex is free in the same way as the one before it",
    file: SPACE,
    from: "isOwned(kind & KIND_MASK) ? ownedTag(kind) : 0",
    to: "isOwned(kind & KIND_MASK) ? ownedTag(kind - 256) : 0",
    by: "close: a late user",
  },
  {
    breaks: "a party posts into whatever object there is",
    file: MONITOR,
    from: "while ((top & TAG_MASK) === this.#tag) {",
    to: "while (true) {",
  },
  {
    breaks: "a thread that died while it was closing is taken for a user",
    file: MONITOR,
    from: "if ((Atomics.load(this.words, this.cell + INBOX) & TAG_MASK) !== this.#tag) {",
    to: "if (false) {",
  },
];
