/**
 * How fast the keeper fills the next segment with zeros. Every byte of it competes with the syncs
 * of the log: at full speed, a record's sync takes twenty times as long (ADR 39).
 *
 *   the writer waits, or the disk was full   as fast as it goes
 *   nothing is being logged                  nearly so, with a look after each small step
 *   otherwise                                as the log fills its segment, so that everything is
 *                                            made when that is two thirds full
 *
 * What it reads is a hint: a number that is a turn old makes it a step early or late.
 */
import { ALIGNMENT } from "../files/format.ts";
import { STEP_BYTES_MAX } from "../files/zero-fill.ts";
import { type JournalMemory, SPACE, SPACE_FULL } from "../memory/control.ts";
import { type WriterStats, writerStats } from "../memory/stats.ts";

/** How often there is a look at the log while something is to be made. */
export const LOOK_MS = 1;
/** The log rests when it had no batch for so long. */
const REST_MS = 1;
/** Beside a resting log: a record that comes meanwhile waits for one such write at most. */
const REST_STEP_BYTES: number = 256 * 1024;
/** Smaller steps would cost more calls than they spare the log. */
const STEP_BYTES_MIN: number = 64 * 1024;
/** Everything is made when the segment is full to one part in this. */
const AHEAD = 1.5;

export class Pace {
  readonly #control: Int32Array;
  readonly #stats: WriterStats;
  readonly #nowMs: () => number;
  #batches: number;
  #batchAt = -Infinity;
  /** Bytes to make, of which are made, and the log's bytes when it began. */
  #wanted = 0;
  #made = 0;
  #loggedBefore = 0;

  constructor({ control, stats }: JournalMemory, nowMs: () => number) {
    this.#control = new Int32Array(control);
    this.#stats = writerStats(stats);
    this.#nowMs = nowMs;
    this.#batches = this.#stats.get("batches");
  }

  /** From now on so many bytes are to be made. */
  begin(bytes: number): void {
    this.#wanted = bytes;
    this.#made = 0;
    this.#loggedBefore = this.#logged();
  }

  /** Bytes of the next step, which the caller makes at once; 0 when it isn't time. */
  bytesDue(): number {
    const bytes = this.#due();
    this.#made += bytes;
    return bytes;
  }

  #due(): number {
    const isHurried = this.#stats.get("isSpareAwaited") !== 0 || Atomics.load(this.#control, SPACE) === SPACE_FULL;
    if (isHurried) return STEP_BYTES_MAX;
    if (this.#isResting()) return REST_STEP_BYTES;
    const filled = (this.#logged() - this.#loggedBefore) / this.#stats.get("segmentBytes");
    const due = Math.ceil((this.#wanted * Math.min(1, filled * AHEAD) - this.#made) / ALIGNMENT) * ALIGNMENT;
    return due < STEP_BYTES_MIN ? 0 : due;
  }

  #isResting(): boolean {
    const now = this.#nowMs();
    const batches = this.#stats.get("batches");
    if (batches !== this.#batches) {
      this.#batches = batches;
      this.#batchAt = now;
    }
    return now - this.#batchAt >= REST_MS && this.#stats.get("syncStartedMs") === 0;
  }

  /** Bytes in the log's files, or a little more: each batch begins at a page. */
  #logged(): number {
    return this.#stats.get("bytes") + this.#stats.get("batches") * ALIGNMENT;
  }
}
