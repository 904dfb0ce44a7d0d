/**
 * A histogram in shared memory: one thread records, any thread reads, no atomics.
 *
 * Buckets are log-linear as in HdrHistogram: 32 per power of two, so that a value is known to
 * within 1/32 (3.1 %). A bucket is a 64-bit float with one writer; a reader may see a count that is
 * a moment old, never a torn one on the 64-bit platforms that Node runs on.
 */
const SUB_BITS = 5;
const SUB_COUNT: number = 1 << SUB_BITS;
/** Values from 2^31 on are counted as 2^31 - 1. */
const VALUE_MAX: number = 2 ** 31 - 1;
const BUCKETS: number = (31 - SUB_BITS + 1) * SUB_COUNT;
const SUM: number = BUCKETS;
const MAX: number = BUCKETS + 1;
const WORDS: number = BUCKETS + 2;

/** Bytes of one histogram, a multiple of 128. */
export const HISTOGRAM_BYTES: number = Math.ceil((WORDS * Float64Array.BYTES_PER_ELEMENT) / 128) * 128;

function bucketOf(value: number): number {
  if (value < SUB_COUNT) return value;
  const exponent = 31 - Math.clz32(value) - SUB_BITS;
  return exponent * SUB_COUNT + (value >>> exponent);
}

/** The largest value that falls into `bucket`. */
function upperBound(bucket: number): number {
  if (bucket < SUB_COUNT) return bucket;
  const exponent = (bucket >>> SUB_BITS) - 1;
  return ((bucket & (SUB_COUNT - 1)) + SUB_COUNT + 1) * 2 ** exponent - 1;
}

/** A summary in the unit that was recorded. */
export interface HistogramSummary {
  readonly count: number;
  readonly mean: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

export class Histogram {
  readonly #cells: Float64Array;

  /**
   * Over `HISTOGRAM_BYTES` bytes of `buffer` from `byteOffset`; by default over memory of its own.
   */
  constructor(buffer: SharedArrayBuffer = new SharedArrayBuffer(HISTOGRAM_BYTES), byteOffset = 0) {
    this.#cells = new Float64Array(buffer, byteOffset, WORDS);
  }

  /**
   * Counts a value. Fractions are cut off; a negative number and NaN count as 0. The recording
   * thread only.
   */
  record(given: number): void {
    const cells = this.#cells;
    const value = given > 0 ? given : 0;
    const whole = value > VALUE_MAX ? VALUE_MAX : value | 0;
    cells[bucketOf(whole)] = (cells[bucketOf(whole)] as number) + 1;
    cells[SUM] = (cells[SUM] as number) + value;
    if (value > (cells[MAX] as number)) cells[MAX] = value;
  }

  /** Adds what `other` has counted. */
  add(other: Histogram): void {
    for (let bucket = 0; bucket <= SUM; bucket += 1) {
      this.#cells[bucket] = (this.#cells[bucket] as number) + (other.#cells[bucket] as number);
    }
    this.#cells[MAX] = Math.max(this.#cells[MAX] as number, other.#cells[MAX] as number);
  }

  get count(): number {
    let count = 0;
    for (let bucket = 0; bucket < BUCKETS; bucket += 1) count += this.#cells[bucket] as number;
    return count;
  }

  get max(): number {
    return this.#cells[MAX] as number;
  }

  /** Of all values that were counted. */
  get sum(): number {
    return this.#cells[SUM] as number;
  }

  /**
   * Numbers of values that are at most each of `bounds`, which ascend. A value less than 1/32 below
   * a bound may count as above it.
   */
  cumulative(bounds: readonly number[]): number[] {
    let bucket = 0;
    let count = 0;
    return bounds.map((bound) => {
      // A bucket holds what is less than its upper bound plus one: fractions were cut off.
      for (; bucket < BUCKETS && upperBound(bucket) + 1 <= bound; bucket += 1) count += this.#cells[bucket] as number;
      return count;
    });
  }

  /**
   * The value that `percent` of all values don't exceed, to within 1/32; 0 when nothing was
   * counted.
   */
  percentile(percent: number): number {
    // Less than a rank off for rounding: 41,000 × 99.9 / 100 is a little more than 40,959.
    const wanted = Math.ceil((this.count * percent) / 100 - 1e-6);
    if (wanted === 0) return 0;
    let seen = 0;
    for (let bucket = 0; bucket < BUCKETS; bucket += 1) {
      seen += this.#cells[bucket] as number;
      if (seen >= wanted) return Math.min(upperBound(bucket), this.max);
    }
    return this.max;
  }

  summary(): HistogramSummary {
    const count = this.count;
    return {
      count,
      mean: count === 0 ? 0 : (this.#cells[SUM] as number) / count,
      p50: this.percentile(50),
      p90: this.percentile(90),
      p99: this.percentile(99),
      p999: this.percentile(99.9),
      max: this.max,
    };
  }
}
