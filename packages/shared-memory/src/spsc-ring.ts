/**
 * A bounded ring of fixed-width records from one producer thread to one consumer thread.
 *
 * Source: Lamport's queue with private mirrors of the shared counters, as in the LMAX Disruptor and
 * FastForward.
 *
 * Memory, in 32-bit words from `base`:
 *
 *   +0    TAIL   records published; written by the producer, read by the consumer; starts at 0
 *   +32   HEAD   records consumed;  written by the consumer, read by the producer; starts at 0
 *   +64   capacity × width words of records, plain
 *
 * Both counters run freely and wrap at 2^32; a difference is always taken as `(a - b) | 0`. A
 * record is ordered by the store of TAIL (pairs with the consumer's load) and its reuse by the
 * store of HEAD (pairs with the producer's load). A producer that dies between `stage` and
 * `publish` leaves nothing behind: records past TAIL don't exist.
 *
 * Rejected: a sequence number per slot (Vyukov), which serves many producers but leaves a hole when
 * one dies.
 */
import { invariant } from "@millrace/base";
import { isPowerOfTwo, LINE_WORDS } from "./line.ts";
import { EMPTY, FULL } from "./status.ts";

const TAIL = 0;
const HEAD = LINE_WORDS;
const RECORDS: number = 2 * LINE_WORDS;

/** Where a ring lies and what it holds; the same on both sides. */
export interface SpscRingPlace {
  readonly words: Int32Array;
  /** Word index of the ring, a multiple of `LINE_WORDS`. */
  readonly base: number;
  /** Records, a power of two. */
  readonly capacity: number;
  /** Words per record. */
  readonly width: number;
}

/** Words that a ring takes up, a multiple of `LINE_WORDS`. */
export function spscRingWords(capacity: number, width: number): number {
  invariant(isPowerOfTwo(capacity), "the capacity of a ring is a power of two");
  return RECORDS + Math.ceil((capacity * width) / LINE_WORDS) * LINE_WORDS;
}

/** Records that wait in the ring at `place`. Any thread; stale at once. */
export function spscRingLength(place: SpscRingPlace): number {
  const head = Atomics.load(place.words, place.base + HEAD);
  return (Atomics.load(place.words, place.base + TAIL) - head) | 0;
}

/**
 * Copies the first word of every waiting record into `into` and returns their number. Exact once
 * the producer is gone, apart from records that the consumer takes meanwhile.
 */
export function spscRingSnapshot(place: SpscRingPlace, into: Int32Array): number {
  const head = Atomics.load(place.words, place.base + HEAD);
  const count = Math.min((Atomics.load(place.words, place.base + TAIL) - head) | 0, into.length);
  for (let index = 0; index < count; index += 1) {
    const record = (head + index) & (place.capacity - 1);
    into[index] = place.words[place.base + RECORDS + record * place.width] as number;
  }
  return count;
}

/** The producer's end; one thread only. */
export class SpscProducer {
  readonly #words: Int32Array;
  readonly #base: number;
  readonly #capacity: number;
  readonly #width: number;
  /** Next record to stage; runs ahead of the shared TAIL until `publish`. */
  #tail: number;
  /** The shared TAIL. */
  #published: number;
  /** HEAD as last seen; at most too small. */
  #headSeen: number;

  constructor(place: SpscRingPlace) {
    this.#words = place.words;
    this.#base = place.base;
    this.#capacity = place.capacity;
    this.#width = place.width;
    this.#tail = place.words[place.base + TAIL] as number;
    this.#published = this.#tail;
    this.#headSeen = (this.#tail - place.capacity) | 0;
  }

  /**
   * Word index of the next free record, to be filled by plain stores, or `FULL`. Invisible until
   * `publish`.
   */
  stage(): number {
    const tail = this.#tail;
    if (((tail - this.#headSeen) | 0) >= this.#capacity) {
      this.#headSeen = Atomics.load(this.#words, this.#base + HEAD);
      if (((tail - this.#headSeen) | 0) >= this.#capacity) return FULL;
    }
    this.#tail = (tail + 1) | 0;
    return this.#base + RECORDS + (tail & (this.#capacity - 1)) * this.#width;
  }

  /** Makes all staged records visible at once. */
  publish(): void {
    if (this.#published === this.#tail) return;
    this.#published = this.#tail;
    Atomics.store(this.#words, this.#base + TAIL, this.#tail);
  }
}

/** The consumer's end; one thread only. */
export class SpscConsumer {
  readonly #words: Int32Array;
  readonly #base: number;
  readonly #capacity: number;
  readonly #width: number;
  /** Next record to read; runs ahead of the shared HEAD until `release`. */
  #head: number;
  /** TAIL as last seen; at most too small. */
  #tailSeen: number;

  constructor(place: SpscRingPlace) {
    this.#words = place.words;
    this.#base = place.base;
    this.#capacity = place.capacity;
    this.#width = place.width;
    this.#head = place.words[place.base + HEAD] as number;
    this.#tailSeen = this.#head;
  }

  /** Word index of the oldest record, or `EMPTY`. */
  peek(): number {
    if (this.#head === this.#tailSeen) {
      this.#tailSeen = Atomics.load(this.#words, this.#base + TAIL);
      if (this.#head === this.#tailSeen) return EMPTY;
    }
    return this.#base + RECORDS + (this.#head & (this.#capacity - 1)) * this.#width;
  }

  /** Steps past the record that `peek` showed. Its space stays taken until `release`. */
  advance(): void {
    this.#head = (this.#head + 1) | 0;
  }

  /** Gives the space of all records stepped past back to the producer. */
  release(): void {
    Atomics.store(this.#words, this.#base + HEAD, this.#head);
  }
}
