/**
 * A wait group between threads: a number of units of work that are still to be done, and parties
 * that wait until there are none.
 *
 * Source: Go's sync.WaitGroup. Claims are our own: Go's goroutines don't die alone.
 *
 * STATE:
 *
 *   bit  0     WAITERS  a thread that brings the rest to 0 must look after the queue; set and
 *                       cleared by the latch holder
 *   bit  1     MOVING   a unit was taken from COUNT for the one node that is CLAIMED; set and
 *                       cleared by the latch holder
 *   bit  2     CLAIMED  CLAIMS isn't 0; set with MOVING, cleared after CLAIMS, by the latch holder
 *   bits 3–31  COUNT    units that nobody has claimed, up to 2²⁸; any thread
 *
 * and in the cell, under the latch:
 *
 *   CLAIMS  units that are claimed: HELD nodes; derived from them again after a death, so the claims
 *           of a dead thread are over
 *
 * The group is done when STATE is 0. One word says so, because two that are read one after the
 * other may each be 0 at its time although a unit was open all the time. Adding and finishing are
 * a compare-and-swap each, unless a party waits.
 *
 * A claim moves a unit from COUNT into a node: CLAIMED, then STATE with COUNT − 1, MOVING and
 * CLAIMED (the commit), then CLAIMS + 1 and HELD, then MOVING is cleared. If the latch holder dies
 * in between, MOVING says that the unit belongs to the node that is CLAIMED; if that is a dead
 * thread's too (LOST_CLAIMED), the unit goes back to COUNT.
 *
 * Rejected: a claim as a mark on a unit that stays in COUNT (a death between taking the mark off
 * and counting down leaves a unit that nobody finishes, or finishes it twice); a count per thread
 * in the group (as many words as threads, for each group).
 */
import { assertMayBlock, block, isServed } from "../objects/block.ts";
import { asyncWaits, currentSpace } from "../objects/current.ts";
import { syncError } from "../errors.ts";
import { assertOpen, cellOf, handleOf, isOpen, type SyncHandle } from "../objects/handle.ts";
import { WAIT_GROUP } from "../objects/kinds.ts";
import { CELL_KIND_WORDS, CELL_STATE, CLOSED, LOST, LOST_ASKS, LOST_CLAIMED } from "../objects/cell.ts";
import { Monitor } from "../objects/monitor.ts";
import {
  ASKS_ASYNC,
  ASKS_FRONT,
  ASKS_KIND,
  CLAIMED,
  GRANTED,
  HELD,
  NODE_ASKS,
  NODE_OUTCOME,
  NODE_STATE,
  ORDER,
  RELEASING,
  WAITING,
} from "../objects/node.ts";
import type { SyncSpace } from "../objects/space.ts";
import { type BlockOptions, timeLimit, waitOptions, type WaitOptions } from "../objects/wait-options.ts";

const WAITERS = 1;
const MOVING = 2;
const HAS_CLAIMS = 4;
const FLAGS: number = WAITERS | MOVING | HAS_CLAIMS;
const COUNT_SHIFT = 3;
const COUNT_MAX: number = 2 ** 28;

const CLAIMS = CELL_KIND_WORDS;

/** ASKS of a node: it wants a unit for itself. */
const ASKS_CLAIM = ASKS_KIND;

/** Outcomes of a node: there is no unit to claim. Of a wait it is how many units were abandoned. */
const REFUSED = -1;

export class WaitGroupCore extends Monitor {
  get count(): number {
    return (
      (Atomics.load(this.words, this.cell + CELL_STATE) >>> COUNT_SHIFT) + Atomics.load(this.words, this.cell + CLAIMS)
    );
  }

  /**
   * Adds to the count; false, and nothing has happened, when it would be less than 0 or too large.
   */
  add(units: number): boolean {
    // A plain read: a stale value only fails the compare-and-swap.
    const state = this.words[this.cell + CELL_STATE] as number;
    const count = (state >>> COUNT_SHIFT) + units;
    if ((state & WAITERS) === 0 && count >= 0 && count <= COUNT_MAX) {
      const next = (count << COUNT_SHIFT) | (state & FLAGS);
      if (Atomics.compareExchange(this.words, this.cell + CELL_STATE, state, next) === state) return true;
    }
    return this.#addSlow(units);
  }

  /**
   * With parties that wait, with other threads in the way, and with a group that is closed: CLOSED
   * has the bit WAITERS.
   */
  #addSlow(units: number): boolean {
    let state = Atomics.load(this.words, this.cell + CELL_STATE);
    // Ends: each failure means that another thread has changed the state.
    for (;;) {
      if (state === CLOSED) {
        if (!this.#staysOpen()) return false;
        state = Atomics.load(this.words, this.cell + CELL_STATE);
        continue;
      }
      const count = (state >>> COUNT_SHIFT) + units;
      if (count < 0 || count > COUNT_MAX) return false;
      // Before the step: those that wait must be told then.
      if (count === 0 && (state & WAITERS) !== 0) this.stack.assertRoom();
      const next = (count << COUNT_SHIFT) | (state & FLAGS);
      const seen = Atomics.compareExchange(this.words, this.cell + CELL_STATE, state, next);
      if (seen === state) {
        if (count === 0 && (state & WAITERS) !== 0) this.pump();
        return true;
      }
      state = seen;
    }
  }

  #staysOpen(): boolean {
    // The thread that was closing it may have died.
    this.pump();
    return this.staysOpen(() => this.#isShut());
  }

  #isShut(): boolean {
    return Atomics.load(this.words, this.cell + CELL_STATE) === CLOSED;
  }

  /** Whether all was done at the moment of the look, and there is nothing to tell. */
  isDone(): boolean {
    // LOST second: a death is noted there before the claim that it has ended leaves STATE.
    return Atomics.load(this.words, this.cell + CELL_STATE) === 0 && Atomics.load(this.words, this.cell + LOST) === 0;
  }

  /** A node that waits until all is done, or asks for a unit. */
  enqueue(asks: number, wakes: number): number {
    const node = this.prepareNode(1, asks, wakes);
    this.post(node, WAITING);
    this.pump();
    return node;
  }

  /**
   * Number of units that were abandoned before the wait of a served node was over. Frees the node.
   */
  abandoned(node: number): number {
    const abandoned = this.words[node + NODE_OUTCOME] as number;
    this.space.giveNode(node);
    return abandoned;
  }

  /** Whether a node that asked for a unit, and was served, has one; it is free otherwise. */
  isClaimed(node: number): boolean {
    if (Atomics.load(this.words, node + NODE_STATE) === HELD) return true;
    this.space.giveNode(node);
    return false;
  }

  /** The unit that `node` has is done. */
  release(node: number): void {
    // Before the state: a node that is RELEASING and has an order was counted already.
    this.words[node + ORDER] = 0;
    this.post(node, RELEASING);
    this.space.leaveNode(node);
    this.pump();
  }

  protected override serve(): void {
    // Ends: a step that doesn't return has served or dropped a node, or another thread has changed
    // the state.
    for (;;) {
      const state = Atomics.load(this.words, this.cell + CELL_STATE);
      const node = this.oldest();
      if (node !== 0 && this.#isClaim(node)) this.#serveClaim(state, node);
      else {
        const isOver = (state & ~WAITERS) === 0;
        if (isOver && node !== 0) this.#tellAll();
        else if (this.#move(state, node === 0 ? state & ~WAITERS : state | WAITERS)) return;
      }
    }
  }

  #isClaim(node: number): boolean {
    return ((this.words[node + NODE_ASKS] as number) & ASKS_CLAIM) !== 0;
  }

  #serveClaim(state: number, node: number): void {
    if (state >>> COUNT_SHIFT === 0) {
      this.words[node + NODE_OUTCOME] = REFUSED;
      this.settleOldest(node, WAITING, GRANTED);
      return;
    }
    if (Atomics.compareExchange(this.words, node + NODE_STATE, WAITING, CLAIMED) !== WAITING) return;
    if (!this.#move(state, (state - (1 << COUNT_SHIFT)) | MOVING | HAS_CLAIMS)) {
      Atomics.store(this.words, node + NODE_STATE, WAITING);
      return;
    }
    // Before HELD: its owner may release it at once, but that is counted by the latch holder.
    Atomics.add(this.words, this.cell + CLAIMS, 1);
    this.settleOldest(node, CLAIMED, HELD);
    Atomics.and(this.words, this.cell + CELL_STATE, ~MOVING);
  }

  /** Tells all parties that wait: all was done, whatever is added meanwhile. */
  #tellAll(): void {
    for (let node = this.oldest(); node !== 0 && !this.#isClaim(node); node = this.oldest()) {
      this.words[node + NODE_OUTCOME] = this.words[this.cell + LOST] as number;
      this.settleOldest(node, WAITING, GRANTED);
    }
    Atomics.store(this.words, this.cell + LOST, 0);
  }

  #move(state: number, next: number): boolean {
    return state === next || Atomics.compareExchange(this.words, this.cell + CELL_STATE, state, next) === state;
  }

  protected override released(_node: number): void {
    if (Atomics.sub(this.words, this.cell + CLAIMS, 1) > 1) return;
    Atomics.and(this.words, this.cell + CELL_STATE, ~HAS_CLAIMS);
  }

  protected override repair(): void {
    const isMoving = (Atomics.load(this.words, this.cell + CELL_STATE) & MOVING) !== 0;
    if (isMoving) this.settleClaimed(0, HELD);
    const claims = this.heldInAll();
    Atomics.store(this.words, this.cell + CLAIMS, claims);
    const isBack = ((this.words[this.cell + LOST_ASKS] as number) & LOST_CLAIMED) !== 0;
    // One step: MOVING goes, and the unit comes back if its claimer died before it had it.
    if (isMoving) Atomics.add(this.words, this.cell + CELL_STATE, isBack ? (1 << COUNT_SHIFT) - MOVING : -MOVING);
    if (claims === 0) Atomics.and(this.words, this.cell + CELL_STATE, ~HAS_CLAIMS);
    this.words[this.cell + LOST_ASKS] = 0;
  }

  protected override shut(): boolean {
    return Atomics.compareExchange(this.words, this.cell + CELL_STATE, 0, CLOSED) === 0;
  }

  protected override reopen(): void {
    Atomics.compareExchange(this.words, this.cell + CELL_STATE, CLOSED, 0);
  }
}

/** The outcome of a wait. */
export interface WaitGroupResult {
  /**
   * Number of claimed units whose thread has died since a wait was last over. Their work may be
   * half done.
   */
  readonly abandoned: number;
}

const NOTHING_ABANDONED: WaitGroupResult = Object.freeze({ abandoned: 0 });

/**
 * One unit of work that a thread has made its own. `using` finishes it. So does the death of the
 * thread, and the wait then reports it.
 */
export class Claim implements Disposable {
  readonly #core: WaitGroupCore;
  readonly #node: number;
  #isOver = false;

  constructor(core: WaitGroupCore, node: number) {
    this.#core = core;
    this.#node = node;
  }

  /**
   * The unit is done. Call it in the thread that has claimed the unit. Throws `ERR_LOCK_NOT_HELD`
   * the second time.
   */
  done(): void {
    if (this.#isOver) throw syncError("ERR_LOCK_NOT_HELD", "the unit was finished already");
    this.#isOver = true;
    this.#core.release(this.#node);
  }

  /** Finishes the unit unless that was done. */
  [Symbol.dispose](): void {
    if (!this.#isOver) this.done();
  }
}

const TYPE = "WaitGroup";

/**
 * Waits until a number of units of work are done, on any threads. Call `add` before you hand out
 * the work, `done` once per unit, and `wait` for all. As in Go a group may be used again. Units
 * that are added before all waits of the last round are over already belong to the next round.
 *
 * A unit whose thread dies stays undone for ever, unless the thread has claimed it. Each method
 * throws `ERR_SYNC_CLOSED` after `close()`.
 */
export class WaitGroup {
  readonly #space: SyncSpace;
  readonly #core: WaitGroupCore;
  /** A plain value that `WaitGroup.from` takes in any thread of this process. */
  readonly handle: SyncHandle;

  /**
   * Makes a new group with nothing to do. `of` is what `from` passes. Throws `ERR_SYNC_SPACE_FULL`.
   */
  constructor(space: SyncSpace = currentSpace(), of?: SyncHandle) {
    const cell = of === undefined ? space.takeCell(WAIT_GROUP) : cellOf(space, TYPE, of);
    this.#space = space;
    this.#core = new WaitGroupCore(space, cell);
    this.handle = of ?? handleOf(space, TYPE, cell);
  }

  /** The group that a handle names. Throws `ERR_SYNC_HANDLE`, `ERR_SYNC_CLOSED`. */
  static from(handle: SyncHandle, space: SyncSpace = currentSpace()): WaitGroup {
    return new WaitGroup(space, handle);
  }

  /** Units that are to be done; stale at once. */
  get count(): number {
    return this.#core.count;
  }

  /**
   * Adds units, up to 2²⁸ in all, or takes them away. Throws `ERR_WAIT_GROUP_NEGATIVE` when fewer
   * than 0 unclaimed ones, or too many, would be left, and changes nothing then.
   */
  add(units: number = 1): void {
    this.#assertOpen();
    if (Number.isInteger(units) && this.#core.add(units)) return;
    this.#assertOpen();
    throw syncError("ERR_WAIT_GROUP_NEGATIVE", `add(${units}): ${this.#core.count} units are to be done`);
  }

  /** One unit is done. Throws `ERR_WAIT_GROUP_NEGATIVE` when no unclaimed one is left. */
  done(): void {
    this.add(-1);
  }

  /**
   * Makes one unit this thread's own: it counts as done when the thread says so, or dies. It may
   * have to wait for a moment; on the main thread it then throws `ERR_BLOCKING_MAIN`. Throws
   * `ERR_WAIT_GROUP_NEGATIVE` when no unclaimed unit is left.
   */
  claim(): Claim {
    this.#assertOpen();
    const node = this.#core.enqueue(ASKS_CLAIM | ASKS_FRONT, this.#space.thread);
    this.#waitFor(node, "claim", Infinity);
    return this.#claimed(node);
  }

  /** As `claim`; resolves with the claim. */
  async claimAsync(): Promise<Claim> {
    this.#assertOpen();
    const waits = asyncWaits(this.#space);
    const node = this.#core.enqueue(ASKS_CLAIM | ASKS_FRONT | ASKS_ASYNC, waits.thread);
    await waits.wait(this.#core, node, {});
    return this.#claimed(node);
  }

  /**
   * Blocks the thread until all is done. Not on the main thread, unless it is done already
   * (`ERR_BLOCKING_MAIN`). Throws `ERR_SYNC_TIMEOUT` when `timeoutMs` have passed.
   */
  wait(options?: BlockOptions): WaitGroupResult {
    this.#assertOpen();
    const timeoutMs = timeLimit("WaitGroup.wait", options);
    if (this.#core.isDone()) return NOTHING_ABANDONED;
    const node = this.#core.enqueue(0, this.#space.thread);
    if (!this.#waitFor(node, "wait", timeoutMs)) throw this.#timedOut(timeoutMs);
    return { abandoned: this.#core.abandoned(node) };
  }

  /** Resolves when all is done. Rejects with `ERR_SYNC_TIMEOUT`, or with the signal's reason. */
  async waitAsync(options?: WaitOptions): Promise<WaitGroupResult> {
    this.#assertOpen();
    const given = waitOptions("WaitGroup.waitAsync", options);
    if (this.#core.isDone()) return NOTHING_ABANDONED;
    const waits = asyncWaits(this.#space);
    const node = this.#core.enqueue(ASKS_ASYNC, waits.thread);
    if (!(await waits.wait(this.#core, node, given))) throw this.#timedOut(given.timeoutMs);
    return { abandoned: this.#core.abandoned(node) };
  }

  /**
   * Gives the group's place in memory back. Throws `ERR_SYNC_IN_USE` while anything is to be done
   * or anybody waits.
   */
  close(): void {
    if (!isOpen(this.#space, this.handle)) return;
    if (!this.#core.close()) throw syncError("ERR_SYNC_IN_USE", "close: units are to be done, or somebody waits");
  }

  #waitFor(node: number, form: string, timeoutMs: number): boolean {
    if (isServed(this.#space.words, node)) return true;
    if (!this.#space.mayBlock && this.#core.cancel(node)) {
      assertMayBlock(this.#space, `WaitGroup.${form}`, `${form}Async`);
    }
    return block(this.#space, this.#core, node, timeoutMs);
  }

  #claimed(node: number): Claim {
    if (this.#core.isClaimed(node)) return new Claim(this.#core, node);
    throw syncError("ERR_WAIT_GROUP_NEGATIVE", "claim: no unclaimed unit is to be done");
  }

  #timedOut(timeoutMs: number): Error {
    return syncError("ERR_SYNC_TIMEOUT", `${this.#core.count} units were still to be done after ${timeoutMs} ms`);
  }

  #assertOpen(): void {
    if (this.#core.kind !== this.handle.generation) assertOpen(this.#space, this.handle);
  }
}
