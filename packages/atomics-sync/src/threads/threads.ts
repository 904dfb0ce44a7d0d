/**
 * The threads of one process that may wait for each other: a table in shared memory with an entry
 * per thread.
 *
 * Memory, in 32-bit words; entry `id` begins at word `id × ENTRY_WORDS`:
 *
 *   +0    STATE        FREE, or TAKEN: the thread that reserves the entry writes it by
 *                      compare-and-swap, and FREE again after the entry's thread is gone. DEAD from
 *                      the end of its thread until nothing refers to it any more (burial.ts).
 *                      Starts at FREE.
 *   +1    NODE_THREAD  the thread's number in node:worker_threads, -1 where it isn't known; written
 *                      with STATE
 *   +2    PARENT       the thread that has started this one, as in NODE_THREAD: who buries it; the
 *                      nearest one above that had loaded this package; written after STATE
 *   +3    LENT         1: the parent has reserved the entry, and gives it back
 *   +32   PARK         AWAKE, SYNC, ASYNC or NOTIFIED (parker.ts); written by the thread itself and
 *                      by threads that wake it.
 *   +64   BELL         0 or 1, what an event loop waits on with Atomics.waitAsync (parker.ts).
 *
 * Behind the last entry, on a line of its own:
 *
 *   USED   no entry from here on was ever reserved; raised before an entry is taken, never lowered.
 *          A look at all threads ends here, so memory that no thread ever needed is never touched.
 *
 * PARK and BELL are separate words because V8 keeps sync and async waiters of one address in one
 * queue: a notification meant for the one could go to the other, whose event loop may be blocked.
 */
import { getEnvironmentData, setEnvironmentData, threadId } from "node:worker_threads";
import { invariant } from "@millrace/base";
import { LINE_WORDS } from "@millrace/shared-memory";
import { syncError } from "../errors.ts";

const FREE = 0;
const TAKEN = 1;
const DEAD = 2;

const STATE = 0;
const NODE_THREAD = 1;
const PARENT = 2;
const LENT = 3;
const PARK = LINE_WORDS;
const BELL: number = 2 * LINE_WORDS;
const ENTRY_WORDS: number = 3 * LINE_WORDS;

/**
 * Threads in one table: twice what Linux lets a process start by default (pid_max). That is 24 MiB
 * of addresses, of which the system backs with memory what was touched: 384 bytes per thread.
 */
export const THREADS_MAX = 65_536;

export function parkWord(id: number): number {
  return id * ENTRY_WORDS + PARK;
}

export function bellWord(id: number): number {
  return id * ENTRY_WORDS + BELL;
}

const NOBODY = -1;
/** Under this name a thread tells its workers its number in node:worker_threads. */
const PARENT_KEY = "millrace.parent";
const inheritedParent: unknown = getEnvironmentData(PARENT_KEY);
const parent: number = typeof inheritedParent === "number" ? inheritedParent : NOBODY;
setEnvironmentData(PARENT_KEY, threadId);

let own = NOBODY;
let isOwnAdopted = false;

/**
 * The number of the calling thread in `ThreadTable.current()`, the same for its whole life: it owns
 * locks, and others wake the thread by it.
 */
export function ownThread(): number {
  if (own === NOBODY) {
    own = ThreadTable.current().reserve(threadId);
  }
  return own;
}

/**
 * Makes `id`, which the parent has reserved, the calling thread's number. Before anything asks for
 * `ownThread`.
 */
export function adoptThread(id: number): void {
  invariant(own === NOBODY || own === id, "a thread has one number");
  own = id;
  isOwnAdopted = true;
  Atomics.store(ThreadTable.current().words, id * ENTRY_WORDS + NODE_THREAD, threadId);
}

/** Whether the parent has reserved this thread's number, and gives it back. */
export function isAdopted(): boolean {
  return isOwnAdopted;
}

/** Under this name a thread's table is handed on to the threads that it starts. */
const ENVIRONMENT_KEY = "millrace.threads";
let current: ThreadTable | undefined;

/** A table of threads; every thread makes its own object over the same words. */
export class ThreadTable {
  readonly words: Int32Array;
  readonly #threadsMax: number;
  readonly #usedWord: number;

  constructor(buffer: SharedArrayBuffer) {
    this.words = new Int32Array(buffer);
    this.#threadsMax = (this.words.length - LINE_WORDS) / ENTRY_WORDS;
    this.#usedWord = this.#threadsMax * ENTRY_WORDS;
    invariant(Number.isInteger(this.#threadsMax), "a thread table has whole entries");
  }

  /** Memory for a table. */
  static allocate(threadsMax: number = THREADS_MAX): SharedArrayBuffer {
    return new SharedArrayBuffer((threadsMax * ENTRY_WORDS + LINE_WORDS) * Int32Array.BYTES_PER_ELEMENT);
  }

  /**
   * The table that this thread shares with the threads that it starts from now on, and with the one
   * that started it if that had a table by then.
   */
  static current(): ThreadTable {
    if (current === undefined) {
      const inherited = getEnvironmentData(ENVIRONMENT_KEY);
      const buffer = inherited instanceof SharedArrayBuffer ? inherited : ThreadTable.allocate();
      setEnvironmentData(ENVIRONMENT_KEY, buffer);
      current = new ThreadTable(buffer);
    }
    return current;
  }

  get buffer(): SharedArrayBuffer {
    return this.words.buffer as SharedArrayBuffer;
  }

  /**
   * Takes a free entry for a thread, one's own or one that is about to start, and returns its id.
   * `nodeThread` is the thread's `threadId` in node:worker_threads where it is known.
   */
  reserve(nodeThread: number = NOBODY): number {
    for (let id = 0; id < this.#threadsMax; id += 1) {
      if (id >= this.used) this.#use(id + 1);
      if (Atomics.compareExchange(this.words, id * ENTRY_WORDS + STATE, FREE, TAKEN) !== FREE) continue;
      const isLent = nodeThread !== threadId;
      Atomics.store(this.words, id * ENTRY_WORDS + NODE_THREAD, nodeThread);
      Atomics.store(this.words, id * ENTRY_WORDS + PARENT, isLent ? threadId : parent);
      Atomics.store(this.words, id * ENTRY_WORDS + LENT, isLent ? 1 : 0);
      return id;
    }
    throw syncError("ERR_THREADS_EXHAUSTED", `all ${this.#threadsMax} entries of the thread table are taken`);
  }

  get threadsMax(): number {
    return this.#threadsMax;
  }

  /** Entries from 0 on that may be, or may have been, in use. */
  get used(): number {
    return Atomics.load(this.words, this.#usedWord);
  }

  #use(count: number): void {
    let used = Atomics.load(this.words, this.#usedWord);
    // Ends: each turn finds a larger count, and there are at most `threadsMax`.
    while (used < count) {
      const seen = Atomics.compareExchange(this.words, this.#usedWord, used, count);
      if (seen === used) return;
      used = seen;
    }
  }

  /** Whether the thread has ended and may still be referred to. */
  isDead(id: number): boolean {
    return Atomics.load(this.words, id * ENTRY_WORDS + STATE) === DEAD;
  }

  /** Whether the entry is reserved, and its thread alive as far as anybody has said. */
  isTaken(id: number): boolean {
    return Atomics.load(this.words, id * ENTRY_WORDS + STATE) === TAKEN;
  }

  isInUse(id: number): boolean {
    return Atomics.load(this.words, id * ENTRY_WORDS + STATE) !== FREE;
  }

  /** Says that the thread has ended. The caller buries it. */
  markDead(id: number): void {
    Atomics.store(this.words, id * ENTRY_WORDS + STATE, DEAD);
  }

  /** Nothing refers to the dead thread any more: its entry is as if it had just been reserved. */
  renew(id: number): void {
    Atomics.store(this.words, parkWord(id), 0);
    Atomics.store(this.words, bellWord(id), 0);
    Atomics.store(this.words, id * ENTRY_WORDS + NODE_THREAD, NOBODY);
    Atomics.store(this.words, id * ENTRY_WORDS + STATE, TAKEN);
  }

  /** The thread's number in node:worker_threads; -1 where it isn't known. */
  nodeThreadOf(id: number): number {
    return Atomics.load(this.words, id * ENTRY_WORDS + NODE_THREAD);
  }

  /** The parent of the entry's thread, in node:worker_threads; -1 where it isn't known. */
  parentOf(id: number): number {
    return Atomics.load(this.words, id * ENTRY_WORDS + PARENT);
  }

  /** Whether the parent has reserved the entry, and gives it back. */
  isLent(id: number): boolean {
    return Atomics.load(this.words, id * ENTRY_WORDS + LENT) === 1;
  }

  /** Gives an entry back; only once its thread is gone, or waits for nothing any more. */
  release(id: number): void {
    Atomics.store(this.words, parkWord(id), 0);
    Atomics.store(this.words, bellWord(id), 0);
    // Before STATE: the thread that reserves the entry next must not be taken for the one that had
    // it.
    Atomics.store(this.words, id * ENTRY_WORDS + PARENT, NOBODY);
    Atomics.store(this.words, id * ENTRY_WORDS + NODE_THREAD, NOBODY);
    Atomics.store(this.words, id * ENTRY_WORDS + STATE, FREE);
  }
}
