/**
 * Permits: the core of semaphores and read-write locks.
 *
 * Source: Tokio's batch semaphore for permits that are given to the oldest waiter instead of being
 * left for the first that comes.
 *
 * A party holds permits through a node in the state HELD with NEED. That state is the one commit,
 * both of taking and of giving back:
 *
 *   FREE ──with the latch──► HELD            taken at once
 *   WAITING ──latch holder──► HELD           given to the oldest waiter
 *   HELD ──with the latch──► FREE            given back
 *   HELD ──owner──► RELEASING ──latch holder──► FREE, where another thread has the latch
 *
 * Words of the cell beyond the monitor's:
 *
 *   PERMITS  how many there are; written before any other thread knows the object, and read once by
 *            each thread's view of it: the thread that closes the object writes 0
 *   TAKEN    how many are held; under the latch, derived from the nodes and derived again after a
 *            death. The permits of a dead thread come back by this alone.
 *
 * First come, first served: nobody is served before an older waiter, so a large request isn't
 * starved by small ones, a writer not by readers, and readers not by writers.
 *
 * After the death of a party that held with ASKS_EXCLUSIVE every party that gets permits learns of
 * it (RECOVERED), until an exclusive party has had them. The word for that is LOST_ASKS. It is
 * cleared after the exclusive party's commit: a death in between tells one party more, never one
 * less.
 *
 * Rejected: TAKEN as a word that every thread changes by compare-and-swap (a death between that and
 * the holder's node leaks permits, or gives them twice); a count per thread (a node per party is
 * needed for waiting anyway).
 */
import { CELL_KIND_WORDS, HEAD, LOST_ASKS } from "../objects/cell.ts";
import { Monitor } from "../objects/monitor.ts";
import {
  ASKS_KIND,
  HELD,
  NODE_ASKS,
  NODE_NEED,
  NODE_OUTCOME,
  NODE_STATE,
  ORDER,
  RELEASING,
  WAITING,
} from "../objects/node.ts";
import type { SyncSpace } from "../objects/space.ts";

const PERMITS = CELL_KIND_WORDS;
const TAKEN: number = CELL_KIND_WORDS + 1;

/** ASKS of a node: no other party holds permits meanwhile, and its death is reported. */
export const ASKS_EXCLUSIVE: number = ASKS_KIND;

const RECOVERED = 1;

/** Far from the end of the numbers: sums of several requests stay exact. */
export const PERMITS_MAX: number = 1 << 20;

export class PermitsCore extends Monitor {
  #permits: number;

  constructor(space: SyncSpace, cell: number) {
    super(space, cell);
    this.#permits = Atomics.load(this.words, cell + PERMITS);
  }

  /** Of a new object, before anybody else knows it. */
  setPermits(permits: number): void {
    this.#permits = permits;
    Atomics.store(this.words, this.cell + PERMITS, permits);
  }

  /**
   * Number of permits in all; 0 when the object was being closed while this view of it was made.
   */
  get permits(): number {
    return this.#permits;
  }

  /** Number of permits that nobody holds; stale at once. */
  get available(): number {
    return this.permits - Atomics.load(this.words, this.cell + TAKEN);
  }

  /**
   * A node that holds `need` permits, which were to be had at once and without overtaking anybody;
   * 0 otherwise, also where another thread keeps the latch for longer than usual.
   */
  tryTake(need: number, asks: number): number {
    this.stack.assertRoomUntilWarm();
    const node = this.space.takeNode();
    try {
      if (!this.enterSoon(this.space.spins)) {
        this.space.giveNode(node);
        return 0;
      }
      const isTaken = this.#takeNow(node, need, asks, 0);
      if (!isTaken) this.space.giveNode(node);
      this.unlatch();
      return isTaken ? node : 0;
    } catch (thrown) {
      this.breakOff();
      throw thrown;
    }
  }

  /** A node that holds `need` permits, or waits for them: then its state isn't HELD yet. */
  take(need: number, asks: number, wakes: number): number {
    this.stack.assertRoomUntilWarm();
    const node = this.space.takeNode();
    if (!this.tryLatch()) {
      this.fillNode(node, need, asks, wakes);
      this.post(node, WAITING);
      this.pump();
      return node;
    }
    try {
      if (!this.#takeNow(node, need, asks, wakes)) {
        this.fillNode(node, need, asks, wakes);
        this.post(node, WAITING);
      }
      this.unlatch();
      return node;
    } catch (thrown) {
      this.breakOff();
      throw thrown;
    }
  }

  /** With the latch. */
  #takeNow(node: number, need: number, asks: number, wakes: number): boolean {
    this.settleInbox();
    this.serve();
    if (this.words[this.cell + HEAD] !== 0 || !this.#fits(need)) return false;
    this.fillNode(node, need, asks, wakes);
    this.words[node + NODE_OUTCOME] = this.#outcome();
    Atomics.store(this.words, node + NODE_STATE, HELD);
    this.#count(need, asks);
    return true;
  }

  /** Whether the holder of `node` was told that an exclusive holder had died. */
  isRecovered(node: number): boolean {
    return this.words[node + NODE_OUTCOME] === RECOVERED;
  }

  /**
   * Whether this thread holds so much itself that it would wait for itself; `isShared` says whether
   * others could make way for it.
   */
  wouldWaitForItself(need: number, isShared: boolean): boolean {
    const own = this.space.ownHeld(this.cell);
    return isShared ? own + need > this.permits : own > 0;
  }

  /** Gives back the permits of a node of this thread. */
  release(node: number): void {
    // Before the first step: the permits must be free, and waiters served, then.
    this.stack.assertRoomUntilWarm();
    if (this.tryLatch()) {
      const need = this.words[node + NODE_NEED] as number;
      this.space.giveNode(node);
      this.#setTaken(this.#taken() - need);
      this.unlatch();
      return;
    }
    // Before the state: a node that is RELEASING and has an order was counted already.
    this.words[node + ORDER] = 0;
    this.post(node, RELEASING);
    this.space.leaveNode(node);
    this.pump();
  }

  protected override serve(): void {
    // Ends: each round serves or drops a node.
    for (;;) {
      const node = this.oldest();
      if (node === 0) return;
      const need = this.words[node + NODE_NEED] as number;
      if (!this.#fits(need)) return;
      const asks = this.words[node + NODE_ASKS] as number;
      this.words[node + NODE_OUTCOME] = this.#outcome();
      if (this.settleOldest(node, WAITING, HELD)) this.#count(need, asks);
    }
  }

  protected override released(node: number): void {
    this.#setTaken(this.#taken() - (this.words[node + NODE_NEED] as number));
  }

  protected override repair(): void {
    this.#setTaken(this.heldInAll());
  }

  protected override shut(): boolean {
    return this.#taken() === 0;
  }

  #fits(need: number): boolean {
    return this.#taken() + need <= this.permits;
  }

  #outcome(): number {
    return ((this.words[this.cell + LOST_ASKS] as number) & ASKS_EXCLUSIVE) === 0 ? 0 : RECOVERED;
  }

  /** Counts a node that has become HELD. */
  #count(need: number, asks: number): void {
    this.#setTaken(this.#taken() + need);
    if ((asks & ASKS_EXCLUSIVE) !== 0) this.words[this.cell + LOST_ASKS] = 0;
  }

  #taken(): number {
    return this.words[this.cell + TAKEN] as number;
  }

  /** By an atomic store, for threads that look without the latch. */
  #setTaken(taken: number): void {
    Atomics.store(this.words, this.cell + TAKEN, taken);
  }
}
