/**
 * The space that a thread shares with the threads that it starts and with the one that started it.
 */
import { randomInt } from "node:crypto";
import { getEnvironmentData, isMainThread, setEnvironmentData } from "node:worker_threads";
import { createSharedHeap, SharedHeap } from "@millrace/shared-memory";
import { AsyncWaits } from "./async-waits.ts";
import { finishBurial, mournEverywhere } from "./burial.ts";
import { Reactor } from "../threads/reactor.ts";
import { SPACE_SHAPE, SyncSpace } from "./space.ts";
import { atThreadEnd } from "../threads/thread-end.ts";
import { isAdopted, ownThread, ThreadTable } from "../threads/threads.ts";

/** Under this name a thread's space is handed on to the threads that it starts. */
const ENVIRONMENT_KEY = "millrace.space";
const HEAP_KEY = "millrace.heap";
/**
 * Rounds that a thread spends on its own burial when it exits; a latch is held for a microsecond.
 */
const OWN_ROUNDS_MAX = 10_000;

let space: SyncSpace | undefined;
const waitsOf: Map<SyncSpace, AsyncWaits> = new Map();

/** The space of the calling thread. */
export function currentSpace(): SyncSpace {
  if (space === undefined) {
    const inherited = getEnvironmentData(ENVIRONMENT_KEY);
    const buffer =
      inherited instanceof SharedArrayBuffer ? inherited : SyncSpace.allocate(SPACE_SHAPE, randomInt(2 ** 31));
    setEnvironmentData(ENVIRONMENT_KEY, buffer);
    const heap = new SharedHeap(inheritedHeap(), ownThread());
    space = new SyncSpace(buffer, ThreadTable.current(), ownThread(), { heap });
    if (!isMainThread && !isAdopted()) atThreadEnd(buryOwnThread);
  }
  return space;
}

function inheritedHeap(): SharedArrayBuffer {
  const inherited = getEnvironmentData(HEAP_KEY);
  const buffer = inherited instanceof SharedArrayBuffer ? inherited : createSharedHeap();
  setEnvironmentData(HEAP_KEY, buffer);
  return buffer;
}

// In the main thread at once, so that every worker inherits it, whenever it is started.
if (isMainThread) currentSpace();

/**
 * Number of locks (Mutex, RWMutex) that the calling thread holds, in any form. A task that holds
 * one must not run other tasks.
 */
export function locksHeld(): number {
  return space?.locksHeld ?? 0;
}

/**
 * The flows that wait in the calling thread's event loop; `of` is the current space but in tests.
 */
export function asyncWaits(of: SyncSpace): AsyncWaits {
  let waits = waitsOf.get(of);
  if (waits === undefined) {
    waits = new AsyncWaits(of, Reactor.current());
    waitsOf.set(of, waits);
  }
  return waits;
}

/**
 * A worker that ends in an orderly way gives back what it still holds; if that takes too long, its
 * parent goes on with it. It isn't DEAD meanwhile: it takes latches, and no thread may take those
 * from it.
 */
function buryOwnThread(): void {
  const own = currentSpace();
  for (let round = 0; round < OWN_ROUNDS_MAX; round += 1) {
    if (!mournEverywhere(own, own.thread)) continue;
    finishBurial(own, own.thread);
    own.threads.release(own.thread);
    return;
  }
  own.threads.markDead(own.thread);
}
