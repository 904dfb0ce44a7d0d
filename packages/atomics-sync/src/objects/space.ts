/**
 * The shared memory under locks, channels and contexts: cells (one per object), nodes (one per
 * waiting or holding party) and scopes (one per context).
 *
 * All threads of a process that can share an object see the same space. So a handle is three
 * numbers, and a burial reaches everything that the dead thread has touched.
 *
 * Memory, in 32-bit words:
 *
 *   0           header  SPACE_ID, CELLS, CHUNKS, CHUNK_NODES, SCOPES: constants
 *                       DEATHS: threads that were buried, counted by those that bury
 *   CELLS_AT    cells   `CELL_WORDS` each (cell.ts)
 *   after them  chunks  a line of control, then CHUNK_NODES nodes of `NODE_WORDS` each
 *     +0   OWNER        0, or the thread that has the chunk, plus one; that thread takes it by
 *                       compare-and-swap from 0, its burial gives it back
 *     +1   NEWS         a bit per node that its owner's event loop shall look at; set by the
 *                       threads that wake it, taken by the owner
 *   after them  scopes  `SCOPE_WORDS` each (scope.ts)
 *
 * Different threads write the words of one cell, and they lie together all the same: an operation
 * on an object touches most of them. Two cells lie a line apart.
 *
 * A node belongs to the owner of its chunk: it alone takes nodes into use, from a list of its own,
 * without atomics. The state of a node in use says which thread may write what in it (node.ts).
 */
import { isMainThread } from "node:worker_threads";
import { invariant, performance } from "@millrace/base";
import { LINE_WORDS, type SharedHeap } from "@millrace/shared-memory";
import { syncError } from "../errors.ts";
import {
  CELL_KIND,
  CELL_STATE,
  CELL_WORDS,
  CLOSED,
  GENERATION_SHIFT,
  INBOX,
  INBOX_WORDS_MAX,
  KIND_MASK,
  LATCH,
  nextTag,
  ownedTag,
  TAKING,
  tagOf,
} from "./cell.ts";
import { isOwned } from "./kinds.ts";
import { FREE, HELD, NODE_CELL, NODE_NEED, NODE_STATE, NODE_WORDS } from "./node.ts";
import { unparkAgain } from "../threads/parker.ts";
import { LookAround } from "../threads/look-around.ts";
import type { ThreadTable } from "../threads/threads.ts";

/** A cell, and what scope.ts puts behind it. */
export const SCOPE_WORDS: number = 5 * LINE_WORDS;

const SPACE_ID = 0;
const CELLS = 1;
const CHUNKS = 2;
const CHUNK_NODES = 3;
const DEATHS = 4;
const SCOPES = 5;
const CELLS_AT = LINE_WORDS;
const CHUNK_OWNER = 0;
const CHUNK_NEWS = 1;
const CHUNK_CONTROL_WORDS = LINE_WORDS;

export interface SpaceShape {
  /** Objects that exist at once. */
  readonly cells: number;
  /** Nodes are handed to threads in chunks; the product is the most that wait or hold at once. */
  readonly chunks: number;
  /** Nodes per chunk, at most 32: they share a word of NEWS. */
  readonly chunkNodes: number;
  /** Contexts that exist at once; none by default. */
  readonly scopes?: number;
}

/**
 * 16,384 objects, 32,768 parties and 8192 contexts: 9.3 MiB, of which the system hands out only
 * what is touched.
 */
export const SPACE_SHAPE: SpaceShape = { cells: 16_384, chunks: 1024, chunkNodes: 32, scopes: 8192 };

/** Looks of a short critical section: about a microsecond. */
const SPINS = 100;
/**
 * The longest look before a sleep in terms of the shortest: about 50 µs, what a sleep and a wake-up
 * cost.
 */
const LONG_LOOK_FACTOR = 50;

/**
 * How often, and for how long at a time (ms), a thread sleeps that can't do without a latch whose
 * holder doesn't run: 50 ms in all. A critical section takes about a microsecond.
 */
const NAPS_MAX = 250;
const NAP_MS = 0.2;
/**
 * How often the main thread may serve others before it gives a latch up and turns to its event
 * loop.
 */
const MAIN_ROUNDS_MAX = 16;

/** How one thread sees a space; for tests that play several threads. */
export interface SpaceView {
  readonly spins?: number;
  /** 0: a thread never sleeps for a latch. */
  readonly napsMax?: number;
  readonly roundsMax?: number;
  readonly mayBlock?: boolean;
  readonly now?: () => number;
  readonly heap?: SharedHeap;
}

/** One thread's view of a space. */
export class SyncSpace {
  readonly words: Int32Array;
  readonly threads: ThreadTable;
  /** The thread whose view this is, in `threads`. */
  readonly thread: number;
  readonly cells: number;
  readonly chunks: number;
  readonly chunkNodes: number;
  readonly scopes: number;
  /** Nodes of this thread that are not in use. */
  readonly #free: number[] = [];
  /**
   * Nodes that it has given up while others could still see them; free as soon as their state says
   * so.
   */
  #leaving: number[] = [];
  readonly #ownChunks: number[] = [];
  #cellHint = 0;
  /**
   * Number of locks that this thread holds, in any form. A task that holds one must not run other
   * tasks.
   */
  locksHeld = 0;
  /**
   * Locks for which flows of this thread's event loop wait, and how many flows for each: a wait
   * that blocks the thread behind them would never end.
   */
  readonly asyncLockWaits: Map<number, number> = new Map();
  /**
   * The parties that this thread wakes once it has released a lock: the lock's cell, the thread and
   * the node in turn.
   */
  readonly wakesHeldBack: number[] = [];
  /**
   * How often a thread looks whether it was served before it sleeps: 100 looks are about a
   * microsecond, a short critical section.
   */
  readonly spins: number;
  readonly #lookAround: LookAround;
  /** See NAPS_MAX and MAIN_ROUNDS_MAX. */
  readonly napsMax: number;
  readonly roundsMax: number;
  /** The word that a nap waits on; nobody notifies it. */
  readonly #bed: Int32Array = new Int32Array(new SharedArrayBuffer(4));
  /** Whether this thread may block: not the main thread. */
  readonly mayBlock: boolean;
  /** Milliseconds, for time limits. */
  readonly now: () => number;
  readonly #heap: SharedHeap | undefined;
  /**
   * Nodes of this thread that are groups (select-group.ts) and not in use: a group's node never
   * becomes anything else.
   */
  readonly #groups: number[] = [];
  #ticket = 0;

  constructor(buffer: SharedArrayBuffer, threads: ThreadTable, thread: number, view: SpaceView = {}) {
    this.spins = view.spins ?? SPINS;
    this.#lookAround = new LookAround(this.spins * LONG_LOOK_FACTOR, this.spins, this.spins);
    this.mayBlock = view.mayBlock ?? !isMainThread;
    this.napsMax = view.napsMax ?? NAPS_MAX;
    this.roundsMax = view.roundsMax ?? (this.mayBlock ? Infinity : MAIN_ROUNDS_MAX);
    this.now = view.now ?? (() => performance.now());
    this.#heap = view.heap;
    this.words = new Int32Array(buffer);
    this.threads = threads;
    this.thread = thread;
    this.cells = this.words[CELLS] as number;
    this.chunks = this.words[CHUNKS] as number;
    this.chunkNodes = this.words[CHUNK_NODES] as number;
    this.scopes = this.words[SCOPES] as number;
  }

  /** Memory for a space; `id` tells it apart from those of other processes. */
  static allocate(shape: SpaceShape, id: number): SharedArrayBuffer {
    invariant(shape.chunkNodes <= 32, "the nodes of a chunk share a word of bits");
    const { scopes = 0 } = shape;
    const chunkWords = CHUNK_CONTROL_WORDS + shape.chunkNodes * NODE_WORDS;
    const nodesEnd = CELLS_AT + shape.cells * CELL_WORDS + shape.chunks * chunkWords;
    const totalWords = nodesEnd + scopes * SCOPE_WORDS;
    invariant(nodesEnd <= INBOX_WORDS_MAX, "an inbox can name every node");
    const buffer = new SharedArrayBuffer(totalWords * Int32Array.BYTES_PER_ELEMENT);
    const words = new Int32Array(buffer);
    words[SPACE_ID] = id;
    words[CELLS] = shape.cells;
    words[CHUNKS] = shape.chunks;
    words[CHUNK_NODES] = shape.chunkNodes;
    words[SCOPES] = scopes;
    return buffer;
  }

  /** Tells spaces of different processes apart. */
  get id(): number {
    return this.words[SPACE_ID] as number;
  }

  /** The memory of values that are handed over. */
  get heap(): SharedHeap {
    invariant(this.#heap !== undefined, "a space whose objects carry values has a heap");
    return this.#heap;
  }

  /** Gives the heap pages of a dead thread to others. */
  releaseHeap(dead: number): void {
    this.#heap?.releaseThread(dead);
  }

  // ── cells ─────────────────────────────────────────────────────────────────────────────────────

  /**
   * Takes a free cell into use, all words but its first 0, and returns its word index. Throws
   * `ERR_SYNC_SPACE_FULL`.
   */
  takeCell(kind: number): number {
    // From behind the last one on: a cell that was just given up is taken last, so that late users
    // of it are found out.
    for (let step = 0; step < this.cells; step += 1) {
      const cell = this.cellAt((this.#cellHint + step) % this.cells);
      const seen = Atomics.load(this.words, cell + CELL_KIND);
      if ((seen & KIND_MASK) !== 0) continue;
      const taken = ((seen >>> GENERATION_SHIFT) + 1) << GENERATION_SHIFT;
      if (Atomics.compareExchange(this.words, cell + CELL_KIND, seen, taken | TAKING) !== seen) continue;
      this.#cellHint = (this.#cellHint + step + 1) % this.cells;
      this.#openCell(cell, taken | kind);
      return cell;
    }
    throw syncError("ERR_SYNC_SPACE_FULL", `all ${this.cells} places for shared objects are taken`);
  }

  #openCell(cell: number, kind: number): void {
    const tag = tagOf(kind);
    Atomics.store(this.words, cell + LATCH, tag | (this.thread + 1));
    Atomics.store(this.words, cell + INBOX, tag);
    Atomics.store(this.words, cell + CELL_STATE, isOwned(kind & KIND_MASK) ? ownedTag(kind) : 0);
    Atomics.store(this.words, cell + CELL_KIND, kind);
    Atomics.store(this.words, cell + LATCH, tag);
  }

  /** Gives a cell back whose taker has died before it had made an object of it. */
  dropCell(cell: number): void {
    const kind = Atomics.load(this.words, cell + CELL_KIND);
    Atomics.compareExchange(this.words, cell + CELL_KIND, kind, kind & ~KIND_MASK);
  }

  /**
   * Gives a cell back whose object nobody can use any more: with its latch and its inbox shut, or
   * for a kind without them alone. `kind` is its KIND. Broken off by a death, it is done again by
   * the next thread that finds the inbox shut.
   */
  giveCell(cell: number, kind: number): void {
    const next = nextTag(tagOf(kind));
    // A late user fails with its compare-and-swap from now on; a burial still finds the holder.
    Atomics.store(this.words, cell + LATCH, next | (this.thread + 1));
    // First, and never 0 in between: it is what a late user of an owned object looks at.
    Atomics.store(this.words, cell + CELL_STATE, CLOSED);
    Atomics.store(this.words, cell + INBOX, next);
    for (let word = CELL_STATE + 1; word < CELL_WORDS; word += 1) Atomics.store(this.words, cell + word, 0);
    // Last: from here on another thread may have the cell.
    Atomics.compareExchange(this.words, cell + CELL_KIND, kind, kind & ~KIND_MASK);
    Atomics.compareExchange(this.words, cell + LATCH, next | (this.thread + 1), next);
  }

  cellAt(index: number): number {
    return CELLS_AT + index * CELL_WORDS;
  }

  /** The kind of the cell's object; 0 when the cell is free. */
  kindOf(cell: number): number {
    return Atomics.load(this.words, cell + CELL_KIND) & KIND_MASK;
  }

  // ── nodes ─────────────────────────────────────────────────────────────────────────────────────

  /**
   * Takes a node of this thread into use and returns its word index. Throws
   * `ERR_WAITERS_EXHAUSTED`.
   */
  takeNode(): number {
    if (this.#free.length === 0) this.#refill();
    return this.#free.pop() as number;
  }

  /** Gives a node back that nobody else can see any more. */
  giveNode(node: number): void {
    Atomics.store(this.words, node + NODE_STATE, FREE);
    this.#free.push(node);
  }

  /** Gives a node back that others may still see: it is used again once its state is FREE. */
  leaveNode(node: number): void {
    this.#leaving.push(node);
  }

  /** A node for a group. Throws `ERR_WAITERS_EXHAUSTED`. */
  takeGroup(): number {
    return this.#groups.pop() ?? this.takeNode();
  }

  /** Gives the core to another thread for a moment. */
  nap(): void {
    Atomics.wait(this.#bed, 0, 0, NAP_MS);
  }

  /** How often to look whether a node was served before the thread sleeps. */
  looksBeforeSleep(): number {
    return this.#lookAround.budget();
  }

  /**
   * The outcome of a look-around: served after `looks` looks, or not, and then the thread sleeps.
   */
  hasLooked(looks: number, isServed: boolean): void {
    // An answer within the shortest look says nothing about longer ones.
    if (!isServed || looks > this.spins) this.#lookAround.looked(isServed);
  }

  /** A number below 0 for a group, another one than for the 2³¹ before it. */
  nextTicket(): number {
    this.#ticket = this.#ticket === -(2 ** 31) ? -1 : this.#ticket - 1;
    return this.#ticket;
  }

  giveGroup(node: number): void {
    Atomics.store(this.words, node + NODE_STATE, FREE);
    this.#groups.push(node);
  }

  /** How much this thread holds of the object in `cell`. */
  ownHeld(cell: number): number {
    let held = 0;
    for (const chunk of this.#ownChunks) {
      for (let index = 0; index < this.chunkNodes; index += 1) {
        const node = this.nodeAt(chunk, index);
        const isHeld = Atomics.load(this.words, node + NODE_STATE) === HELD && this.words[node + NODE_CELL] === cell;
        if (isHeld) held += this.words[node + NODE_NEED] as number;
      }
    }
    return held;
  }

  #refill(): void {
    const leaving: number[] = [];
    for (const node of this.#leaving) {
      if (Atomics.load(this.words, node + NODE_STATE) === FREE) this.#free.push(node);
      else leaving.push(node);
    }
    this.#leaving = leaving;
    if (this.#free.length === 0) this.#claimChunk();
  }

  #claimChunk(): void {
    for (let chunk = 0; chunk < this.chunks; chunk += 1) {
      const owner = this.#chunkAt(chunk) + CHUNK_OWNER;
      if (Atomics.load(this.words, owner) !== 0) continue;
      if (Atomics.compareExchange(this.words, owner, 0, this.thread + 1) !== 0) continue;
      this.#ownChunks.push(chunk);
      for (let index = this.chunkNodes - 1; index >= 0; index -= 1) this.#free.push(this.nodeAt(chunk, index));
      return;
    }
    const most = this.chunks * this.chunkNodes;
    throw syncError("ERR_WAITERS_EXHAUSTED", `${most} parties wait for or hold shared objects at once`);
  }

  #chunkAt(chunk: number): number {
    return CELLS_AT + this.cells * CELL_WORDS + chunk * (CHUNK_CONTROL_WORDS + this.chunkNodes * NODE_WORDS);
  }

  nodeAt(chunk: number, index: number): number {
    return this.#chunkAt(chunk) + CHUNK_CONTROL_WORDS + index * NODE_WORDS;
  }

  /** A number below 2¹⁶ for a node, 1 at least: what fits into a state word. */
  nodeNumber(node: number): number {
    return this.chunkOf(node) * this.chunkNodes + this.#indexOf(node) + 1;
  }

  nodeOfNumber(number: number): number {
    return this.nodeAt(Math.floor((number - 1) / this.chunkNodes), (number - 1) % this.chunkNodes);
  }

  chunkOf(node: number): number {
    return Math.floor((node - this.#chunkAt(0)) / (CHUNK_CONTROL_WORDS + this.chunkNodes * NODE_WORDS));
  }

  #indexOf(node: number): number {
    return (node - this.nodeAt(this.chunkOf(node), 0)) / NODE_WORDS;
  }

  /** Every node of a chunk that belongs to a thread. */
  nodesInUse(): number[] {
    return this.#nodesOfChunks((owner) => owner >= 0);
  }

  /** Every node of the chunks of one thread. */
  nodesOf(thread: number): number[] {
    return this.#nodesOfChunks((owner) => owner === thread);
  }

  #nodesOfChunks(isWanted: (owner: number) => boolean): number[] {
    const nodes: number[] = [];
    for (let chunk = 0; chunk < this.chunks; chunk += 1) {
      if (!isWanted(this.chunkOwner(chunk))) continue;
      for (let index = 0; index < this.chunkNodes; index += 1) nodes.push(this.nodeAt(chunk, index));
    }
    return nodes;
  }

  /** The thread that a chunk belongs to; -1 when it belongs to nobody. */
  chunkOwner(chunk: number): number {
    return Atomics.load(this.words, this.#chunkAt(chunk) + CHUNK_OWNER) - 1;
  }

  /** Gives the chunk of a dead thread back; its nodes are free. */
  giveChunk(chunk: number): void {
    for (let index = 0; index < this.chunkNodes; index += 1) {
      Atomics.store(this.words, this.nodeAt(chunk, index) + NODE_STATE, FREE);
    }
    Atomics.store(this.words, this.#chunkAt(chunk) + CHUNK_NEWS, 0);
    Atomics.store(this.words, this.#chunkAt(chunk) + CHUNK_OWNER, 0);
  }

  /** Tells the owner's event loop to look at a node; wake it afterwards. */
  announce(node: number): void {
    Atomics.or(this.words, this.#chunkAt(this.chunkOf(node)) + CHUNK_NEWS, 1 << this.#indexOf(node));
  }

  /** Puts the nodes of this thread that were announced into `nodes`. */
  takeNews(nodes: number[]): void {
    for (const chunk of this.#ownChunks) {
      const word = this.#chunkAt(chunk) + CHUNK_NEWS;
      if (Atomics.load(this.words, word) === 0) continue;
      const news = Atomics.exchange(this.words, word, 0);
      for (let index = 0; index < this.chunkNodes; index += 1) {
        if ((news & (1 << index)) !== 0) nodes.push(this.nodeAt(chunk, index));
      }
    }
  }

  // ── scopes ────────────────────────────────────────────────────────────────────────────────────

  scopeAt(index: number): number {
    return this.#chunkAt(this.chunks) + index * SCOPE_WORDS;
  }

  /**
   * Where this thread looks for a free scope first; the one that was given up last is taken last.
   */
  scopeHint = 0;

  // ── deaths ────────────────────────────────────────────────────────────────────────────────────

  /**
   * Number of threads that were buried. When it changes, a waiting thread looks at its object
   * again.
   */
  deaths(): number {
    return Atomics.load(this.words, DEATHS);
  }

  countDeath(): void {
    Atomics.add(this.words, DEATHS, 1);
  }

  /** After a death: every party looks after its object, and every lost wake-up is made good. */
  wakeEverybody(): void {
    this.countDeath();
    for (let thread = 0; thread < this.threads.used; thread += 1) {
      if (this.threads.isTaken(thread)) unparkAgain(this.threads.words, thread);
    }
  }
}
