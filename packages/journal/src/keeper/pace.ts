/**
 * How fast the keeper fills the next segment with zeros. Every byte of it competes with the syncs
 * of the log: at full speed, a record's sync takes twenty times as long (ADR 39).
 *
 *   the writer waits, or the last attempt   as fast as it goes
 *   found no room
 *   nothing is being logged                 nearly so, with a look after each small step
 *   otherwise                               as the log fills its segment, so that everything is
 *                                           made when that is two thirds full
 *
 * Nothing here is counted from a beginning: what is still to be made is shared out over what is
 * left of the segment. So a keeper that was away, begins late, or begins anew is in time as well.
 *
 * What it reads is a hint: a number that is a turn old makes it a step early or late.
 */
import { ALIGNMENT } from "../files/format.ts";
import { STEP_BYTES_MAX } from "../files/zero-fill.ts";
import { type JournalMemory, SPACE, SPACE_FULL, SPARE_AWAITED, SPARE_FAILED, SPARE_STATE } from "../memory/control.ts";
import { type WriterStats, writerStats } from "../memory/stats.ts";

/** How often there is a look at the log while something is to be made. */
export const LOOK_MS = 1;
/** The log rests when it had no batch for so long. */
const REST_MS = 1;
/** Beside a resting log: a record that comes meanwhile waits for one such write at most. */
const REST_STEP_BYTES: number = 256 * 1024;
/** Smaller steps would cost more calls than they spare the log. */
const STEP_BYTES_MIN: number = 64 * 1024;
/** This part of the segment is left when everything is made. */
const LEFT_PART: number = 1 / 3;

export class Pace {
  readonly #control: Int32Array;
  readonly #stats: WriterStats;
  readonly #nowMs: () => number;
  #batches: number;
  #batchAt = -Infinity;
  /** What the log could write at the last look until everything is to be made. */
  #ahead = 0;
  /** Bytes that are due by that, and not made. */
  #due = 0;

  constructor({ control, stats }: JournalMemory, nowMs: () => number) {
    this.#control = new Int32Array(control);
    this.#stats = writerStats(stats);
    this.#nowMs = nowMs;
    this.#batches = this.#stats.get("batches");
  }

  /** Another file is to be made: nothing of it is due yet. */
  begin(): void {
    this.#due = 0;
    this.#ahead = this.#aheadNow();
  }

  /** Somebody waits for what is being made. */
  get isHurried(): boolean {
    const hasFailed = Atomics.load(this.#control, SPARE_STATE) === SPARE_FAILED;
    const isFull = Atomics.load(this.#control, SPACE) === SPACE_FULL;
    return hasFailed || isFull || Atomics.load(this.#control, SPARE_AWAITED) !== 0;
  }

  /** Bytes of the next step, of `left` that are to be made; 0 when it isn't time. */
  bytesDue(left: number): number {
    if (this.isHurried) return STEP_BYTES_MAX;
    if (this.#isResting()) return REST_STEP_BYTES;
    this.#look(left);
    return this.#due < Math.min(STEP_BYTES_MIN, left) ? 0 : Math.ceil(this.#due / ALIGNMENT) * ALIGNMENT;
  }

  /** So many bytes were made. */
  made(bytes: number): void {
    this.#due = Math.max(0, this.#due - bytes);
  }

  #look(left: number): void {
    const before = this.#ahead;
    this.#ahead = this.#aheadNow();
    if (this.#ahead <= 0) this.#due = left;
    // Another segment has begun where there is more ahead than before.
    else if (this.#ahead < before) this.#due += ((left - this.#due) * (before - this.#ahead)) / before;
    this.#due = Math.min(this.#due, left);
  }

  #aheadNow(): number {
    return this.#stats.get("segmentLeft") - this.#stats.get("segmentBytes") * LEFT_PART;
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
}
