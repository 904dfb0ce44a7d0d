/**
 * Results of handlers that are kept for a while: where they lie, and until when.
 *
 * Time is that of the records that are read, not of a clock, so that reading the log again forgets
 * the same results. Only ACK and RESULT records count: their time is steady (`Steady`), so that
 * setting the clock ends no result early. A reader of a result also compares with a clock.
 */
import { Waits } from "./waits.ts";

/** Kept at once; with more, those whose time is over first are forgotten early. 100 bytes each. */
const RESULTS_MAX = 1_000_000;

export interface KeptResult {
  /** Place of the RESULT record. */
  readonly place: number;
  /** Ms since 1970. */
  readonly untilMs: number;
}

export class Results {
  readonly #kept = new Map<number, KeptResult>();
  readonly #ends = new Waits();
  readonly #forgotten: (place: number) => void;

  /** `forgotten` gets the place of each RESULT record that nobody needs any more. */
  constructor(forgotten: (place: number) => void) {
    this.#forgotten = forgotten;
  }

  /** By the origin of the record whose handler returned it. */
  get all(): ReadonlyMap<number, KeptResult> {
    return this.#kept;
  }

  /** An ACK or RESULT record with this time was read. */
  read(timeMs: number): void {
    while (this.#ends.nextDueMs <= timeMs) this.#forget(this.#ends.take());
  }

  /** The result of a record lies at a place; `replaces`: the copy of another one, 0 without. */
  keep(origin: number, { place, untilMs }: KeptResult, replaces: number): void {
    const known = this.#kept.get(origin);
    if (replaces !== 0 && known?.place !== replaces) {
      this.#forgotten(place);
      return;
    }
    this.#kept.set(origin, { place, untilMs });
    if (known === undefined) this.#ends.add(untilMs, origin);
    else if (replaces === 0) this.#forgotten(known.place);
    while (this.#kept.size > RESULTS_MAX) this.#forget(this.#ends.take());
  }

  #forget(origin: number): void {
    const known = this.#kept.get(origin);
    if (known === undefined) return;
    this.#kept.delete(origin);
    this.#forgotten(known.place);
  }
}
