/**
 * A barrier between threads: each round is over when as many parties have arrived as the barrier
 * has.
 *
 * Source: Java's CyclicBarrier, for what breaks a barrier and how it is repaired.
 *
 * A party that arrives posts a node. Words of the cell beyond the monitor's:
 *
 *   PARTIES  how many make a round; written before any other thread knows the object
 *   BROKEN   1: nobody waits any more; written by the latch holder
 *   PASSING  1: all nodes that are CLAIMED make up a round that is over; written by the latch
 *            holder
 *
 * When PARTIES nodes wait, the latch holder claims them, one by one: a party that gives up comes
 * before that, and breaks the barrier, or too late. Then PASSING = 1, the commit, then it tells
 * them, then PASSING = 0. A death before the commit leaves nothing (CLAIMED goes back to WAITING);
 * `repair` makes one after it good.
 *
 * A thread is a member from its first arrival on: a node in the state HELD, so that burial finds
 * the barrier by it whether the thread waits or is on its way, and leaves ASKS_MEMBER in LOST_ASKS.
 * That and a node that was CANCELLED break the barrier. The repair is a node as well. It goes
 * through the queue: rounds before it are broken, and those after it are not.
 *
 * Rejected: a bit mask of members in the cell (burial would have to know of it).
 */
import { integer, resolveOptions, type Rules } from "@millrace/base";
import { assertMayBlock, block, isServed } from "../objects/block.ts";
import { asyncWaits, currentSpace } from "../objects/current.ts";
import { syncError } from "../errors.ts";
import { assertOpen, cellOf, handleOf, isOpen, type SyncHandle } from "../objects/handle.ts";
import { BARRIER } from "../objects/kinds.ts";
import { CELL_KIND_WORDS, HEAD, LOST_ASKS } from "../objects/cell.ts";
import { Monitor } from "../objects/monitor.ts";
import {
  ASKS_ASYNC,
  ASKS_KIND,
  CANCELLED,
  CLAIMED,
  GRANTED,
  HELD,
  NODE_ASKS,
  NODE_OUTCOME,
  NODE_STATE,
  QUEUE_NEXT,
  WAITING,
} from "../objects/node.ts";
import type { SyncSpace } from "../objects/space.ts";
import { type BlockOptions, timeLimit, waitOptions, type WaitOptions } from "../objects/wait-options.ts";

const PARTIES = CELL_KIND_WORDS;
const BROKEN: number = CELL_KIND_WORDS + 1;
const PASSING: number = CELL_KIND_WORDS + 2;

/** ASKS of a node: it repairs the barrier, and nobody waits for it; it stands for a member. */
const ASKS_RESET: number = ASKS_KIND << 1;
const ASKS_MEMBER: number = ASKS_KIND << 2;

// Outcomes of a node.
const PASSED = 1;
const PASSED_LAST = 2;
const IS_BROKEN = 3;

export class BarrierCore extends Monitor {
  /** The node by which this thread is a member; 0 while it isn't. */
  #membership = 0;

  /** Of a new object, before anybody else knows it. */
  setParties(parties: number): void {
    this.words[this.cell + PARTIES] = parties;
  }

  get parties(): number {
    return this.words[this.cell + PARTIES] as number;
  }

  get isBroken(): boolean {
    return Atomics.load(this.words, this.cell + BROKEN) === 1;
  }

  /** A node that has arrived. */
  arrive(asks: number, wakes: number): number {
    if (this.#membership === 0) {
      const node = this.prepareNode(0, ASKS_MEMBER, wakes);
      Atomics.store(this.words, node + NODE_STATE, HELD);
      this.#membership = node;
    }
    return this.#post(asks, wakes);
  }

  /** This thread takes no part any more. */
  leave(): void {
    if (this.#membership === 0) return;
    this.space.giveNode(this.#membership);
    this.#membership = 0;
  }

  reset(): void {
    this.space.leaveNode(this.#post(ASKS_RESET, 0));
  }

  #post(asks: number, wakes: number): number {
    const node = this.prepareNode(0, asks, wakes);
    this.post(node, WAITING);
    this.pump();
    return node;
  }

  /** The outcome of a node that was served. Frees the node. */
  outcome(node: number): number {
    const outcome = this.words[node + NODE_OUTCOME] as number;
    this.space.giveNode(node);
    return outcome;
  }

  protected override serve(): void {
    // Ends: each round that doesn't return takes nodes out of the queue, or has seen a node change
    // its mind.
    for (;;) {
      const arrived = this.#arrived();
      if (arrived < 0 || this.#hasLostMember()) Atomics.store(this.words, this.cell + BROKEN, 1);
      const head = this.words[this.cell + HEAD] as number;
      if (head === 0) return;
      if (this.#isReset(head)) this.#repairBarrier(head);
      else if (this.isBroken) this.#turnAway(head);
      else if (arrived >= this.parties) this.#pass();
      else if (this.#endsInReset()) this.#turnAway(head);
      else return;
    }
  }

  /**
   * Number of parties that have arrived for this round; -1 when one of them has changed its mind.
   */
  #arrived(): number {
    let arrived = 0;
    let node = this.words[this.cell + HEAD] as number;
    for (; node !== 0 && !this.#isReset(node); node = this.words[node + QUEUE_NEXT] as number) {
      if (Atomics.load(this.words, node + NODE_STATE) === CANCELLED) return -1;
      arrived += 1;
    }
    return arrived;
  }

  #hasLostMember(): boolean {
    return ((this.words[this.cell + LOST_ASKS] as number) & ASKS_MEMBER) !== 0;
  }

  #endsInReset(): boolean {
    let node = this.words[this.cell + HEAD] as number;
    while (node !== 0 && !this.#isReset(node)) node = this.words[node + QUEUE_NEXT] as number;
    return node !== 0;
  }

  #isReset(node: number): boolean {
    return ((this.words[node + NODE_ASKS] as number) & ASKS_RESET) !== 0;
  }

  /** The barrier is broken for the oldest node. */
  #turnAway(node: number): void {
    this.words[node + NODE_OUTCOME] = IS_BROKEN;
    if (!this.settleOldest(node, WAITING, GRANTED)) this.dropOldest(node);
  }

  #repairBarrier(node: number): void {
    this.words[this.cell + LOST_ASKS] = 0;
    Atomics.store(this.words, this.cell + BROKEN, 0);
    this.dropOldest(node);
  }

  /** Lets a round pass, unless one of it has changed its mind. */
  #pass(): void {
    const first = this.words[this.cell + HEAD] as number;
    let node = first;
    for (let party = 0; party < this.parties; party += 1) {
      if (Atomics.compareExchange(this.words, node + NODE_STATE, WAITING, CLAIMED) !== WAITING) {
        this.#unclaim(first, node);
        return;
      }
      this.words[node + NODE_OUTCOME] = party === this.parties - 1 ? PASSED_LAST : PASSED;
      node = this.words[node + QUEUE_NEXT] as number;
    }
    Atomics.store(this.words, this.cell + PASSING, 1);
    for (let party = 0; party < this.parties; party += 1) {
      this.settleOldest(this.words[this.cell + HEAD] as number, CLAIMED, GRANTED);
    }
    Atomics.store(this.words, this.cell + PASSING, 0);
  }

  #unclaim(first: number, end: number): void {
    for (let node = first; node !== end; node = this.words[node + QUEUE_NEXT] as number) {
      Atomics.store(this.words, node + NODE_STATE, WAITING);
    }
  }

  protected override repair(): void {
    if (Atomics.load(this.words, this.cell + PASSING) === 0) return;
    this.settleClaimed(0, GRANTED);
    Atomics.store(this.words, this.cell + PASSING, 0);
  }
}

const TYPE = "Barrier";
/**
 * Async flows make more parties than threads possible. The latch holder looks at all of them at
 * each arrival.
 */
const PARTIES_MAX = 1024;
const rules = { parties: integer(1, PARTIES_MAX, 1) } satisfies Rules;

/**
 * Lets a number of parties wait for each other, round after round. A party is a thread, or an async
 * flow on one.
 *
 * It breaks when a thread dies that has ever arrived at it and hasn't called `leave`, and when a
 * party gives up while it waits. Then all parties that wait, and all that arrive, get
 * `ERR_BARRIER_BROKEN`, until `reset()`. Each method throws `ERR_SYNC_CLOSED` after `close()`.
 */
export class Barrier {
  readonly #space: SyncSpace;
  readonly #core: BarrierCore;
  /** A plain value that `Barrier.from` takes in any thread of this process; once per thread. */
  readonly handle: SyncHandle;

  /**
   * Makes a new barrier for 1 to 1024 parties. `of` is what `from` passes. Throws
   * `ERR_INVALID_OPTION`, `ERR_SYNC_SPACE_FULL`.
   */
  constructor(parties: number, space: SyncSpace = currentSpace(), of?: SyncHandle) {
    if (of === undefined) resolveOptions(TYPE, rules, { parties });
    const cell = of === undefined ? space.takeCell(BARRIER) : cellOf(space, TYPE, of);
    this.#space = space;
    this.#core = new BarrierCore(space, cell);
    this.handle = of ?? handleOf(space, TYPE, cell);
    if (of === undefined) this.#core.setParties(parties);
  }

  /** The barrier that a handle names. Throws `ERR_SYNC_HANDLE`, `ERR_SYNC_CLOSED`. */
  static from(handle: SyncHandle, space: SyncSpace = currentSpace()): Barrier {
    return new Barrier(0, space, handle);
  }

  get parties(): number {
    return this.#core.parties;
  }

  get isBroken(): boolean {
    return this.#core.isBroken;
  }

  /**
   * Blocks the thread until all parties have arrived. Returns true for the party that came last.
   * Not on the main thread (`ERR_BLOCKING_MAIN`). Throws `ERR_BARRIER_BROKEN`, and
   * `ERR_SYNC_TIMEOUT` when `timeoutMs` have passed, which breaks the barrier for the others.
   */
  wait(options?: BlockOptions): boolean {
    this.#assertOpen();
    const timeoutMs = timeLimit("Barrier.wait", options);
    // Before it arrives: an arrival that is taken back breaks the barrier.
    assertMayBlock(this.#space, "Barrier.wait", "waitAsync");
    const node = this.#core.arrive(0, this.#space.thread);
    const isServedInTime = isServed(this.#space.words, node) || block(this.#space, this.#core, node, timeoutMs);
    return this.#isLast(node, isServedInTime, timeoutMs);
  }

  /**
   * Resolves when all parties have arrived, with true for the party that came last. Rejects with
   * `ERR_BARRIER_BROKEN`; with `ERR_SYNC_TIMEOUT` or the signal's reason, and then the barrier is
   * broken for the others.
   */
  async waitAsync(options?: WaitOptions): Promise<boolean> {
    this.#assertOpen();
    const given = waitOptions("Barrier.waitAsync", options);
    const waits = asyncWaits(this.#space);
    const node = this.#core.arrive(ASKS_ASYNC, waits.thread);
    return this.#isLast(node, await waits.wait(this.#core, node, given), given.timeoutMs);
  }

  /**
   * This thread takes no part any more: its end doesn't break the barrier. Arriving again makes it
   * a member again.
   */
  leave(): void {
    this.#core.leave();
  }

  /**
   * Makes a broken barrier whole. Parties that wait in a round that isn't complete get
   * `ERR_BARRIER_BROKEN`.
   */
  reset(): void {
    this.#assertOpen();
    this.#core.reset();
  }

  /** Gives the barrier's place in memory back. Throws `ERR_SYNC_IN_USE` while anybody waits. */
  close(): void {
    this.#core.leave();
    if (!isOpen(this.#space, this.handle)) return;
    if (!this.#core.close()) throw syncError("ERR_SYNC_IN_USE", "close: somebody waits at the barrier");
  }

  #isLast(node: number, isServedInTime: boolean, timeoutMs: number): boolean {
    if (!isServedInTime) {
      throw syncError("ERR_SYNC_TIMEOUT", `not all ${this.parties} parties have arrived within ${timeoutMs} ms`);
    }
    const outcome = this.#core.outcome(node);
    if (outcome === IS_BROKEN) {
      throw syncError("ERR_BARRIER_BROKEN", "a party of the barrier has died or given up, or it was reset");
    }
    return outcome === PASSED_LAST;
  }

  #assertOpen(): void {
    if (this.#core.kind === this.handle.generation) return;
    this.#core.leave();
    assertOpen(this.#space, this.handle);
  }
}
