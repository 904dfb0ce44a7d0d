/**
 * Limits the records that the machines may be given: enough to keep them busy, few enough for a
 * record of high priority to be next soon. The window is the number that they have finished in the
 * last few milliseconds, less those that none of them has begun.
 */
import type { Clock, Runner } from "./ports.ts";

/** Tasks that no machine has begun, at least and at most. */
const WINDOW_MIN = 16;
const WINDOW_MAX = 4096;
const WINDOW_FIRST = 256;
const WINDOW_MS = 4;

export class Window {
  readonly #runner: Runner;
  readonly #clock: Clock;
  #size = WINDOW_FIRST;
  #since = 0;
  #finished = 0;
  #isClosed = false;
  /** Records that may be handed out in this turn. */
  left = 0;

  constructor(runner: Runner, clock: Clock) {
    this.#runner = runner;
    this.#clock = clock;
  }

  /** A machine is done with a record. */
  finished(): void {
    this.#finished += 1;
  }

  /** From the next turn on nothing may be handed out any more. */
  close(): void {
    this.#isClosed = true;
  }

  /** A new turn. */
  renew(): void {
    const now = this.#clock.now();
    if (now - this.#since >= WINDOW_MS) {
      this.#size = Math.min(Math.max(this.#finished, WINDOW_MIN), WINDOW_MAX);
      this.#finished = 0;
      this.#since = now;
    }
    this.left = this.#isClosed ? 0 : Math.max(0, this.#size - this.#runner.waiting());
  }
}
