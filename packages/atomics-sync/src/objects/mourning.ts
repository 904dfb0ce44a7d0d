/**
 * Cleans up after a dead thread at one object: its nodes, its holds, its ownership, and perhaps a
 * queue that it was just editing. All of this is for the latch holder (monitor.ts), and none of it
 * knows kinds of objects: LOST, LOST_ASKS and STALE tell the kind's `repair` what has happened.
 */
import { CELL_STATE, GRANT_MASK, LOST, LOST_ASKS, LOST_CLAIMED, ORPHAN, OWNER_MASK } from "./cell.ts";
import {
  ASKS_GIVES,
  CANCELLED,
  CLAIMED,
  FREE,
  GRANTED,
  HELD,
  NODE_ASKS,
  NODE_BLOCK,
  NODE_CELL,
  NODE_NEED,
  NODE_STATE,
  ORDER,
  RELEASING,
  WAITING,
} from "./node.ts";
import type { SyncSpace } from "./space.ts";

/** The nodes that belong in the queue of the object at `cell`, in the order of their numbers. */
export function nodesInOrder(space: SyncSpace, cell: number): number[] {
  const queued: { node: number; order: number }[] = [];
  for (const node of space.nodesInUse()) {
    const state = stateHere(space, cell, node);
    if (state !== WAITING && state !== CLAIMED && state !== CANCELLED) continue;
    const order = space.words[node + ORDER] as number;
    if (order !== 0) queued.push({ node, order });
  }
  queued.sort((one, other) => (one.order - other.order) | 0);
  return queued.map(({ node }) => node);
}

/**
 * The state of any node as far as it concerns the object at `cell`; FREE when it doesn't.
 *
 * A node that isn't FREE or GRANTED belongs to one object, and its CELL says which. It may move to
 * another one between two looks. But once CELL names this object, it stays, because nobody but the
 * latch holder could let it go. So the state that is read after CELL is one in this object.
 */
function stateHere(space: SyncSpace, cell: number, node: number): number {
  const before = Atomics.load(space.words, node + NODE_STATE);
  if (before === FREE || before === GRANTED) return FREE;
  if (Atomics.load(space.words, node + NODE_CELL) !== cell) return FREE;
  const state = Atomics.load(space.words, node + NODE_STATE);
  return state === GRANTED ? FREE : state;
}

/**
 * Frees nodes that were taken from the inbox to be released and not counted: with STALE everything
 * is counted anew.
 */
export function finishLostReleases(space: SyncSpace, cell: number): void {
  for (const node of space.nodesInUse()) {
    if (stateHere(space, cell, node) !== RELEASING || space.words[node + ORDER] === 0) continue;
    Atomics.store(space.words, node + NODE_STATE, FREE);
  }
}

/** How much the nodes of the object hold together. */
export function heldInAll(space: SyncSpace, cell: number): number {
  let held = 0;
  for (const node of space.nodesInUse()) {
    const state = stateHere(space, cell, node);
    // The latch holder will count a release that is still in the inbox when it takes it from there.
    const isHeld = state === HELD || (state === RELEASING && space.words[node + ORDER] === 0);
    if (isHeld) held += space.words[node + NODE_NEED] as number;
  }
  return held;
}

/**
 * Frees the nodes of a dead thread at the object, which are in no queue any more, and counts what
 * they held as lost.
 */
export function freeNodesOf(space: SyncSpace, cell: number, dead: number): void {
  const { words } = space;
  for (const node of space.nodesOf(dead)) {
    if (words[node + NODE_CELL] !== cell) continue;
    const state = Atomics.load(words, node + NODE_STATE);
    if (state === HELD) {
      words[cell + LOST] = (words[cell + LOST] as number) + (words[node + NODE_NEED] as number);
      noteLost(words, cell, words[node + NODE_ASKS] as number);
    } else if (state === CLAIMED) noteLost(words, cell, LOST_CLAIMED);
    freeBlock(space, node);
    Atomics.store(words, node + NODE_STATE, FREE);
  }
}

function noteLost(words: Int32Array, cell: number, asks: number): void {
  words[cell + LOST_ASKS] = (words[cell + LOST_ASKS] as number) | asks;
}

/** Frees the block that a dead thread's node leaves to nobody. */
function freeBlock(space: SyncSpace, node: number): void {
  const { words } = space;
  const block = words[node + NODE_BLOCK] as number;
  if (block === 0) return;
  const isServed = Atomics.load(words, node + NODE_STATE) === GRANTED;
  const gives = ((words[node + NODE_ASKS] as number) & ASKS_GIVES) !== 0;
  words[node + NODE_BLOCK] = 0;
  if (gives !== isServed) space.heap.free(block);
}

/** Takes the ownership of the object from a dead thread. */
export function orphan(words: Int32Array, cell: number, dead: number): void {
  let state = Atomics.load(words, cell + CELL_STATE);
  // Ends: each failure means that another thread has changed a flag.
  while ((state & OWNER_MASK) === dead + 1) {
    const orphaned = (state & ~(OWNER_MASK | GRANT_MASK)) | ORPHAN;
    const seen = Atomics.compareExchange(words, cell + CELL_STATE, state, orphaned);
    if (seen === state) return;
    state = seen;
  }
}
