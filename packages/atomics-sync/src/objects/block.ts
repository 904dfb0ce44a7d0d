/**
 * Blocking a thread until its node was served.
 *
 * A thread that waits looks after its object again whenever a thread has been buried: the dead
 * thread may have owed it a service or a wake-up.
 */
import { currentScope, enterBlocking, leaveBlocking, type WaitScope } from "../threads/blocking.ts";
import { syncError } from "../errors.ts";
import { CLAIMED, NODE_STATE, WAITING } from "./node.ts";
import { Parker } from "../threads/parker.ts";
import type { SyncSpace } from "./space.ts";

/**
 * Longest sleep without another look: a net under a lost wake-up, which a correct system has none
 * of.
 */
const SLEEP_MS_MAX = 1000;
/**
 * How soon a wait whose time is up looks again when its node was just being served: the server
 * needs less than a microsecond, if it runs.
 */
export const CLAIMED_MS = 1;

/** The owner of a wait's node: an object, or a group. */
export interface Waited {
  /** Serves the parties that can be served, in this thread or through another one. */
  pump(): void;
  /** Takes the node back; false when it was served, or just may be. */
  cancel(node: number): boolean;
}

/** Throws `ERR_BLOCKING_MAIN` in a thread that must not block. */
export function assertMayBlock(space: SyncSpace, form: string, asyncForm: string): void {
  if (space.mayBlock) return;
  throw syncError("ERR_BLOCKING_MAIN", `${form} would block the main thread: use ${asyncForm}`);
}

export function isServed(words: Int32Array, node: number): boolean {
  const state = Atomics.load(words, node + NODE_STATE);
  // Below 0: the ticket of a group that waits.
  return state >= 0 && state !== WAITING && state !== CLAIMED;
}

/**
 * Blocks until `node` was served; false when `timeoutMs` have passed and the node was taken back.
 * Passes on what the hook around blocking waits throws, and the error of the scope around the wait
 * when that ends; the node is taken back then too, unless it was served already. Unless
 * `isRefusable` it waits on whatever the hook throws.
 */
export function block(space: SyncSpace, monitor: Waited, node: number, timeoutMs: number, isRefusable = true): boolean {
  if (isServedSoon(space, node)) return true;
  try {
    enterBlocking();
  } catch (thrown) {
    if (!isRefusable) return park(space, monitor, node, timeoutMs);
    if (!park(space, monitor, node, 0)) throw thrown;
    return true;
  }
  try {
    return parkWithin(currentScope(), space, monitor, node, timeoutMs);
  } finally {
    leaveBlocking();
  }
}

/** Looks for a while whether the node is served. */
function isServedSoon(space: SyncSpace, node: number): boolean {
  const most = space.looksBeforeSleep();
  for (let looks = 0; looks < most; looks += 1) {
    if (!isServed(space.words, node)) continue;
    space.hasLooked(looks, true);
    return true;
  }
  space.hasLooked(most, false);
  return false;
}

function parkWithin(
  scope: WaitScope | undefined,
  space: SyncSpace,
  monitor: Waited,
  node: number,
  timeoutMs: number,
): boolean {
  if (scope === undefined) return park(space, monitor, node, timeoutMs);
  const isWatched = scope.watch();
  try {
    return park(space, monitor, node, timeoutMs, scope);
  } finally {
    if (isWatched) scope.unwatch();
  }
}

function park(space: SyncSpace, monitor: Waited, node: number, timeoutMs: number, scope?: WaitScope): boolean {
  const parker = new Parker(space.threads.words, space.thread);
  const endsAt = timeoutMs === Infinity ? Infinity : space.now() + timeoutMs;
  let leftMs = timeoutMs;
  // Below any count, so that the first look also covers a death since the node was posted.
  let deaths = -1;
  for (;;) {
    parker.prepare();
    if (isServed(space.words, node)) {
      parker.cancel();
      return true;
    }
    if (scope?.isOver() === true) {
      parker.cancel();
      if (monitor.cancel(node)) throw scope.error();
      // As below: it was served, or is just being served.
      parker.prepare();
      if (isServed(space.words, node)) parker.cancel();
      else parker.wait(CLAIMED_MS);
      continue;
    }
    const buried = space.deaths();
    if (buried !== deaths) {
      parker.cancel();
      deaths = buried;
      monitor.pump();
      continue;
    }
    if (leftMs <= 0) {
      parker.cancel();
      if (monitor.cancel(node)) return false;
      // It was served, or a thread is trying to: if that fails, the time is still up.
      leftMs = CLAIMED_MS;
      continue;
    }
    const sleepMs = Math.min(leftMs, SLEEP_MS_MAX, scope === undefined ? Infinity : scope.leftMs());
    const isWoken = parker.wait(sleepMs);
    if (!isWoken && sleepMs === leftMs) leftMs = 0;
    else if (leftMs !== Infinity) leftMs = endsAt - space.now();
  }
}
