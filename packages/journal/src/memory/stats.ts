/** What the writer thread counts; read by anyone. */
const CELLS = {
  durableSequence: 0,
  batches: 1,
  records: 2,
  bytes: 3,
  segment: 4,
  /**
   * `performance.timeOrigin + performance.now()` at the start of the running sync; 0 without one.
   */
  syncStartedMs: 5,
  /** How often the writer had to wait for a spare. */
  spareWaits: 6,
  /** Records that were refused because the disk was full. */
  refused: 7,
} as const;

export type WriterCell = keyof typeof CELLS;

export const WRITER_STATS_BYTES: number = 16 * Float64Array.BYTES_PER_ELEMENT;

export class WriterStats {
  readonly #cells: Float64Array;

  constructor(buffer: SharedArrayBuffer) {
    this.#cells = new Float64Array(buffer);
  }

  get(name: WriterCell): number {
    return this.#cells[CELLS[name]] as number;
  }

  set(name: WriterCell, value: number): void {
    this.#cells[CELLS[name]] = value;
  }

  add(name: WriterCell, amount: number): void {
    this.#cells[CELLS[name]] = (this.#cells[CELLS[name]] as number) + amount;
  }
}
