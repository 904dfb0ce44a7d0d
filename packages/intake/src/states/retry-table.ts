/**
 * The content of RETRY records, by origin. In an outage of a day there are millions of them, so
 * they are columns of numbers, some 30 bytes a record. A map of objects took 170.
 *
 * Rows stand in the order of their origins, in chunks of up to 1024. Origins mostly come growing,
 * so that chunks are mostly full. Within a chunk an origin is 32 bits beyond the chunk's base.
 */

/** The retry of a record that isn't finished. */
export interface RetryState {
  readonly attempts: number;
  /** Ms since 1970. */
  readonly dueMs: number;
  /** How long the pause before it is: whatever the clock says, it must not be longer. */
  readonly pauseMs: number;
  /** How long before the last failure the first one was. */
  readonly ageMs: number;
  /** Place of the RETRY record. */
  readonly place: number;
}

/**
 * The rest of the pause after an opening, ms: never longer than the pause itself, wherever the
 * clock was set meanwhile.
 */
export function pauseLeftMs({ dueMs, pauseMs }: RetryState, wallMs: number): number {
  return Math.max(0, Math.min(dueMs - wallMs, pauseMs));
}

const ROWS_MAX = 1024;
/** Two neighbours with fewer rows together become one. */
const ROWS_FEW: number = ROWS_MAX / 2;
const SPAN_MAX: number = 2 ** 32;

class Chunk {
  base: number;
  size = 0;
  readonly #origins = new Uint32Array(ROWS_MAX);
  readonly #attempts = new Uint16Array(ROWS_MAX);
  readonly #places = new Float64Array(ROWS_MAX);
  readonly #dues = new Float64Array(ROWS_MAX);
  readonly #pauses = new Float32Array(ROWS_MAX);
  readonly #ages = new Float32Array(ROWS_MAX);

  constructor(base: number) {
    this.base = base;
  }

  origin(index: number): number {
    return this.base + (this.#origins[index] as number);
  }

  /** Whether an origin can stand here. */
  spans(origin: number): boolean {
    return origin >= this.base && origin - this.base < SPAN_MAX;
  }

  /** The first row whose origin is at least this one. */
  rowFrom(origin: number): number {
    let low = 0;
    let high = this.size;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.origin(middle) < origin) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  row(index: number): RetryState {
    return {
      attempts: this.#attempts[index] as number,
      dueMs: this.#dues[index] as number,
      pauseMs: this.#pauses[index] as number,
      ageMs: this.#ages[index] as number,
      place: this.#places[index] as number,
    };
  }

  put(index: number, origin: number, { attempts, dueMs, pauseMs, ageMs, place }: RetryState): void {
    this.#origins[index] = origin - this.base;
    this.#attempts[index] = attempts;
    this.#dues[index] = dueMs;
    this.#pauses[index] = pauseMs;
    this.#ages[index] = ageMs;
    this.#places[index] = place;
  }

  /** Moves the rows from `from` on to `to`. */
  shift(from: number, to: number): void {
    for (const column of this.#columns()) column.copyWithin(to, from, this.size);
    this.size += to - from;
  }

  /** Appends the rows from `from` on of another chunk, whose origins follow. */
  append(other: Chunk, from: number): void {
    for (let index = from; index < other.size; index += 1) {
      this.put(this.size, other.origin(index), other.row(index));
      this.size += 1;
    }
  }

  #columns(): readonly { copyWithin(to: number, from: number, end: number): unknown }[] {
    return [this.#origins, this.#attempts, this.#places, this.#dues, this.#pauses, this.#ages];
  }
}

export class RetryTable {
  readonly #chunks: Chunk[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(origin: number): RetryState | undefined {
    const chunk = this.#chunks[this.#chunkOf(origin)];
    if (chunk === undefined) return undefined;
    const row = chunk.rowFrom(origin);
    return row < chunk.size && chunk.origin(row) === origin ? chunk.row(row) : undefined;
  }

  has(origin: number): boolean {
    if (this.#size === 0) return false;
    const chunk = this.#chunks[this.#chunkOf(origin)];
    if (chunk === undefined) return false;
    const row = chunk.rowFrom(origin);
    return row < chunk.size && chunk.origin(row) === origin;
  }

  set(origin: number, state: RetryState): void {
    const [chunk, row] = this.#roomFor(origin);
    const isThere = row < chunk.size && chunk.origin(row) === origin;
    if (!isThere) {
      // Also at the end, where there is nothing to move.
      chunk.shift(row, row + 1);
      this.#size += 1;
    }
    chunk.put(row, origin, state);
  }

  delete(origin: number): void {
    const index = this.#chunkOf(origin);
    const chunk = this.#chunks[index];
    if (chunk === undefined) return;
    const row = chunk.rowFrom(origin);
    if (row === chunk.size || chunk.origin(row) !== origin) return;
    chunk.shift(row + 1, row);
    this.#size -= 1;
    this.#join(index);
  }

  /** In the order of origins. The table mustn't change meanwhile. */
  *[Symbol.iterator](): Generator<[origin: number, state: RetryState], void> {
    for (const chunk of this.#chunks) {
      for (let row = 0; row < chunk.size; row += 1) yield [chunk.origin(row), chunk.row(row)];
    }
  }

  *keys(): Generator<number, void> {
    for (const chunk of this.#chunks) for (let row = 0; row < chunk.size; row += 1) yield chunk.origin(row);
  }

  /** The origins from `first` to `last`. */
  originsIn(first: number, last: number): number[] {
    const found: number[] = [];
    for (let index = Math.max(0, this.#chunkOf(first)); index < this.#chunks.length; index += 1) {
      const chunk = this.#chunks[index] as Chunk;
      for (let row = chunk.rowFrom(first); row < chunk.size; row += 1) {
        if (chunk.origin(row) > last) return found;
        found.push(chunk.origin(row));
      }
    }
    return found;
  }

  /** The last chunk that begins at or before the origin; -1 when there is none. */
  #chunkOf(origin: number): number {
    let low = 0;
    let high = this.#chunks.length - 1;
    // Most questions are about the newest origins.
    if (high >= 0 && (this.#chunks[high] as Chunk).base <= origin) return high;
    while (low <= high) {
      const middle = (low + high) >> 1;
      if ((this.#chunks[middle] as Chunk).base <= origin) low = middle + 1;
      else high = middle - 1;
    }
    return high;
  }

  /** Where the origin stands, or is to stand, in a chunk with room for one more. */
  #roomFor(origin: number): [Chunk, number] {
    const index = this.#chunkOf(origin);
    const chunk = this.#chunks[index];
    if (chunk === undefined || !chunk.spans(origin)) return [this.#insert(index + 1, origin), 0];
    const row = chunk.rowFrom(origin);
    const isThere = row < chunk.size && chunk.origin(row) === origin;
    if (isThere || chunk.size < ROWS_MAX) return [chunk, row];
    if (row === ROWS_MAX) return [this.#insert(index + 1, origin), 0];
    const half = ROWS_MAX / 2;
    this.#insert(index + 1, chunk.origin(half)).append(chunk, half);
    chunk.size = half;
    return this.#roomFor(origin);
  }

  #insert(index: number, base: number): Chunk {
    const chunk = new Chunk(base);
    this.#chunks.splice(index, 0, chunk);
    return chunk;
  }

  /** A chunk has lost a row: it may be empty, or have room for the next one. */
  #join(index: number): void {
    const chunk = this.#chunks[index] as Chunk;
    if (chunk.size === 0) {
      this.#chunks.splice(index, 1);
      return;
    }
    const next = this.#chunks[index + 1];
    if (next === undefined || chunk.size + next.size > ROWS_FEW || !chunk.spans(next.origin(next.size - 1))) return;
    chunk.append(next, 0);
    this.#chunks.splice(index + 1, 1);
  }
}
