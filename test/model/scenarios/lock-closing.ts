/** A lock that is closed beside its users: it is closed or had, never both. */
import * as assert from "uvu/assert";
import { Mutex, Semaphore, type SyncHandle, ThreadTable, WaitGroup } from "@millrace/atomics-sync";
import { SyncSpace } from "@millrace/atomics-sync/internal/objects/space";
import { type Mutant, scenario, type Scenario } from "../api.ts";
import { COUNT_LOOK, KIND_LOOK } from "../fixtures/races.ts";

interface Given<Lock> {
  readonly spaces: readonly SyncSpace[];
  /** Each thread's own object of the same lock, made before the threads start. */
  readonly locks: readonly Lock[];
}

function setUp<Lock extends { readonly handle: SyncHandle }>(
  make: (space: SyncSpace) => Lock,
  from: (handle: SyncHandle, space: SyncSpace) => Lock,
): Given<Lock> {
  const table = ThreadTable.allocate(2);
  const memory = SyncSpace.allocate({ cells: 1, chunks: 2, chunkNodes: 2 }, 1);
  const spaces = [0, 1].map((thread) => {
    const threads = new ThreadTable(table);
    threads.reserve();
    return new SyncSpace(memory, threads, thread, { spins: 0, mayBlock: true, now: () => 0 });
  });
  const lock = make(spaces[0] as SyncSpace);
  return { spaces, locks: [lock, from(lock.handle, spaces[1] as SyncSpace)] };
}

const mutex = (): Given<Mutex> =>
  setUp(
    (space) => new Mutex({}, space),
    (handle, space) => Mutex.from(handle, space),
  );
const semaphore = (): Given<Semaphore> =>
  setUp(
    (space) => new Semaphore(2, space),
    (handle, space) => Semaphore.from(handle, space),
  );
const waitGroup = (): Given<WaitGroup> =>
  setUp(
    (space) => new WaitGroup(space),
    (handle, space) => WaitGroup.from(handle, space),
  );

/** Whether this call closed the lock. */
function close({ locks }: Given<{ close(): void }>): boolean {
  return unlessOver(() => {
    (locks[0] as { close(): void }).close();
    return true;
  });
}

/** Runs `use` of an object; false when the object was closed, or is in use. */
function unlessOver(use: () => boolean): boolean {
  try {
    return use();
  } catch (thrown) {
    const { code } = thrown as { code?: string };
    if (code === "ERR_SYNC_CLOSED" || code === "ERR_SYNC_IN_USE") return false;
    throw thrown;
  }
}

function assertOneOfThem(_shared: unknown, { results }: { results: Readonly<Record<string, unknown>> }): void {
  assert.not.ok(results["closer"] === true && results["user"] === true, "closed while it was had");
}

export const scenarios: Scenario[] = [
  scenario<Given<Mutex>>({
    name: "closing: a mutex is closed or locked, not both",
    races: [KIND_LOOK],
    setUp: mutex,
    threads: {
      closer: close,
      user: ({ locks }) => unlessOver(() => (locks[1] as Mutex).tryLock() !== undefined),
    },
    check: assertOneOfThem,
    // A thread that finds the latch taken for long naps.
    timePasses: true,
    bounds: { preemptions: 3 },
  }),
  scenario<Given<Mutex>>({
    name: "closing: a mutex that is closed and one that blocks for it",
    races: [KIND_LOOK],
    setUp: mutex,
    threads: {
      closer: close,
      user: ({ locks }) =>
        unlessOver(() => {
          const hold = (locks[1] as Mutex).lock();
          hold.unlock();
          return false;
        }),
    },
    // A thread that finds the latch taken for long naps.
    timePasses: true,
    bounds: { preemptions: 2 },
  }),
  scenario<Given<WaitGroup>>({
    name: "closing: a wait group is closed or counts something, not both",
    races: [KIND_LOOK, COUNT_LOOK],
    setUp: waitGroup,
    threads: {
      closer: close,
      user: ({ locks }) =>
        unlessOver(() => {
          (locks[1] as WaitGroup).add(1);
          return true;
        }),
    },
    check: assertOneOfThem,
    // A thread that finds the latch taken for long naps.
    timePasses: true,
    bounds: { preemptions: 3 },
  }),
  scenario<Given<Semaphore>>({
    name: "closing: a semaphore is closed or had, not both",
    races: [KIND_LOOK],
    setUp: semaphore,
    threads: {
      closer: close,
      user: ({ locks }) => unlessOver(() => (locks[1] as Semaphore).tryAcquire(2) !== undefined),
    },
    check: assertOneOfThem,
    // A thread that finds the latch taken for long naps.
    timePasses: true,
    bounds: { preemptions: 2 },
  }),
  scenario<Given<Semaphore>>({
    name: "closing: a view of a semaphore that is made in the midst of it is one of the old or none",
    races: [KIND_LOOK],
    setUp: semaphore,
    threads: {
      closer: close,
      user: ({ spaces, locks }) =>
        unlessOver(() => Semaphore.from((locks[1] as Semaphore).handle, spaces[1]).tryAcquire() !== undefined),
    },
    check: assertOneOfThem,
    // A thread that finds the latch taken for long naps.
    timePasses: true,
    bounds: { preemptions: 2 },
  }),
];

const permits = "atomics-sync/locks/permits";

export const mutants: Mutant[] = [
  {
    breaks: "a late user reads the permits beside the thread that zeroes them",
    by: "a semaphore is closed or had",
    file: permits,
    from: "get permits() {\n        return this.#permits;",
    to: "get permits() {\n        return this.words[this.cell + PERMITS];",
  },
  {
    breaks: "a view that was made in the midst of a close finds too few permits",
    by: "a view of a semaphore",
    file: "atomics-sync/locks/semaphore",
    from: "if (this.#core.permits === 0)\n            throw wasClosed(this.handle);",
    to: "",
  },
];
