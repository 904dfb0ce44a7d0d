/**
 * Records that wait for a time: a binary heap in typed arrays, the earliest first, 16 bytes a
 * record. Past `memoryMax` records the later half goes to the disk as a run, so that the memory
 * stays the same however many wait.
 */
import type { WaitRuns } from "./wait-runs.ts";

const CAPACITY_MIN = 256;
/** Records in memory. Twice 1 MiB, since there are delays and pauses. */
const WAITS_MEMORY_MAX = 65_536;

export class Waits {
  #due: Float64Array = new Float64Array(CAPACITY_MIN);
  #origins: Float64Array = new Float64Array(CAPACITY_MIN);
  #size = 0;
  readonly #runs: WaitRuns | undefined;
  readonly #memoryMax: number;
  /** More than `memoryMax` while the disk takes nothing. */
  #limit: number;

  /** Without `runs` everything stays in memory. */
  constructor(runs?: WaitRuns, memoryMax: number = WAITS_MEMORY_MAX) {
    this.#runs = runs;
    this.#memoryMax = memoryMax;
    this.#limit = memoryMax;
  }

  get size(): number {
    return this.#size + (this.#runs?.size ?? 0);
  }

  /** Of those, how many lie on the disk. */
  get spilled(): number {
    return this.#runs?.size ?? 0;
  }

  /** Removes what lies on the disk. */
  close(): void {
    this.#runs?.close();
  }

  /** When the next one is due; Infinity when none waits. */
  get nextDueMs(): number {
    return Math.min(this.#heapDueMs, this.#runs?.nextDueMs ?? Infinity);
  }

  get #heapDueMs(): number {
    return this.#size === 0 ? Infinity : (this.#due[0] as number);
  }

  add(dueMs: number, origin: number): void {
    if (this.#runs !== undefined && this.#size >= this.#limit) this.#spill(this.#runs);
    if (this.#size === this.#due.length) this.#resize(this.#due.length * 2);
    let index = this.#size;
    this.#size += 1;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if ((this.#due[parent] as number) <= dueMs) break;
      this.#move(parent, index);
      index = parent;
    }
    this.#put(index, dueMs, origin);
  }

  /** Takes the earliest out and returns its origin. Only when there is one. */
  take(): number {
    const runs = this.#runs;
    if (runs !== undefined && runs.size > 0 && runs.nextDueMs < this.#heapDueMs) return runs.take();
    return this.#takeFromHeap();
  }

  #takeFromHeap(): number {
    const origin = this.#origins[0] as number;
    this.#size -= 1;
    const dueMs = this.#due[this.#size] as number;
    const last = this.#origins[this.#size] as number;
    let index = 0;
    for (;;) {
      const left = 2 * index + 1;
      if (left >= this.#size) break;
      const right = left + 1;
      const isRightFirst = right < this.#size && (this.#due[right] as number) < (this.#due[left] as number);
      const child = isRightFirst ? right : left;
      if (dueMs <= (this.#due[child] as number)) break;
      this.#move(child, index);
      index = child;
    }
    if (this.#size > 0) this.#put(index, dueMs, last);
    return origin;
  }

  /** The later half goes to the disk. Where it takes nothing, the memory has to. */
  #spill(runs: WaitRuns): void {
    const { due, origins } = this.#sorted();
    const kept = this.#size >> 1;
    try {
      runs.write(pairsOf(due, origins, kept));
    } catch {
      // The journal reports a full or failing disk; the waits are in the log in any case.
      this.#limit = this.#size * 2;
      return;
    }
    this.#limit = this.#memoryMax;
    this.#size = kept;
    this.#resize(Math.max(CAPACITY_MIN, Math.min(this.#due.length, 2 * this.#memoryMax)));
    // A sorted list is a heap.
    this.#due.set(due.subarray(0, kept));
    this.#origins.set(origins.subarray(0, kept));
  }

  /**
   * Everything in the heap in order. Numbers alone are sorted ten times as fast as by a function,
   * so each origin then looks for its place among the due times.
   */
  #sorted(): { readonly due: Float64Array; readonly origins: Float64Array } {
    const due = this.#due.subarray(0, this.#size).toSorted();
    const origins = new Float64Array(this.#size);
    /** Of each first one of equal due times, how many have their origin. */
    const placed = new Uint32Array(this.#size);
    for (let index = 0; index < this.#size; index += 1) {
      const at = lowest(due, this.#due[index] as number);
      origins[at + (placed[at] as number)] = this.#origins[index] as number;
      placed[at] = (placed[at] as number) + 1;
    }
    return { due, origins };
  }

  #put(index: number, dueMs: number, origin: number): void {
    this.#due[index] = dueMs;
    this.#origins[index] = origin;
  }

  #move(from: number, to: number): void {
    this.#put(to, this.#due[from] as number, this.#origins[from] as number);
  }

  #resize(capacity: number): void {
    if (capacity === this.#due.length) return;
    const due = new Float64Array(capacity);
    const origins = new Float64Array(capacity);
    due.set(this.#due.subarray(0, Math.min(this.#size, capacity)));
    origins.set(this.#origins.subarray(0, Math.min(this.#size, capacity)));
    this.#due = due;
    this.#origins = origins;
  }
}

/** Where the first one of this value stands in a sorted list that has it. */
function lowest(sorted: Float64Array, value: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle] as number) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Due time and origin in turn, from a place on. */
function pairsOf(due: Float64Array, origins: Float64Array, from: number): Float64Array {
  const pairs = new Float64Array(2 * (due.length - from));
  for (let index = from; index < due.length; index += 1) {
    pairs[2 * (index - from)] = due[index] as number;
    pairs[2 * (index - from) + 1] = origins[index] as number;
  }
  return pairs;
}
