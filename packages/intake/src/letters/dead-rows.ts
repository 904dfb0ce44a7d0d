/** The result of a scan of the dead letters: a row each, in the order of their records. */
import { COLUMN, COLUMNS, type DeadPiece } from "../delivery/dead-scan.ts";

export interface DeadRow {
  readonly origin: number;
  /** Places of the record and of its DEAD record. */
  readonly dataPlace: number;
  readonly place: number;
  /** Number of the death. */
  readonly death: number;
}

export class DeadRows {
  readonly #values: Float64Array;
  readonly length: number;
  /** Rows by origin; undefined where they stand so. */
  readonly #order: Uint32Array | undefined;

  constructor(pieces: readonly DeadPiece[]) {
    this.#values = new Float64Array(pieces.reduce((sum, { rows }) => sum + rows.length, 0));
    let at = 0;
    for (const { rows } of pieces) {
      this.#values.set(rows, at);
      at += rows.length;
    }
    this.length = at / COLUMNS;
    this.#order = this.#isInOrder() ? undefined : this.#sorted();
  }

  /** Whether the filter was enough: no record need be read to know who is meant. */
  get isSure(): boolean {
    for (let row = 0; row < this.length; row += 1) if (this.#at(row, "isSure") === 0) return false;
    return true;
  }

  row(index: number): DeadRow {
    const row = this.#order?.[index] ?? index;
    return {
      origin: this.#at(row, "origin"),
      dataPlace: this.#at(row, "dataPlace"),
      place: this.#at(row, "place"),
      death: this.#at(row, "death"),
    };
  }

  rows(from: number, to: number): DeadRow[] {
    const length = Math.max(0, Math.min(to, this.length) - from);
    return Array.from({ length }, (_, index) => this.row(from + index));
  }

  #at(row: number, column: keyof typeof COLUMN): number {
    return this.#values[row * COLUMNS + COLUMN[column]] as number;
  }

  #isInOrder(): boolean {
    for (let row = 1; row < this.length; row += 1) {
      if (this.#at(row, "origin") < this.#at(row - 1, "origin")) return false;
    }
    return true;
  }

  #sorted(): Uint32Array {
    const order = Uint32Array.from({ length: this.length }, (_, row) => row);
    return order.toSorted((left, right) => this.#at(left, "origin") - this.#at(right, "origin"));
  }
}
