/**
 * The time since the opening, told as ms since 1970: what the wall clock would say if nobody had
 * set it meanwhile. Ages are measured by it, so that setting the clock ends no record's retries.
 */
import type { Clock } from "./ports.ts";

export class Steady {
  readonly #clock: Clock;
  readonly #startMs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#startMs = clock.wall() - clock.now();
  }

  nowMs(): number {
    return this.#startMs + this.#clock.now();
  }

  /** A steady time for the log, where the next process reads it by its own wall clock. */
  toWall(steadyMs: number): number {
    return steadyMs + this.#clock.wall() - this.nowMs();
  }

  fromWall(wallMs: number): number {
    return wallMs - this.#clock.wall() + this.nowMs();
  }
}
