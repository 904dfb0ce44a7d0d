/**
 * When a thread is started in the place of one that failed.
 *
 * A thread is *unproductive* if it ended before it had started, or soon afterwards without having
 * settled a task: another would most likely end the same way. Pauses between such starts grow.
 * After `patienceMs` without a thread that is better the calls that wait are failed, with the
 * reason of the last end; starts go on.
 */

/** Threads that live for longer than this are productive. */
export const STABLE_MS = 1000;
/** The pause after the second unproductive thread in a row, doubled each time. */
const PAUSE_MS = 50;
const PAUSE_MS_MAX = 5000;

export class StartPolicy {
  readonly #patienceMs: number;
  #failures = 0;
  /** When the first of the unproductive threads was started. */
  #failingSinceMs = 0;
  #notBeforeMs = 0;

  constructor(patienceMs: number) {
    this.#patienceMs = patienceMs;
  }

  /** How long to wait until the next start. */
  pauseMs(nowMs: number): number {
    return Math.max(0, this.#notBeforeMs - nowMs);
  }

  /** A thread has ended that was of use. */
  succeeded(): void {
    this.#failures = 0;
    this.#notBeforeMs = 0;
  }

  /** One that was started at `startedMs` has ended, and was of no use. */
  failed(startedMs: number, nowMs: number): void {
    if (this.#failures === 0) this.#failingSinceMs = startedMs;
    const pauseMs = this.#failures === 0 ? 0 : Math.min(PAUSE_MS * 2 ** (this.#failures - 1), PAUSE_MS_MAX);
    this.#failures += 1;
    this.#notBeforeMs = nowMs + pauseMs;
  }

  /** Whether calls have waited for long enough. */
  isHopeless(nowMs: number): boolean {
    return this.#failures > 0 && nowMs - this.#failingSinceMs >= this.#patienceMs;
  }
}
