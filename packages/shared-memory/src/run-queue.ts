/**
 * A bounded FIFO of numbers: its owner pushes, any thread takes from its head.
 *
 * It serves as the run queue of a processor (256 entries) and as the outbox of a submitting thread
 * (one entry per task slot, so that it can never be full).
 *
 * Source: the P-local run queue of Go's runtime (runqput, runqget, runqgrab in
 * src/runtime/proc.go).
 *
 * Memory, in 32-bit words from `base`:
 *
 *   +0    HEAD     entries taken;  moved by compare-and-swap by anyone; starts at 0
 *   +32   TAIL     entries pushed; written by the owner, read by all;   starts at 0
 *   +64   ENTRIES  `capacity` words, plain
 *
 * Both counters wrap at 2^32. The store of TAIL publishes the entries before it (pairs with the
 * load in `takeFrom`).
 *
 * Entries are read by plain loads although the owner may overwrite them meanwhile. That race is
 * harmless: the owner reuses a place only after HEAD has moved past it, and then the reader's
 * compare-and-swap fails and the value is thrown away. An aligned 32-bit access doesn't tear
 * (ECMA-262, IsNoTearConfiguration). HEAD would have to wrap around to the same value between two
 * instructions for a stale value to survive; even then the claim of the task slot decides, not this
 * queue.
 *
 * Rejected: Chase–Lev (grows, so memory must be reclaimed; LIFO; steals one by one) and Tokio's
 * packed head of two counters (needed in Rust, where the race above is undefined behaviour).
 */
import { invariant } from "@millrace/base";
import { isPowerOfTwo, LINE_WORDS } from "./line.ts";
import { EMPTY, RETRY } from "./status.ts";

const HEAD = 0;
const TAIL = LINE_WORDS;
const ENTRIES: number = 2 * LINE_WORDS;

export interface RunQueuePlace {
  readonly words: Int32Array;
  /** Word index of the queue, a multiple of `LINE_WORDS`. */
  readonly base: number;
  /** Entries, a power of two. */
  readonly capacity: number;
}

/** Words that a queue takes up, a multiple of `LINE_WORDS`. */
export function runQueueWords(capacity: number): number {
  invariant(isPowerOfTwo(capacity), "the capacity of a run queue is a power of two");
  return ENTRIES + Math.ceil(capacity / LINE_WORDS) * LINE_WORDS;
}

/** Entries that wait in the queue at `place`. Any thread; stale at once. */
export function runQueueLength(place: RunQueuePlace): number {
  const head = Atomics.load(place.words, place.base + HEAD);
  return (Atomics.load(place.words, place.base + TAIL) - head) | 0;
}

/**
 * Copies the entries that wait at `place` into `into` and returns their number. Any thread; stale
 * at once.
 */
export function runQueueSnapshot(place: RunQueuePlace, into: Int32Array): number {
  const head = Atomics.load(place.words, place.base + HEAD);
  const length = (Atomics.load(place.words, place.base + TAIL) - head) | 0;
  const count = Math.min(length, place.capacity, into.length);
  for (let index = 0; index < count; index += 1) {
    into[index] = place.words[place.base + ENTRIES + ((head + index) & (place.capacity - 1))] as number;
  }
  return Math.max(count, 0);
}

/** The owner's end; one thread only. */
export class RunQueue {
  readonly #words: Int32Array;
  readonly #base: number;
  readonly #capacity: number;
  /** Next place to push; runs ahead of the shared TAIL until `publish`. */
  #tail: number;
  /** The shared TAIL. */
  #published: number;
  /** HEAD as last seen; at most too small. */
  #headSeen: number;
  /** Entries that the last successful `takeFrom` moved into this queue. */
  moved = 0;

  constructor(place: RunQueuePlace) {
    this.#words = place.words;
    this.#base = place.base;
    this.#capacity = place.capacity;
    this.#tail = place.words[place.base + TAIL] as number;
    this.#published = this.#tail;
    this.#headSeen = (this.#tail - place.capacity) | 0;
  }

  /** Adds an entry; false when full. Others see it after `publish`. */
  push(entry: number): boolean {
    const tail = this.#tail;
    if (((tail - this.#headSeen) | 0) >= this.#capacity) {
      this.#headSeen = Atomics.load(this.#words, this.#base + HEAD);
      if (((tail - this.#headSeen) | 0) >= this.#capacity) return false;
    }
    this.#words[this.#base + ENTRIES + (tail & (this.#capacity - 1))] = entry;
    this.#tail = (tail + 1) | 0;
    return true;
  }

  /** Makes all pushed entries visible at once. */
  publish(): void {
    this.#published = this.#tail;
    Atomics.store(this.#words, this.#base + TAIL, this.#tail);
  }

  /** Takes the oldest entry of one's own queue, or `EMPTY`. */
  pop(): number {
    // HEAD never passes TAIL: others take their difference.
    if (this.#published !== this.#tail) this.publish();
    const tail = this.#tail;
    let head = Atomics.load(this.#words, this.#base + HEAD);
    // Ends: each failure means that a thief took at least one of finitely many entries.
    while (head !== tail) {
      const entry = this.#words[this.#base + ENTRIES + (head & (this.#capacity - 1))] as number;
      const seen = Atomics.compareExchange(this.#words, this.#base + HEAD, head, (head + 1) | 0);
      if (seen === head) return entry;
      head = seen;
    }
    return EMPTY;
  }

  /**
   * As `pop`, for up to `most` entries, with one compare-and-swap. Copies them to the start of
   * `into`, the oldest first, and returns their number.
   */
  popMany(into: Int32Array, most: number): number {
    if (this.#published !== this.#tail) this.publish();
    const tail = this.#tail;
    let head = Atomics.load(this.#words, this.#base + HEAD);
    // Ends as `pop` does.
    while (head !== tail) {
      const count = Math.min((tail - head) | 0, most);
      for (let index = 0; index < count; index += 1) {
        into[index] = this.#words[this.#base + ENTRIES + ((head + index) & (this.#capacity - 1))] as number;
      }
      const seen = Atomics.compareExchange(this.#words, this.#base + HEAD, head, (head + count) | 0);
      if (seen === head) return count;
      head = seen;
    }
    return 0;
  }

  /**
   * Takes a share of what waits at `victim`: returns the oldest entry, for the caller to run at
   * once, and moves the others into this queue. `EMPTY` when nothing waits, `RETRY` when another
   * thread was faster. The share is one part in `parts`, rounded up, at most `most` (1 or more),
   * and at most the room in this queue plus one.
   */
  takeFrom(victim: RunQueuePlace, parts: number, most: number): number {
    const head = Atomics.load(victim.words, victim.base + HEAD);
    const waiting = (Atomics.load(victim.words, victim.base + TAIL) - head) | 0;
    if (waiting <= 0) return EMPTY;
    // HEAD and TAIL are read one after the other; if HEAD moved far in between, the difference is
    // nonsense.
    if (waiting > victim.capacity) return RETRY;
    const room = this.#room();
    const count = Math.min(Math.ceil(waiting / parts), most, room + 1);
    const tail = this.#tail;
    const first = victim.words[victim.base + ENTRIES + (head & (victim.capacity - 1))] as number;
    for (let index = 1; index < count; index += 1) {
      const entry = victim.words[victim.base + ENTRIES + ((head + index) & (victim.capacity - 1))] as number;
      this.#words[this.#base + ENTRIES + (this.#tail & (this.#capacity - 1))] = entry;
      this.#tail = (this.#tail + 1) | 0;
    }
    if (Atomics.compareExchange(victim.words, victim.base + HEAD, head, (head + count) | 0) !== head) {
      this.#tail = tail;
      return RETRY;
    }
    if (count > 1) this.publish();
    this.moved = count - 1;
    return first;
  }

  /** Entries in one's own queue. */
  length(): number {
    return (this.#tail - Atomics.load(this.#words, this.#base + HEAD)) | 0;
  }

  #room(): number {
    this.#headSeen = Atomics.load(this.#words, this.#base + HEAD);
    return this.#capacity - ((this.#tail - this.#headSeen) | 0);
  }
}
