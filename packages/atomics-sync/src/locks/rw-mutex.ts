/**
 * A read-write lock between threads: many readers or one writer, first come, first served
 * (permits.ts). A reader takes one permit, a writer all.
 */
import { assertMayBlock, block } from "../objects/block.ts";
import { asyncWaits, currentSpace } from "../objects/current.ts";
import { syncError } from "../errors.ts";
import { assertOpen, cellOf, handleOf, isOpen, type SyncHandle } from "../objects/handle.ts";
import { PERMITS } from "../objects/kinds.ts";
import { ASKS_ASYNC, HELD, NODE_STATE } from "../objects/node.ts";
import { ASKS_EXCLUSIVE, PERMITS_MAX, PermitsCore } from "./permits.ts";
import type { SyncSpace } from "../objects/space.ts";
import { type BlockOptions, timeLimit, waitOptions, type WaitOptions } from "../objects/wait-options.ts";

const TYPE = "RWMutex";

/** One way to have the lock. */
interface Mode {
  readonly need: number;
  readonly asks: number;
  readonly form: string;
  readonly asyncForm: string;
}

const READ: Mode = { need: 1, asks: 0, form: "RWMutex.readLock", asyncForm: "readLockAsync" };
const WRITE: Mode = { need: PERMITS_MAX, asks: ASKS_EXCLUSIVE, form: "RWMutex.lock", asyncForm: "lockAsync" };

/** A read-write lock that is held, to read or to write. `using` releases it. */
export class RWHold implements Disposable {
  readonly #space: SyncSpace;
  readonly #core: PermitsCore;
  #node = 0;
  #isRecovered = false;
  #isOver = true;

  /** For RWMutex: before the attempt, because nothing may fail between taking and holding. */
  constructor(space: SyncSpace, core: PermitsCore) {
    this.#space = space;
    this.#core = core;
  }

  /** For RWMutex: `node` holds the lock. */
  begin(node: number): this {
    this.#node = node;
    this.#isOver = false;
    this.#space.locksHeld += 1;
    this.#isRecovered = this.#core.isRecovered(node);
    return this;
  }

  /**
   * Whether a writer has died while it had the lock, and no other writer has had it since: the data
   * that the lock protects may be half changed.
   */
  get isRecovered(): boolean {
    return this.#isRecovered;
  }

  /** Releases the lock, in the thread that took it. Throws `ERR_LOCK_NOT_HELD` the second time. */
  unlock(): void {
    if (this.#isOver) throw syncError("ERR_LOCK_NOT_HELD", "the lock was released already");
    this.#isOver = true;
    this.#space.locksHeld -= 1;
    this.#core.release(this.#node);
  }

  /** Releases the lock unless that was done. */
  [Symbol.dispose](): void {
    if (!this.#isOver) this.unlock();
  }
}

/**
 * A lock that many parties may hold to read, or one to write. A party waits for all that came
 * before it, so a stream of readers can't keep a writer out, nor writers a reader. It isn't
 * reentrant: a thread that reads must not ask again, because a writer may be in line between.
 *
 * When a writer dies, the lock is free, and `isRecovered` is true for every party that gets it,
 * until a writer has had it. A reader's death has no such effect. Each method that takes the lock
 * throws `ERR_SYNC_CLOSED` after `close()`.
 */
export class RWMutex {
  readonly #space: SyncSpace;
  readonly #core: PermitsCore;
  /** A plain value that `RWMutex.from` takes in any thread of this process. */
  readonly handle: SyncHandle;

  /** Makes a new lock, free. `of` is what `from` passes. Throws `ERR_SYNC_SPACE_FULL`. */
  constructor(space: SyncSpace = currentSpace(), of?: SyncHandle) {
    const cell = of === undefined ? space.takeCell(PERMITS) : cellOf(space, TYPE, of);
    this.#space = space;
    this.#core = new PermitsCore(space, cell);
    this.handle = of ?? handleOf(space, TYPE, cell);
    if (of === undefined) this.#core.setPermits(PERMITS_MAX);
  }

  /** The lock that a handle names. Throws `ERR_SYNC_HANDLE`, `ERR_SYNC_CLOSED`. */
  static from(handle: SyncHandle, space: SyncSpace = currentSpace()): RWMutex {
    return new RWMutex(space, handle);
  }

  /**
   * Blocks the thread until it may write. Not on the main thread (`ERR_BLOCKING_MAIN`). Throws
   * `ERR_LOCK_HELD` if it would have to wait and holds the lock already, `ERR_SYNC_TIMEOUT` when
   * `timeoutMs` have passed.
   */
  lock(options?: BlockOptions): RWHold {
    return this.#take(WRITE, options);
  }

  /**
   * Resolves when this thread may write. Rejects with `ERR_SYNC_TIMEOUT`, or with the signal's
   * reason.
   */
  lockAsync(options?: WaitOptions): Promise<RWHold> {
    return this.#takeAsync(WRITE, options);
  }

  /**
   * Takes the lock to write if it can be had at once and without overtaking anybody; undefined
   * otherwise, and also when another thread is busy with the lock for unusually long.
   */
  tryLock(): RWHold | undefined {
    return this.#tryTake(WRITE);
  }

  /** As `lock`, to read. */
  readLock(options?: BlockOptions): RWHold {
    return this.#take(READ, options);
  }

  /** As `lockAsync`, to read. */
  readLockAsync(options?: WaitOptions): Promise<RWHold> {
    return this.#takeAsync(READ, options);
  }

  /** As `tryLock`, to read. */
  tryReadLock(): RWHold | undefined {
    return this.#tryTake(READ);
  }

  /**
   * Gives the lock's place in memory back. Throws `ERR_SYNC_IN_USE` while anybody holds it or waits
   * for it.
   */
  close(): void {
    if (!isOpen(this.#space, this.handle)) return;
    if (!this.#core.close()) throw syncError("ERR_SYNC_IN_USE", "close: somebody holds the lock or waits for it");
  }

  #take(mode: Mode, options: BlockOptions | undefined): RWHold {
    this.#assertOpen();
    const timeoutMs = timeLimit(mode.form, options);
    if (!this.#space.mayBlock) {
      const hold = this.#tryTake(mode);
      if (hold !== undefined) return hold;
      assertMayBlock(this.#space, mode.form, mode.asyncForm);
    }
    const hold = new RWHold(this.#space, this.#core);
    const node = this.#core.take(mode.need, mode.asks, this.#space.thread);
    if (!this.#isHeld(node)) {
      if (this.#core.wouldWaitForItself(mode.need, false) && this.#core.cancel(node)) {
        throw syncError("ERR_LOCK_HELD", "this thread holds the lock that it waits for");
      }
      if (!block(this.#space, this.#core, node, timeoutMs)) throw timedOut(timeoutMs);
    }
    return hold.begin(node);
  }

  async #takeAsync(mode: Mode, options: WaitOptions | undefined): Promise<RWHold> {
    this.#assertOpen();
    const given = waitOptions(`RWMutex.${mode.asyncForm}`, options);
    const waits = asyncWaits(this.#space);
    const hold = new RWHold(this.#space, this.#core);
    const node = this.#core.take(mode.need, mode.asks | ASKS_ASYNC, waits.thread);
    if (!this.#isHeld(node) && !(await waits.wait(this.#core, node, given))) throw timedOut(given.timeoutMs);
    return hold.begin(node);
  }

  #tryTake(mode: Mode): RWHold | undefined {
    this.#assertOpen();
    const hold = new RWHold(this.#space, this.#core);
    const node = this.#core.tryTake(mode.need, mode.asks);
    if (node !== 0) return hold.begin(node);
    this.#assertOpen();
    return undefined;
  }

  #isHeld(node: number): boolean {
    return Atomics.load(this.#space.words, node + NODE_STATE) === HELD;
  }

  #assertOpen(): void {
    if (this.#core.kind !== this.handle.generation) assertOpen(this.#space, this.handle);
  }
}

function timedOut(timeoutMs: number): Error {
  return syncError("ERR_SYNC_TIMEOUT", `the lock was not to be had within ${timeoutMs} ms`);
}
