/**
 * Locks and their like, in ns per operation: free ones on one thread; a mutex, a condition and a
 * bare wake-up between two.
 *
 * Each subject does the same work by the forms that block a thread. Go has no semaphore of its own:
 * a channel with so much room is what Go programs use. `multithreading` has no wait group and no
 * once. `Atomics` is the limit that V8 sets for waking a thread.
 */
import { Cond, Mutex, Once, RWMutex, Semaphore, WaitGroup } from "@millrace/atomics-sync";
import type { SyncWorker } from "./fixtures/sync-layout.ts";
import { runGo } from "./go-program.ts";
import type { Benchmark, Measure } from "./harness.ts";
import { importMultithreading } from "./multithreading.ts";
import { betweenTwo } from "./two-threads.ts";

const BATCH = 1000;
function ns(value: number): Measure[] {
  return [{ unit: "ns", value, better: "less" }];
}

/** Nanoseconds per call over `ms`, after a warm-up of a fifth of that. */
function perOperation(ms: number, operation: () => void): number {
  runFor(ms / 5, operation);
  return runFor(ms, operation);
}

function runFor(ms: number, operation: () => void): number {
  const startedAt = performance.now();
  let done = 0;
  let passedMs = 0;
  while (passedMs < ms) {
    for (let each = 0; each < BATCH; each += 1) operation();
    done += BATCH;
    passedMs = performance.now() - startedAt;
  }
  return (passedMs * 1e6) / done;
}

function ours(role: SyncWorker["role"], ms: number): Promise<number> {
  const mutex = new Mutex();
  return betweenTwo("sync-worker", ms, { role, mutex: mutex.handle, cond: new Cond(mutex).handle });
}

async function millrace(caseId: string, ms: number): Promise<Measure[]> {
  const mutex = new Mutex();
  const rwMutex = new RWMutex();
  const semaphore = new Semaphore(3);
  const group = new WaitGroup();
  const single = new Once();
  switch (caseId) {
    case "mutex":
      return ns(perOperation(ms, () => mutex.lock().unlock()));
    case "rw-read":
      return ns(perOperation(ms, () => rwMutex.readLock().unlock()));
    case "rw-write":
      return ns(perOperation(ms, () => rwMutex.lock().unlock()));
    case "semaphore":
      return ns(perOperation(ms, () => semaphore.acquire().release()));
    case "wait-group":
      return ns(
        perOperation(ms, () => {
          group.add(1);
          group.done();
        }),
      );
    case "once":
      return ns(perOperation(ms, () => void single.do(() => {})));
    default:
      return ns(await ours(caseId as SyncWorker["role"], ms));
  }
}

async function go(caseId: string, ms: number): Promise<Measure[]> {
  if (caseId === "wake") return [];
  const result = runGo("sync", [caseId, String(ms)]);
  return result === undefined ? [] : ns(result.ns as number);
}

async function multithreading(caseId: string, ms: number): Promise<Measure[]> {
  const theirs = await importMultithreading();
  const mutex = new theirs.Mutex();
  const lock = new theirs.RwLock();
  const semaphore = new theirs.Semaphore(3);
  switch (caseId) {
    case "mutex":
      return ns(perOperation(ms, () => mutex.blockingLock().dispose()));
    case "rw-read":
      return ns(perOperation(ms, () => lock.blockingRead().dispose()));
    case "rw-write":
      return ns(perOperation(ms, () => lock.blockingWrite().dispose()));
    case "semaphore":
      return ns(perOperation(ms, () => semaphore.blockingAcquire().dispose()));
    case "mutex-2":
    case "cond":
      return ns(
        await betweenTwo("multithreading-worker", ms, {
          role: caseId,
          lock: new SharedArrayBuffer(4),
          condition: new SharedArrayBuffer(4),
        }),
      );
    default:
      return [];
  }
}

async function atomics(caseId: string, ms: number): Promise<Measure[]> {
  return caseId === "wake" ? ns(await ours("bare-wake", ms)) : [];
}

export const sync: Benchmark = {
  name: "sync",
  cases: [
    { id: "mutex", words: "mutex, free: lock and unlock" },
    { id: "rw-read", words: "read-write lock, free: to read" },
    { id: "rw-write", words: "read-write lock, free: to write" },
    { id: "semaphore", words: "semaphore, free: acquire and release" },
    { id: "wait-group", words: "wait group: add and done" },
    { id: "once", words: "once, done already" },
    { id: "mutex-2", words: "mutex, two threads all the time" },
    { id: "cond", words: "condition: a turn between two threads" },
    { id: "wake", words: "waking a thread that sleeps, and being woken" },
  ],
  subjects: [
    { name: "millrace", run: millrace },
    { name: "Go", run: go },
    { name: "multithreading", run: multithreading },
    { name: "Atomics.wait and notify", run: atomics },
  ],
  effort: { full: { rounds: 7, cellMs: 600 }, quick: { rounds: 2, cellMs: 250 } },
};
