/**
 * The burial of a thread that has ended without saying so: `terminate()`, out of memory,
 * `process.exit()`, an uncaught error.
 *
 *   1. its entry becomes DEAD: from now on any thread takes a latch from it;
 *   2. it is taken out of every object: out of queues, holders, ownership (Monitor.mourn), over and
 *      over until nothing refers to it; an object whose latch another thread has is left for the
 *      next round. The scopes that it has made end (scope.ts);
 *   3. DEATHS is counted and every thread is woken: each one that waits serves its own object then,
 *      and a wake-up that the dead thread owed is made good;
 *   4. its nodes and its pages of the heap are free, and its entry may be used again.
 *
 * A thread is buried by its parent (current.ts). A dead thread's own workers end with it, and the
 * thread that buries it buries them too. A burial that is broken off is done again from the start:
 * no step of it does harm the second time.
 */
import { GONE, hasLatch, ownsCell, PIPE_ENDS, TAKING } from "./cell.ts";
import { isOwned, PIPE } from "./kinds.ts";
import { Monitor } from "./monitor.ts";
import { NODE_CELL, FREE, NODE_STATE } from "./node.ts";
import { mournPlace } from "./scope.ts";
import type { SyncSpace } from "./space.ts";

/** Does one round of step 2; true when nothing refers to the dead thread any more. */
export function mournEverywhere(space: SyncSpace, dead: number): boolean {
  const cells = cellsWaitedFor(space, dead);
  let isOver = true;
  for (let index = 0; index < space.cells; index += 1) {
    const cell = space.cellAt(index);
    const kind = space.kindOf(cell);
    if (kind === 0) continue;
    if (kind === PIPE) {
      for (const end of PIPE_ENDS) Atomics.compareExchange(space.words, cell + end, dead + 1, GONE);
      continue;
    }
    const isHolder = hasLatch(space.words, cell, dead);
    if (kind === TAKING) {
      if (isHolder) space.dropCell(cell);
      continue;
    }
    const isOwner = isOwned(kind) && ownsCell(space.words, cell, dead);
    if (!isHolder && !isOwner && !cells.has(cell)) continue;
    if (!new Monitor(space, cell).mourn(dead, isOwned(kind))) isOver = false;
  }
  for (let index = 0; index < space.scopes; index += 1) {
    const place = space.scopeAt(index);
    const isUser = hasLatch(space.words, place, dead) || cells.has(place);
    if (isUser && !new Monitor(space, place).mourn(dead, false)) isOver = false;
    if (!mournPlace(space, place, dead, isUser)) isOver = false;
  }
  return isOver;
}

/** The objects that nodes of the thread refer to. */
function cellsWaitedFor(space: SyncSpace, thread: number): Set<number> {
  const cells = new Set<number>();
  for (const node of space.nodesOf(thread)) {
    if (Atomics.load(space.words, node + NODE_STATE) !== FREE) cells.add(space.words[node + NODE_CELL] as number);
  }
  return cells;
}

/** Steps 3 and 4. */
export function finishBurial(space: SyncSpace, dead: number): void {
  for (let chunk = 0; chunk < space.chunks; chunk += 1) {
    if (space.chunkOwner(chunk) === dead) space.giveChunk(chunk);
  }
  space.releaseHeap(dead);
  space.wakeEverybody();
  space.threads.renew(dead);
}
