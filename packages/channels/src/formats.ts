/**
 * How the values of a channel become words on their way to its core, and values again on their way
 * from it.
 */
import type { SyncSpace } from "@millrace/atomics-sync/kernel";
import { channelError } from "./errors.ts";
import { FLOAT64, INT32, VALUES } from "./outcomes.ts";
import { dropValue, takeValue, writeValue } from "./values.ts";

/** Values that are sent or received at one go by the forms for many. */
export const CHUNK = 256;

/** A double as two words. */
const double: Float64Array = new Float64Array(1);
const doubleWords: Int32Array = new Int32Array(double.buffer);

/** The format of one channel, in one thread. */
export class Format {
  readonly #space: SyncSpace;
  readonly #kind: number;
  /** Words per value. */
  readonly width: number;
  /**
   * The value that `encode` was given last: a number, or a block of the shared heap, which is the
   * caller's.
   */
  low = 0;
  high = 0;

  /** `kind`: VALUES, INT32 or FLOAT64. */
  constructor(space: SyncSpace, kind: number) {
    this.#space = space;
    this.#kind = kind;
    this.width = kind === FLOAT64 ? 2 : 1;
  }

  get isOfIntegers(): boolean {
    return this.#kind === INT32;
  }

  /**
   * Puts a value into `low` and `high`. Throws `ERR_CHAN_VALUE`, `ERR_VALUE_UNSUPPORTED`,
   * `ERR_CHAN_MEMORY`.
   */
  encode(value: unknown): void {
    if (this.#kind === INT32) {
      if (typeof value !== "number" || (value | 0) !== value) throw unfit(INT32, value);
      this.low = value;
    } else if (this.#kind === VALUES) this.low = writeValue(this.#space.heap, value);
    else {
      if (typeof value !== "number") throw unfit(FLOAT64, value);
      double[0] = value;
      this.low = doubleWords[0] as number;
      this.high = doubleWords[1] as number;
    }
  }

  /** The value that two words stand for; a block is free then. */
  decode(low: number, high: number): unknown {
    if (this.#kind === INT32) return low;
    if (this.#kind === VALUES) return takeValue(this.#space.heap, low);
    doubleWords[0] = low;
    doubleWords[1] = high;
    return double[0];
  }

  /** Frees the block of a value that wasn't sent, or won't be received. */
  drop(low: number): void {
    if (this.#kind === VALUES && low !== 0) dropValue(this.#space.heap, low);
  }

  /** The next values of `values` from `start` on, encoded. */
  chunkOf(values: ArrayLike<unknown>, start: number): Chunk {
    const count = Math.min(values.length - start, CHUNK);
    if (this.isOfIntegers && values instanceof Int32Array) return new Chunk(values, start, start + count, 1);
    if (this.isOfIntegers) return new Chunk(integers(values as ArrayLike<number>, start, count), 0, count, 1);
    const chunk = new Chunk(new Int32Array(count * this.width), 0, count, this.width);
    for (let index = 0; index < count; index += 1) {
      try {
        this.encode(values[start + index]);
      } catch (thrown) {
        chunk.end = index;
        this.dropRest(chunk);
        throw thrown;
      }
      chunk.set(index, this.low, this.high);
    }
    return chunk;
  }

  /** Drops the values of a chunk that weren't sent. */
  dropRest(chunk: Chunk): void {
    for (let index = chunk.next; index < chunk.end; index += 1) this.drop(chunk.words[index] as number);
  }
}

/** Values on their way to be sent together, as words. */
export class Chunk {
  readonly words: Int32Array;
  /** Index of the value that is to be sent next, and of the first that isn't in the chunk. */
  next: number;
  end: number;
  readonly #width: number;

  constructor(words: Int32Array, start: number, end: number, width: number) {
    this.words = words;
    this.next = start;
    this.end = end;
    this.#width = width;
  }

  set(index: number, low: number, high: number): void {
    this.words[index * this.#width] = low;
    if (this.#width === 2) this.words[index * 2 + 1] = high;
  }

  /** The value that is to be sent next. */
  get low(): number {
    return this.words[this.next * this.#width] as number;
  }

  get high(): number {
    return this.#width === 2 ? (this.words[this.next * 2 + 1] as number) : 0;
  }
}

/** A part of `values` as words; throws `ERR_CHAN_VALUE`. */
function integers(values: ArrayLike<number>, start: number, count: number): Int32Array {
  const words = new Int32Array(count);
  for (let index = 0; index < count; index += 1) {
    const value = values[start + index] as number;
    words[index] = value;
    if (words[index] !== value) throw unfit(INT32, value);
  }
  return words;
}

function unfit(kind: number, value: unknown): Error {
  const expected = kind === INT32 ? "a whole number of 32 bits" : "a number";
  return channelError("ERR_CHAN_VALUE", `the channel carries ${expected}, not ${String(value)}`);
}
