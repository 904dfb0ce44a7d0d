/**
 * Something that is done once, however many threads ask for it.
 *
 * Source: Go's sync.Once. A word of its mutex's cell says that it was done; the mutex keeps others
 * waiting meanwhile. When the thread that does it dies, the mutex goes to the next one, which finds
 * the word as it was.
 */
import { assertMayBlock } from "../objects/block.ts";
import { currentSpace } from "../objects/current.ts";
import { assertOpen, cellOf, type SyncHandle } from "../objects/handle.ts";
import { type Hold, Mutex } from "./mutex.ts";
import { ONCE_DONE } from "./mutex-core.ts";
import type { SyncSpace } from "../objects/space.ts";
import { type BlockOptions, timeLimit, waitOptions, type WaitOptions } from "../objects/wait-options.ts";

const TYPE = "Once";

/**
 * Does something once, however many threads ask for it; each of them goes on when it is done. As in
 * Go it counts as done when the function throws: the error goes to the caller whose function threw,
 * and the others go on. When the thread that runs it dies, the next caller does it.
 *
 * Inside the function, don't ask the same Once again: it waits for itself. Each method throws
 * `ERR_SYNC_CLOSED` after `close()`.
 */
export class Once {
  readonly #space: SyncSpace;
  readonly #mutex: Mutex;
  /** A plain value that `Once.from` takes in any thread of this process. */
  readonly handle: SyncHandle;

  /** Makes a new one. `of` is what `from` passes. Throws `ERR_SYNC_SPACE_FULL`. */
  constructor(space: SyncSpace = currentSpace(), of?: SyncHandle) {
    this.#space = space;
    this.#mutex = of === undefined ? new Mutex({}, space) : Mutex.from(mutexOf(space, of), space);
    this.handle = { ...this.#mutex.handle, type: TYPE };
  }

  /** The Once that a handle names. Throws `ERR_SYNC_HANDLE`, `ERR_SYNC_CLOSED`. */
  static from(handle: SyncHandle, space: SyncSpace = currentSpace()): Once {
    return new Once(space, handle);
  }

  get isDone(): boolean {
    return Atomics.load(this.#space.words, this.handle.cell + ONCE_DONE) === 1;
  }

  /**
   * Calls `run`, unless a function was called already. Returns whether this call did. Blocks the
   * thread while another thread runs its function; not on the main thread (`ERR_BLOCKING_MAIN`).
   * Throws what `run` throws; `ERR_LOCK_HELD` inside of it; `ERR_SYNC_TIMEOUT` when `timeoutMs`
   * have passed.
   */
  do(run: () => void, options?: BlockOptions): boolean {
    timeLimit("Once.do", options);
    if (this.#wasDone()) return false;
    let hold = this.#mutex.tryLock();
    if (hold === undefined) {
      if (this.#wasDone()) return false;
      assertMayBlock(this.#space, "Once.do", "doAsync");
      hold = this.#mutex.lock(options);
    }
    if (this.isDone) {
      hold.unlock();
      return false;
    }
    try {
      run();
    } finally {
      this.#finish(hold);
    }
    return true;
  }

  /**
   * As `do`, and waits for the promise of `run`. Also rejects with `ERR_SYNC_TIMEOUT`, or with the
   * signal's reason, when another caller takes too long.
   */
  async doAsync(run: () => void | PromiseLike<void>, options?: WaitOptions): Promise<boolean> {
    waitOptions("Once.doAsync", options);
    if (this.#wasDone()) return false;
    const hold = await this.#mutex.lockAsync(options);
    if (this.isDone) {
      hold.unlock();
      return false;
    }
    try {
      await run();
    } finally {
      this.#finish(hold);
    }
    return true;
  }

  /** Gives its place in memory back. Throws `ERR_SYNC_IN_USE` while it is being done. */
  close(): void {
    this.#mutex.close();
  }

  #wasDone(): boolean {
    if (!this.isDone) return false;
    // The word may be another object's by now.
    assertOpen(this.#space, this.handle);
    return true;
  }

  #finish(hold: Hold): void {
    Atomics.store(this.#space.words, this.handle.cell + ONCE_DONE, 1);
    hold.unlock();
  }
}

function mutexOf(space: SyncSpace, handle: SyncHandle): SyncHandle {
  return { ...handle, type: "Mutex", cell: cellOf(space, TYPE, handle) };
}
