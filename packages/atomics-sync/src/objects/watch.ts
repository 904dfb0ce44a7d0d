/**
 * The parents' part in burials: a thread buries its workers when they have ended, and their
 * workers.
 *
 * Every thread that has loaded this package listens for the workers that it starts. A worker that
 * ends in an orderly way has buried itself by then (current.ts), and nothing is left to do. One
 * whose parent dies with it, or before it, is buried by the nearest living thread above: each entry
 * of the thread table names the thread's parent.
 */
import { setImmediate } from "@millrace/base";
import type { Worker } from "node:worker_threads";
import { finishBurial, mournEverywhere } from "./burial.ts";
import { currentSpace } from "./current.ts";

const watched = new WeakSet<Worker>();
/**
 * By node thread. A second burial at the same time would go on when the entry is another thread's.
 */
const burials = new Map<number, Promise<void>>();

/**
 * Buries thread `id` of `ThreadTable.current()`, which has ended: locks that it held go to the
 * next party with `isRecovered`, permits are given back, its waits are over. Resolves when
 * nothing refers to it any more; its entry is then as if it had just been reserved. For the
 * thread that has reserved the entry.
 */
export async function buryThread(id: number): Promise<void> {
  const { threads } = currentSpace();
  const nodeThread = threads.nodeThreadOf(id);
  await bury(id);
  // The entry under which the thread's event loop was woken, and its own workers.
  if (nodeThread >= 0) await buryNodeThread(nodeThread);
}

/**
 * Has the end of a worker noticed: what it holds is given back when it ends, however that comes
 * about. The parent of a worker does so by itself from the moment on at which it loads this
 * package; call it for a worker that was started before that. In the thread that started the
 * worker.
 */
export function watchThread(worker: Worker): void {
  if (watched.has(worker)) return;
  watched.add(worker);
  const nodeThread = worker.threadId;
  worker.once("exit", () => void buryNodeThread(nodeThread));
}

process.on("worker", watchThread);

function buryNodeThread(nodeThread: number): Promise<void> {
  let burial = burials.get(nodeThread);
  if (burial === undefined) {
    burial = buryFamily(nodeThread).finally(() => burials.delete(nodeThread));
    burials.set(nodeThread, burial);
  }
  return burial;
}

/**
 * The workers of a dead thread first: should this thread die meanwhile, the next one finds them by
 * its entry.
 */
async function buryFamily(nodeThread: number): Promise<void> {
  const { threads } = currentSpace();
  for (let id = 0; id < threads.used; id += 1) {
    if (!threads.isInUse(id) || threads.parentOf(id) !== nodeThread) continue;
    const child = threads.nodeThreadOf(id);
    // Reserved for a thread that has never said that it is there: it holds nothing by this number.
    if (child < 0) continue;
    await buryFamily(child);
    // Unless it was the child's own, and went with its family.
    if (threads.isInUse(id) && threads.parentOf(id) === nodeThread) await buryAndRelease(id);
  }
  for (let id = 0; id < threads.used; id += 1) {
    // An entry that the parent has reserved is the parent's to give back (`buryThread`).
    if (!threads.isInUse(id) || threads.nodeThreadOf(id) !== nodeThread || threads.isLent(id)) continue;
    await buryAndRelease(id);
  }
}

async function buryAndRelease(id: number): Promise<void> {
  await bury(id);
  currentSpace().threads.release(id);
}

async function bury(id: number): Promise<void> {
  const own = currentSpace();
  own.threads.markDead(id);
  while (!mournEverywhere(own, id)) await new Promise((resolve) => setImmediate(resolve));
  finishBurial(own, id);
}
