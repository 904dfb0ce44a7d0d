/**
 * Named counters in shared memory: one thread adds, any thread reads, no atomics.
 *
 * A counter is a 64-bit float (exact up to 2^53) with one writer.
 */
export class Counters<Name extends string> {
  readonly #cells: Float64Array;
  readonly #names: readonly Name[];

  constructor(names: readonly Name[], buffer: SharedArrayBuffer = Counters.allocate(names.length)) {
    this.#names = names;
    this.#cells = new Float64Array(buffer);
  }

  static allocate(count: number): SharedArrayBuffer {
    return new SharedArrayBuffer(Math.ceil((count * Float64Array.BYTES_PER_ELEMENT) / 128) * 128);
  }

  /** The cell of a counter, for `cells[index] += n` on a hot path. */
  index(name: Name): number {
    return this.#names.indexOf(name);
  }

  /** The counters as numbers; written by the counting thread only. */
  get cells(): Float64Array {
    return this.#cells;
  }

  add(name: Name, amount = 1): void {
    const index = this.#names.indexOf(name);
    this.#cells[index] = (this.#cells[index] as number) + amount;
  }

  read(): Record<Name, number> {
    return Object.fromEntries(this.#names.map((name, index) => [name, this.#cells[index]])) as Record<Name, number>;
  }
}
