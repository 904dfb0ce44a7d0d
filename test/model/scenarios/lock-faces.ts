/**
 * Semaphore, RWMutex and Once as users see them, in their blocking and their asynchronous forms,
 * and deaths of who holds one.
 */
import { setEnvironmentData } from "node:worker_threads";
import * as assert from "uvu/assert";
import { Once, RWMutex, Semaphore, type SyncHandle, ThreadTable } from "@millrace/atomics-sync";
import { finishBurial, mournEverywhere } from "@millrace/atomics-sync/internal/objects/burial";
import { SyncSpace } from "@millrace/atomics-sync/internal/objects/space";
import { join, type Mutant, pause, scenario, type Scenario } from "../api.ts";

const THREADS = 3;
/** And as many again for the event loops. */
const NUMBERS = 2 * THREADS;

interface Shared {
  readonly spaces: readonly SyncSpace[];
  readonly handle: SyncHandle;
  /** [0] atomic: who is inside; [1] plain: what a writer changes. */
  readonly words: Int32Array;
}

/** An object, and a view of its space for each thread. */
function setUp(make: (space: SyncSpace) => { readonly handle: SyncHandle }): Shared {
  const table = ThreadTable.allocate(NUMBERS);
  // The reactor of each thread takes its number there.
  setEnvironmentData("millrace.threads", table);
  const memory = SyncSpace.allocate({ cells: 1, chunks: THREADS, chunkNodes: 2 }, 1);
  const spaces: SyncSpace[] = [];
  for (let thread = 0; thread < THREADS; thread += 1) {
    const threads = new ThreadTable(table);
    threads.reserve();
    spaces.push(new SyncSpace(memory, threads, thread, { spins: 0, napsMax: 0, mayBlock: true, now: () => 0 }));
  }
  const { handle } = make(spaces[0] as SyncSpace);
  return { spaces, handle, words: new Int32Array(new SharedArrayBuffer(8)) };
}

const spaceOf = ({ spaces }: Shared, thread: number): SyncSpace => spaces[thread] as SyncSpace;
const semaphoreOf = (shared: Shared, thread: number): Semaphore =>
  Semaphore.from(shared.handle, spaceOf(shared, thread));
const rwMutexOf = (shared: Shared, thread: number): RWMutex => RWMutex.from(shared.handle, spaceOf(shared, thread));
const onceOf = (shared: Shared, thread: number): Once => Once.from(shared.handle, spaceOf(shared, thread));

/** Only one writer at a time does this; the race check watches. */
function write({ words }: Shared): void {
  words[1] = (words[1] as number) + 1;
}

function read({ words }: Shared): number {
  return words[1] as number;
}

/** As whoever has started the thread does it, and also under the number of its event loop. */
function bury(shared: Shared, by: number, dead: readonly number[]): void {
  const space = spaceOf(shared, by);
  for (const thread of dead) {
    space.threads.markDead(thread);
    while (!mournEverywhere(space, thread)) pause();
    finishBurial(space, thread);
  }
}

export const scenarios: Scenario[] = [
  scenario({
    name: "semaphore: a thread that blocks and an event loop take turns",
    setUp: () => setUp((space) => new Semaphore(1, space)),
    threads: {
      blocking(shared, log) {
        const semaphore = semaphoreOf(shared, 0);
        const permit = semaphore.acquire();
        write(shared);
        log.push(semaphore.available);
        permit.release();
      },
      async flow(shared, log) {
        const semaphore = semaphoreOf(shared, 1);
        const permit = await semaphore.acquireAsync();
        write(shared);
        log.push(semaphore.available);
        permit.release();
      },
    },
    check(shared, { logs }) {
      assert.equal([...(logs["blocking"] as number[]), ...(logs["flow"] as number[])], [0, 0]);
      const semaphore = semaphoreOf(shared, 0);
      assert.is(semaphore.available, 1);
      semaphore.close();
      assert.is(read(shared), 2);
    },
    tickMs: 1,
    bounds: { preemptions: 2 },
  }),
  scenario({
    name: "semaphore: permits of a thread that dies come back, to an event loop too",
    setUp: () => setUp((space) => new Semaphore(1, space)),
    threads: {
      mortal(shared) {
        const permit = semaphoreOf(shared, 0).acquire();
        permit.release();
      },
      async flow(shared, log) {
        const permit = await semaphoreOf(shared, 1).acquireAsync();
        log.push("held");
        permit.release();
      },
      supervisor(shared) {
        if (join("mortal")) bury(shared, 2, [0]);
      },
    },
    check(shared, { logs }) {
      assert.equal(logs["flow"], ["held"]);
      assert.ok(semaphoreOf(shared, 2).tryAcquire() !== undefined, "the permit is to be had");
    },
    kill: ["mortal"],
    tickMs: 1,
    bounds: { preemptions: 0 },
    deep: { preemptions: 1 },
  }),
  scenario({
    name: "rw mutex: readers together, a writer alone, in both forms",
    setUp: () => setUp((space) => new RWMutex(space)),
    threads: {
      writer(shared) {
        const hold = rwMutexOf(shared, 0).lock();
        write(shared);
        hold.unlock();
      },
      async reader(shared, log) {
        const hold = await rwMutexOf(shared, 1).readLockAsync();
        log.push(read(shared));
        hold.unlock();
      },
      trier(shared, log) {
        const hold = rwMutexOf(shared, 2).tryReadLock();
        if (hold === undefined) return;
        log.push(read(shared));
        hold.unlock();
      },
    },
    check(shared, { logs }) {
      for (const seen of [...(logs["reader"] as number[]), ...(logs["trier"] as number[])]) assert.ok(seen <= 1);
      const mutex = rwMutexOf(shared, 0);
      const hold = mutex.tryLock();
      assert.ok(hold !== undefined && !hold.isRecovered);
      hold?.unlock();
      mutex.close();
    },
    tickMs: 1,
    bounds: { preemptions: 1 },
  }),
  scenario({
    name: "rw mutex: the death of a writer is told until another has had it",
    setUp: () => setUp((space) => new RWMutex(space)),
    threads: {
      mortal(shared, log) {
        const hold = rwMutexOf(shared, 0).lock();
        log.push("inside");
        hold.unlock();
        log.push("out");
      },
      next(shared, log) {
        const mutex = rwMutexOf(shared, 1);
        const hold = mutex.lock();
        log.push(hold.isRecovered);
        hold.unlock();
      },
      supervisor(shared) {
        if (join("mortal")) bury(shared, 2, [0]);
      },
    },
    check(shared, { logs, died }) {
      const [recovered] = logs["next"] as [boolean];
      if (recovered) assert.equal(died, ["mortal"]);
      // One step of the release decides the rest, so the outcome is certain only here.
      if (logs["mortal"]?.length === 2) assert.not.ok(recovered);
      const hold = rwMutexOf(shared, 2).tryLock();
      assert.ok(hold !== undefined, "free at the end");
    },
    kill: ["mortal"],
    bounds: { preemptions: 0 },
    deep: { preemptions: 1 },
  }),
  scenario({
    name: "once: done once, whoever asks, and seen by all",
    setUp: () => setUp((space) => new Once(space)),
    threads: {
      blocking: (shared) => {
        const wasMine = onceOf(shared, 0).do(() => write(shared));
        assert.is(read(shared), 1);
        return wasMine;
      },
      async flow(shared) {
        const wasMine = await onceOf(shared, 1).doAsync(() => write(shared));
        assert.is(read(shared), 1);
        return wasMine;
      },
    },
    check(shared, { results }) {
      assert.not.equal(results["blocking"], results["flow"], "one of them did it");
      const once = onceOf(shared, 0);
      assert.ok(once.isDone);
      once.close();
    },
    tickMs: 1,
    bounds: { preemptions: 2 },
  }),
  scenario({
    name: "once: when its thread dies in between the next one does it",
    setUp: () => setUp((space) => new Once(space)),
    threads: {
      mortal(shared) {
        onceOf(shared, 0).do(() => void Atomics.add(shared.words, 0, 1));
      },
      next(shared, log) {
        log.push(onceOf(shared, 1).do(() => void Atomics.add(shared.words, 0, 1)));
      },
      supervisor(shared) {
        if (join("mortal")) bury(shared, 2, [0]);
      },
    },
    check(shared, { logs, died }) {
      const done = Atomics.load(shared.words, 0);
      assert.ok(done >= 1 && done <= died.length + 1, `done ${done} times`);
      assert.is(logs["next"]?.length, 1);
      assert.ok(onceOf(shared, 2).isDone);
    },
    kill: ["mortal"],
    bounds: { preemptions: 1 },
  }),
];

export const mutants: Mutant[] = [
  {
    breaks: "a Once doesn't look again once it has the lock",
    file: "atomics-sync/locks/once",
    from: "if (this.isDone) {\n            hold.unlock();\n            return false;\n        }\n        try {\n            run();",
    to: "try {\n            run();",
    by: "once",
  },
  {
    breaks: "a Once says that it was done before it was",
    file: "atomics-sync/locks/once",
    from: "try {\n            run();\n        }",
    to: "try {\n            Atomics.store(this.#space.words, this.handle.cell + ONCE_DONE, 1);\n            run();\n        }",
  },
  {
    breaks: "a semaphore's flow takes its turn before it is served",
    file: "atomics-sync/locks/semaphore",
    from: "if (!this.#isHeld(node) && !(await waits.wait(this.#core, node, given)))",
    to: "if (false)",
  },
  {
    breaks: "a semaphore's thread takes its turn before it is served",
    file: "atomics-sync/locks/semaphore",
    from: "if (!this.#isHeld(node))\n            this.#waitFor",
    to: "if (false)\n            this.#waitFor",
  },
  {
    breaks: "a writer takes one permit, as a reader does",
    file: "atomics-sync/locks/rw-mutex",
    from: "need: PERMITS_MAX, asks: ASKS_EXCLUSIVE",
    to: "need: 1, asks: ASKS_EXCLUSIVE",
  },
  {
    breaks: "a reader's flow goes on before it is served",
    file: "atomics-sync/locks/rw-mutex",
    from: "if (!this.#isHeld(node) && !(await waits.wait(this.#core, node, given)))",
    to: "if (false)",
  },
];
