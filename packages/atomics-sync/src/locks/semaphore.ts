/**
 * A semaphore between threads: a number of permits, taken and given back; weighted, and first come,
 * first served (permits.ts).
 */
import { integer, resolveOptions, type Rules } from "@millrace/base";
import { assertMayBlock, block } from "../objects/block.ts";
import { asyncWaits, currentSpace } from "../objects/current.ts";
import { syncError } from "../errors.ts";
import { assertOpen, cellOf, handleOf, isOpen, type SyncHandle, wasClosed } from "../objects/handle.ts";
import { PERMITS } from "../objects/kinds.ts";
import { ASKS_ASYNC, HELD, NODE_STATE } from "../objects/node.ts";
import { PERMITS_MAX, PermitsCore } from "./permits.ts";
import type { SyncSpace } from "../objects/space.ts";
import { type BlockOptions, timeLimit, waitOptions, type WaitOptions } from "../objects/wait-options.ts";

const TYPE = "Semaphore";
const rules = { permits: integer(1, PERMITS_MAX, 1) } satisfies Rules;

/** Permits that are held. `using` gives them back; so does the death of the thread. */
export class Permit implements Disposable {
  readonly #core: PermitsCore;
  #node = 0;
  /** Number of permits. */
  readonly permits: number;
  #isOver = true;

  /** For Semaphore: before the attempt, because nothing may fail between taking and holding. */
  constructor(core: PermitsCore, permits: number) {
    this.#core = core;
    this.permits = permits;
  }

  /** For Semaphore: `node` holds the permits. Calls nothing, so it can't run out of stack. */
  begin(node: number): this {
    this.#node = node;
    this.#isOver = false;
    return this;
  }

  /**
   * Gives the permits back, in the thread that took them. Throws `ERR_LOCK_NOT_HELD` the second
   * time.
   */
  release(): void {
    if (this.#isOver) throw syncError("ERR_LOCK_NOT_HELD", "the permit was given back already");
    this.#isOver = true;
    this.#core.release(this.#node);
  }

  /** Gives the permits back unless that was done. */
  [Symbol.dispose](): void {
    if (!this.#isOver) this.release();
  }
}

/**
 * A counting semaphore between threads. A party that asks for more permits than are free waits in
 * line. No later party is served before it, so a large request gets its turn. The permits of a
 * thread that dies come back by themselves.
 *
 * Each method that takes permits throws `ERR_SYNC_CLOSED` after `close()`, `ERR_PERMITS_TOO_MANY`
 * for more permits than there are in all, `ERR_INVALID_OPTION` for anything but a whole number
 * above 0.
 */
export class Semaphore {
  readonly #space: SyncSpace;
  readonly #core: PermitsCore;
  /** A plain value that `Semaphore.from` takes in any thread of this process. */
  readonly handle: SyncHandle;

  /**
   * Makes a new semaphore with 1 to 2²⁰ permits. `of` is what `from` passes. Throws
   * `ERR_INVALID_OPTION`, `ERR_SYNC_SPACE_FULL`.
   */
  constructor(permits: number, space: SyncSpace = currentSpace(), of?: SyncHandle) {
    if (of === undefined) resolveOptions(TYPE, rules, { permits });
    const cell = of === undefined ? space.takeCell(PERMITS) : cellOf(space, TYPE, of);
    this.#space = space;
    this.#core = new PermitsCore(space, cell);
    this.handle = of ?? handleOf(space, TYPE, cell);
    if (of === undefined) this.#core.setPermits(permits);
  }

  /** The semaphore that a handle names. Throws `ERR_SYNC_HANDLE`, `ERR_SYNC_CLOSED`. */
  static from(handle: SyncHandle, space: SyncSpace = currentSpace()): Semaphore {
    return new Semaphore(0, space, handle);
  }

  /** Number of permits in all, also after `close()`. */
  get permits(): number {
    return this.#core.permits;
  }

  /** Number of permits that nobody holds; stale at once. */
  get available(): number {
    return this.#core.available;
  }

  /**
   * Blocks the thread until it has `permits` permits. Not on the main thread (`ERR_BLOCKING_MAIN`).
   * Throws `ERR_LOCK_HELD` if the thread itself holds so many permits that it would wait for ever,
   * `ERR_SYNC_TIMEOUT` when `timeoutMs` have passed.
   */
  acquire(permits: number = 1, options?: BlockOptions): Permit {
    this.#check(permits);
    const timeoutMs = timeLimit("Semaphore.acquire", options);
    if (!this.#space.mayBlock) {
      const permit = this.tryAcquire(permits);
      if (permit !== undefined) return permit;
      assertMayBlock(this.#space, "Semaphore.acquire", "acquireAsync");
    }
    const permit = new Permit(this.#core, permits);
    const node = this.#core.take(permits, 0, this.#space.thread);
    if (!this.#isHeld(node)) this.#waitFor(node, permits, timeoutMs);
    return permit.begin(node);
  }

  /**
   * Resolves when this thread has the permits. Rejects with `ERR_SYNC_TIMEOUT`, or with the
   * signal's reason.
   */
  async acquireAsync(permits: number = 1, options?: WaitOptions): Promise<Permit> {
    this.#check(permits);
    const given = waitOptions("Semaphore.acquireAsync", options);
    const waits = asyncWaits(this.#space);
    const permit = new Permit(this.#core, permits);
    const node = this.#core.take(permits, ASKS_ASYNC, waits.thread);
    if (!this.#isHeld(node) && !(await waits.wait(this.#core, node, given))) throw timedOut(permits, given.timeoutMs);
    return permit.begin(node);
  }

  /**
   * Takes the permits if they can be had at once and without overtaking anybody; undefined
   * otherwise, and also when another thread is busy with the semaphore for unusually long.
   */
  tryAcquire(permits: number = 1): Permit | undefined {
    this.#check(permits);
    const permit = new Permit(this.#core, permits);
    const node = this.#core.tryTake(permits, 0);
    if (node !== 0) return permit.begin(node);
    this.#assertOpen();
    return undefined;
  }

  /**
   * Gives the semaphore's place in memory back. Throws `ERR_SYNC_IN_USE` while anybody holds a
   * permit or waits for one.
   */
  close(): void {
    if (!isOpen(this.#space, this.handle)) return;
    if (!this.#core.close()) throw syncError("ERR_SYNC_IN_USE", "close: somebody holds a permit or waits for one");
  }

  #isHeld(node: number): boolean {
    return Atomics.load(this.#space.words, node + NODE_STATE) === HELD;
  }

  #waitFor(node: number, permits: number, timeoutMs: number): void {
    if (this.#core.wouldWaitForItself(permits, true) && this.#core.cancel(node)) {
      throw syncError("ERR_LOCK_HELD", `this thread holds permits that it waits for`);
    }
    if (!block(this.#space, this.#core, node, timeoutMs)) throw timedOut(permits, timeoutMs);
  }

  #assertOpen(): void {
    if (this.#core.kind !== this.handle.generation) assertOpen(this.#space, this.handle);
  }

  #check(permits: number): void {
    this.#assertOpen();
    if (Number.isInteger(permits) && permits > 0 && permits <= this.#core.permits) return;
    resolveOptions(TYPE, rules, { permits });
    if (this.#core.permits === 0) throw wasClosed(this.handle);
    throw syncError("ERR_PERMITS_TOO_MANY", `${permits} permits were asked for, and there are ${this.#core.permits}`);
  }
}

function timedOut(permits: number, timeoutMs: number): Error {
  return syncError("ERR_SYNC_TIMEOUT", `${permits} permits were not to be had within ${timeoutMs} ms`);
}
