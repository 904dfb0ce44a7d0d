/**
 * A mutual exclusion lock between threads, as its users see it; mutex-core.ts says how it works.
 */
import { oneOf, resolveOptions, type Rules } from "@millrace/base";
import { assertMayBlock } from "../objects/block.ts";
import { currentSpace } from "../objects/current.ts";
import { syncError } from "../errors.ts";
import { assertOpen, cellOf, handleOf, isOpen, type SyncHandle } from "../objects/handle.ts";
import { MUTEX } from "../objects/kinds.ts";
import type { SyncSpace } from "../objects/space.ts";
import { ABANDONED, lockInEventLoop, MutexCore, OWNED, OWNED_RECOVERED, SELF, TAKEN, TIMED_OUT } from "./mutex-core.ts";
import { type BlockOptions, timeLimit, waitOptions, type WaitOptions } from "../objects/wait-options.ts";

const TYPE = "Mutex";

export interface MutexOptions {
  /**
   * What happens when the thread that holds the lock dies. "recover" (default): the next party gets
   * it, with `isRecovered` true, and should check the data that the lock protects. "fail": every
   * attempt throws `ERR_LOCK_ABANDONED` until `reset()` is called.
   */
  readonly onOwnerDeath?: "recover" | "fail";
}

const rules = { onOwnerDeath: oneOf(["recover", "fail"], "recover") } satisfies Rules;

/** A lock that is held. `using` releases it. */
export class Hold implements Disposable {
  readonly #core: MutexCore;
  #isRecovered = false;
  #isOver = true;

  /**
   * For Mutex: before the attempt, because nothing may fail between taking a lock and holding it.
   */
  constructor(core: MutexCore) {
    this.#core = core;
  }

  /**
   * Whether the last holder died while it had the lock: the data that it protects may be half
   * changed.
   */
  get isRecovered(): boolean {
    return this.#isRecovered;
  }

  /** For Cond: releases the lock of `core` for the length of a wait. Throws `ERR_LOCK_NOT_HELD`. */
  suspend(core: MutexCore): void {
    if (this.#isOver || !this.#core.isSameAs(core) || !this.#core.unlock()) throw notHeld();
    this.#isOver = true;
  }

  /** For Mutex and Cond: the lock was taken. Calls nothing, so it can't run out of stack. */
  resume(outcome: number): this {
    this.#core.space.locksHeld += 1;
    this.#isRecovered = outcome === OWNED_RECOVERED;
    this.#isOver = false;
    return this;
  }

  /** For Cond: whether it can be suspended. */
  isHeldOf(core: MutexCore): boolean {
    return !this.#isOver && this.#core.isSameAs(core) && core.isHeldByThisThread();
  }

  /** Releases the lock, in the thread that took it. Throws `ERR_LOCK_NOT_HELD` the second time. */
  unlock(): void {
    if (this.#isOver || !this.#core.unlock()) throw notHeld();
    this.#isOver = true;
  }

  /** Releases the lock unless that was done. */
  [Symbol.dispose](): void {
    if (!this.#isOver) this.unlock();
  }
}

/**
 * A mutual exclusion lock between threads, fair to those that wait long. It isn't reentrant. On one
 * thread several async flows may hold it in turn.
 *
 * Each method that takes the lock throws `ERR_SYNC_CLOSED` after `close()`, and
 * `ERR_LOCK_ABANDONED` as `onOwnerDeath` says.
 */
export class Mutex {
  readonly #space: SyncSpace;
  readonly #core: MutexCore;
  /** A plain value that `Mutex.from` takes in any thread of this process. */
  readonly handle: SyncHandle;

  /**
   * Makes a new lock, free. `of` is what `from` passes. Throws `ERR_INVALID_OPTION`,
   * `ERR_SYNC_SPACE_FULL`.
   */
  constructor(options: MutexOptions = {}, space: SyncSpace = currentSpace(), of?: SyncHandle) {
    const { onOwnerDeath } = resolveOptions("Mutex", rules, options);
    const cell = of === undefined ? space.takeCell(MUTEX) : cellOf(space, TYPE, of);
    this.#space = space;
    this.#core = new MutexCore(space, cell);
    this.handle = of ?? handleOf(space, TYPE, cell);
    if (of === undefined && onOwnerDeath === "fail") this.#core.setFails();
  }

  /** The lock that a handle names. Throws `ERR_SYNC_HANDLE`, `ERR_SYNC_CLOSED`. */
  static from(handle: SyncHandle, space: SyncSpace = currentSpace()): Mutex {
    return new Mutex({}, space, handle);
  }

  /**
   * Blocks the thread until it has the lock. Not on the main thread (`ERR_BLOCKING_MAIN`). Throws
   * `ERR_LOCK_HELD` if the thread holds the lock already or one of its async flows waits for it,
   * `ERR_SYNC_TIMEOUT` when `timeoutMs` have passed.
   */
  lock(options?: BlockOptions): Hold {
    this.#assertOpen();
    const timeoutMs = timeLimit("Mutex.lock", options);
    const hold = new Hold(this.#core);
    let outcome = this.#core.tryLock();
    if (outcome === TAKEN) {
      assertMayBlock(this.#space, "Mutex.lock", "lockAsync");
      outcome = this.#core.lock(timeoutMs);
    }
    if (outcome !== OWNED && outcome !== OWNED_RECOVERED) throw failureOf(outcome, timeoutMs);
    return hold.resume(outcome);
  }

  /**
   * Resolves when this thread has the lock. Rejects with `ERR_SYNC_TIMEOUT`, or with the signal's
   * reason.
   */
  async lockAsync(options?: WaitOptions): Promise<Hold> {
    this.#assertOpen();
    const given = waitOptions("Mutex.lockAsync", options);
    const hold = new Hold(this.#core);
    const outcome = await lockInEventLoop(this.#space, this.#core, given);
    if (outcome !== OWNED && outcome !== OWNED_RECOVERED) throw failureOf(outcome, given.timeoutMs);
    return hold.resume(outcome);
  }

  /** Takes the lock if it can be had at once; undefined otherwise. */
  tryLock(): Hold | undefined {
    this.#assertOpen();
    const hold = new Hold(this.#core);
    const outcome = this.#core.tryLock();
    if (outcome === TAKEN) return undefined;
    if (outcome === ABANDONED) throw failureOf(outcome, 0);
    return hold.resume(outcome);
  }

  /**
   * Releases the lock that this thread holds; the same as `unlock` of the hold. Throws
   * `ERR_LOCK_NOT_HELD`.
   */
  unlock(): void {
    if (!this.#core.unlock()) throw notHeld();
  }

  /** Whether anybody holds it; stale at once. */
  get isLocked(): boolean {
    return this.#core.isLocked();
  }

  /** Call it after `ERR_LOCK_ABANDONED`, once the data that the lock protects is in order again. */
  reset(): void {
    this.#assertOpen();
    this.#core.reset();
  }

  /**
   * Gives the lock's place in memory back. Throws `ERR_SYNC_IN_USE` while anybody holds it or waits
   * for it.
   */
  close(): void {
    if (!isOpen(this.#space, this.handle)) return;
    if (!this.#core.close()) throw syncError("ERR_SYNC_IN_USE", "close: somebody holds the lock or waits for it");
  }

  #assertOpen(): void {
    if (this.#core.kind !== this.handle.generation) assertOpen(this.#space, this.handle);
  }
}

/** The error of an attempt without success. */
export function failureOf(outcome: number, timeoutMs: number | undefined): Error {
  if (outcome === TIMED_OUT) return syncError("ERR_SYNC_TIMEOUT", `the lock was not to be had within ${timeoutMs} ms`);
  if (outcome === SELF)
    return syncError(
      "ERR_LOCK_HELD",
      "this thread holds the lock that it waits for, or its event loop is ahead of it in the queue",
    );
  return syncError("ERR_LOCK_ABANDONED", "the thread that held the lock has died");
}

export function notHeld(): Error {
  return syncError("ERR_LOCK_NOT_HELD", "this thread doesn't hold the lock");
}
