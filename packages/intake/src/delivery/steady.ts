/**
 * The time since the opening, told as ms since 1970: what the wall clock would say if nobody had
 * set it meanwhile. Ages are measured by it, so that setting the clock ends no record's retries.
 */
import type { RetryState } from "../states/retry-table.ts";
import type { Clock } from "./ports.ts";

export class Steady {
  readonly #clock: Clock;
  readonly #startMs: number;
  readonly #openedMs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#openedMs = clock.wall();
    this.#startMs = this.#openedMs - clock.now();
  }

  nowMs(): number {
    return this.#startMs + this.#clock.now();
  }

  /**
   * When the first attempt of a record failed, as a RETRY record says it. Of another process it
   * says an age: the time in which none ran doesn't count, for nobody knows how long that was.
   */
  firstOf({ attempts, dueMs, pauseMs, ageMs }: RetryState): number {
    if (attempts === 0) return 0;
    const failedMs = dueMs - pauseMs;
    const isOwn = failedMs >= this.#openedMs && failedMs <= this.nowMs();
    return (isOwn ? failedMs : this.#openedMs) - ageMs;
  }

  /** A steady time for people, by the wall clock. */
  toWall(steadyMs: number): number {
    return steadyMs + this.#clock.wall() - this.nowMs();
  }
}
