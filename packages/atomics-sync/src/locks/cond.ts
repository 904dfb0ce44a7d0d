/**
 * A condition variable between threads, tied to a mutex.
 *
 * Source: Go's sync.Cond and its list of tickets (src/runtime/sema.go, notifyList): a party that
 * was registered before a signal gets it, in order.
 *
 * Words of the cell beyond the monitor's:
 *
 *   MUTEX, MUTEX_GENERATION   which mutex; written before anybody else knows the object
 *   WAITERS                   parties that wait, or have not come back yet: 0 spares a signal the
 *                             latch. A death leaves it too high, which costs that time and nothing
 *                             else
 *   SIGNALS, BROADCASTS       how often each was asked for; counted up by any thread
 *   SIGNALS_DONE, BROADCASTS_DONE   how many of those were carried out; under the latch
 *
 * The signalling thread counts a signal, then the latch holder carries it out: the same thread, or
 * the one that has the latch. It loads the counts first and puts the inbox in order second, so a
 * party that was registered before the signal is in the queue then. It counts a signal as done
 * after it has served a party: a death in between wakes one more.
 *
 * A thread that signals while it has the mutex wakes nobody before it has released that. If it dies
 * in between, its burial wakes everybody.
 *
 * A waiting party's node stays GRANTED until it has the mutex again. If its thread dies before,
 * burial finds the object by it, and all others are woken (`repair`): the signal may have been for
 * them.
 *
 * Rejected: moving waiters from here to the mutex's queue on a broadcast (two latches at once, for
 * a case that is rare).
 */
import { assertMayBlock, block } from "../objects/block.ts";
import { runWithin } from "../threads/blocking.ts";
import { asyncWaits, currentSpace } from "../objects/current.ts";
import { syncError } from "../errors.ts";
import { assertOpen, cellOf, handleOf, isOpen, type SyncHandle } from "../objects/handle.ts";
import { COND } from "../objects/kinds.ts";
import { CELL_KIND_WORDS, ownsCell } from "../objects/cell.ts";
import { Monitor } from "../objects/monitor.ts";
import { failureOf, type Hold, type Mutex, notHeld } from "./mutex.ts";
import { lockInEventLoop, MutexCore, OWNED, OWNED_RECOVERED, SELF } from "./mutex-core.ts";
import { ASKS_ASYNC, GRANTED, WAITING } from "../objects/node.ts";
import type { SyncSpace } from "../objects/space.ts";
import { type BlockOptions, timeLimit, waitOptions, type WaitOptions } from "../objects/wait-options.ts";

const MUTEX_CELL = CELL_KIND_WORDS;
const MUTEX_GENERATION: number = CELL_KIND_WORDS + 1;
const WAITERS: number = CELL_KIND_WORDS + 2;
const SIGNALS: number = CELL_KIND_WORDS + 3;
const BROADCASTS: number = CELL_KIND_WORDS + 4;
const SIGNALS_DONE: number = CELL_KIND_WORDS + 5;
const BROADCASTS_DONE: number = CELL_KIND_WORDS + 6;

export class CondCore extends Monitor {
  /**
   * Of its own: by the time of a wake-up the condition may be closed, and the word another
   * object's.
   */
  #mutex: number;

  constructor(space: SyncSpace, cell: number) {
    super(space, cell);
    this.#mutex = Atomics.load(this.words, cell + MUTEX_CELL);
  }

  /** Of a new object, before any other thread knows it. */
  tie(mutex: SyncHandle): void {
    this.#mutex = mutex.cell;
    this.words[this.cell + MUTEX_CELL] = mutex.cell;
    this.words[this.cell + MUTEX_GENERATION] = mutex.generation;
  }

  mutexHandle(space: number): SyncHandle {
    const cell = this.words[this.cell + MUTEX_CELL] as number;
    return { type: "Mutex", space, cell, generation: this.words[this.cell + MUTEX_GENERATION] as number };
  }

  /** A node that the next signals find. Before the mutex is released. */
  register(asks: number, wakes: number): number {
    const node = this.prepareNode(0, asks, wakes);
    Atomics.add(this.words, this.cell + WAITERS, 1);
    this.post(node, WAITING);
    this.pump();
    return node;
  }

  /** The party of `node` has the mutex again; it had been told unless `isTold` is false. */
  leave(node: number, isTold: boolean): void {
    if (isTold) this.space.giveNode(node);
    if (!this.isClosed()) Atomics.sub(this.words, this.cell + WAITERS, 1);
  }

  /**
   * A party that is woken wants the mutex at once: woken before it is free, it would have to sleep
   * a second time.
   */
  protected override lockAhead(): number {
    return this.#mutex !== 0 && ownsCell(this.words, this.#mutex, this.space.thread) ? this.#mutex : 0;
  }

  signal(): void {
    this.#ask(SIGNALS);
  }

  broadcast(): void {
    this.#ask(BROADCASTS);
  }

  #ask(word: number): void {
    if (Atomics.load(this.words, this.cell + WAITERS) === 0) return;
    // Before the signal counts: it must be carried out then.
    this.stack.assertRoom();
    Atomics.add(this.words, this.cell + word, 1);
    this.pump();
  }

  protected override serve(): void {
    const cell = this.cell;
    // Ends: each round carries out the signals that were counted, and a thread must ask for more.
    for (;;) {
      const signals = Atomics.load(this.words, cell + SIGNALS);
      const broadcasts = Atomics.load(this.words, cell + BROADCASTS);
      const isForAll = broadcasts !== this.words[cell + BROADCASTS_DONE];
      if (!isForAll && signals === this.words[cell + SIGNALS_DONE]) return;
      this.settleInbox();
      if (isForAll) {
        for (let node = this.oldest(); node !== 0; node = this.oldest()) this.settleOldest(node, WAITING, GRANTED);
        this.words[cell + BROADCASTS_DONE] = broadcasts;
        this.words[cell + SIGNALS_DONE] = signals;
      } else this.#carryOut(signals);
    }
  }

  /** Carries one signal out, or all up to `signals` when nobody waits. */
  #carryOut(signals: number): void {
    const done = this.cell + SIGNALS_DONE;
    const node = this.oldest();
    if (node === 0) this.words[done] = signals;
    else if (this.settleOldest(node, WAITING, GRANTED)) this.words[done] = ((this.words[done] as number) + 1) | 0;
  }

  protected override repair(): void {
    this.words[this.cell + BROADCASTS_DONE] = (Atomics.load(this.words, this.cell + BROADCASTS) - 1) | 0;
  }
}

const TYPE = "Cond";

/**
 * A condition variable between threads. A party that holds its mutex waits until another one, which
 * has changed the data under the mutex, signals. Check the condition in a loop: another party may
 * have been there first, and a death wakes all parties that wait.
 */
export class Cond {
  readonly #space: SyncSpace;
  readonly #core: CondCore;
  readonly #mutex: MutexCore;
  /** A plain value that `Cond.from` takes in any thread of this process. */
  readonly handle: SyncHandle;

  /**
   * Makes a new condition of `mutex`. `of` is what `from` passes. Throws `ERR_SYNC_SPACE_FULL`,
   * `ERR_SYNC_CLOSED`.
   */
  constructor(mutex: Mutex | undefined, space: SyncSpace = currentSpace(), of?: SyncHandle) {
    if (mutex !== undefined) cellOf(space, "Mutex", mutex.handle);
    const cell = of === undefined ? space.takeCell(COND) : cellOf(space, TYPE, of);
    this.#space = space;
    this.#core = new CondCore(space, cell);
    this.handle = of ?? handleOf(space, TYPE, cell);
    if (mutex !== undefined) this.#core.tie(mutex.handle);
    this.#mutex = new MutexCore(space, cellOf(space, "Mutex", this.#core.mutexHandle(space.id)));
  }

  /**
   * The condition that a handle names. Throws `ERR_SYNC_HANDLE`, `ERR_SYNC_CLOSED`, also when its
   * mutex was closed.
   */
  static from(handle: SyncHandle, space: SyncSpace = currentSpace()): Cond {
    return new Cond(undefined, space, handle);
  }

  /**
   * Releases the mutex that `hold` stands for, blocks the thread until it is signalled, and takes
   * the mutex again; `hold.isRecovered` then belongs to this last time. Not on the main thread
   * (`ERR_BLOCKING_MAIN`). After `timeoutMs` it also takes the mutex again, and throws
   * `ERR_SYNC_TIMEOUT`. Throws `ERR_LOCK_NOT_HELD` when `hold` is over or of another mutex. If it
   * can't get the mutex again (`ERR_LOCK_ABANDONED`), the hold is over.
   */
  wait(hold: Hold, options?: BlockOptions): void {
    const timeoutMs = timeLimit("Cond.wait", options);
    this.#assertReady(hold);
    assertMayBlock(this.#space, "Cond.wait", "waitAsync");
    // They couldn't go on while this thread blocks, and it may have to wait behind them.
    if (this.#mutex.isAwaitedByOwnLoop()) throw failureOf(SELF, undefined);
    const { node, again } = this.#register(hold, 0, this.#space.thread);
    let isTold = false;
    try {
      isTold = block(this.#space, this.#core, node, timeoutMs);
    } finally {
      let outcome = 0;
      try {
        // Also when the context around the wait is over.
        outcome = runWithin(undefined, () => this.#mutex.lockAgain(again));
      } finally {
        this.#core.leave(node, isTold);
      }
      this.#resume(hold, outcome);
    }
    if (!isTold) throw timedOut(timeoutMs);
  }

  /**
   * As `wait`, without blocking the thread. The mutex is taken again when it resolves, and also
   * when it rejects with `ERR_SYNC_TIMEOUT` or with the signal's reason.
   */
  async waitAsync(hold: Hold, options?: WaitOptions): Promise<void> {
    const given = waitOptions("Cond.waitAsync", options);
    this.#assertReady(hold);
    const waits = asyncWaits(this.#space);
    const { node, again } = this.#register(hold, ASKS_ASYNC, waits.thread);
    let isTold = false;
    try {
      isTold = await waits.wait(this.#core, node, given);
    } finally {
      let outcome = 0;
      try {
        outcome = await lockInEventLoop(this.#space, this.#mutex, {}, again);
      } finally {
        this.#core.leave(node, isTold);
      }
      this.#resume(hold, outcome);
    }
    if (!isTold) throw timedOut(given.timeoutMs);
  }

  /**
   * Makes this party one that waits, and releases the mutex. Takes the node by which the party
   * waits for the mutex again first: that wait must not be refused for want of one.
   */
  #register(hold: Hold, asks: number, wakes: number): { readonly node: number; readonly again: number } {
    const again = this.#space.takeNode();
    let node = 0;
    try {
      node = this.#core.register(asks, wakes);
    } catch (thrown) {
      this.#space.giveNode(again);
      throw thrown;
    }
    hold.suspend(this.#mutex);
    return { node, again };
  }

  /** Wakes the party that has waited longest, if any does. With or without the mutex. */
  signal(): void {
    this.#assertOpen();
    this.#core.signal();
  }

  /** Wakes all parties that wait. With or without the mutex. */
  broadcast(): void {
    this.#assertOpen();
    this.#core.broadcast();
  }

  /**
   * Gives the condition's place in memory back; its mutex stays. Throws `ERR_SYNC_IN_USE` while
   * anybody waits.
   */
  close(): void {
    if (!isOpen(this.#space, this.handle)) return;
    if (!this.#core.close()) throw syncError("ERR_SYNC_IN_USE", "close: somebody waits for the condition");
  }

  #assertReady(hold: Hold): void {
    this.#assertOpen();
    if (!hold.isHeldOf(this.#mutex)) throw notHeld();
  }

  #resume(hold: Hold, outcome: number): void {
    if (outcome !== OWNED && outcome !== OWNED_RECOVERED) throw failureOf(outcome, undefined);
    hold.resume(outcome);
  }

  #assertOpen(): void {
    if (this.#core.kind !== this.handle.generation) assertOpen(this.#space, this.handle);
  }
}

function timedOut(timeoutMs: number): Error {
  return syncError("ERR_SYNC_TIMEOUT", `the condition was not signalled within ${timeoutMs} ms`);
}
