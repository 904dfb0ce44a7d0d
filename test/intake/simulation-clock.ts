/** The clock of a simulation: it moves when it is told, and in some schedules somebody sets it. */
import type { Random } from "@millrace/base";
import type { Clock } from "@millrace/intake/internal/delivery/ports";

const START_MS = 1_700_000_000_000;
const SET_BY_MS = 20_000;

export class SimClock implements Clock {
  readonly #random: Random;
  readonly #isSet: boolean;
  #nowMs = 1000;
  #wallMs = START_MS + 1000;
  /** The latest time that the wall clock has shown since it began to move. */
  latestWallMs = 0;
  wasSetBack = false;
  /** Called when somebody has set the wall clock. */
  onSet: () => void = () => {};

  /** `isSet`: somebody sets it now and then. */
  constructor(random: Random, isSet: boolean) {
    this.#random = random;
    this.#isSet = isSet;
  }

  now(): number {
    return this.#nowMs;
  }

  wall(): number {
    return this.#wallMs;
  }

  advance(ms: number): void {
    this.#nowMs += ms;
    this.#wallMs += ms;
    this.#shown();
    if (!this.#isSet || this.#random.below(20) > 0) return;
    const isBack = this.#random.below(2) !== 0;
    this.#wallMs += isBack ? -SET_BY_MS : SET_BY_MS;
    this.wasSetBack ||= isBack;
    this.#shown();
    this.onSet();
  }

  #shown(): void {
    this.latestWallMs = Math.max(this.latestWallMs, this.#wallMs);
  }

  /** As a publisher tells it, where somebody has set the clock. */
  steadyUnlessWall(): number | undefined {
    const steadyMs = START_MS + this.#nowMs;
    return Math.abs(steadyMs - this.#wallMs) <= 1000 ? undefined : steadyMs;
  }
}
