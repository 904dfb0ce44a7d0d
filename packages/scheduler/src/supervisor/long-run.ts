/**
 * Measures how long a handler has held its thread, without the time in which the system let others
 * run.
 *
 * The watchdog sees now and then, and late on a loaded machine, that the same task still runs. The
 * time behind its last look is unknown, so it doesn't count.
 */
export class LongRun {
  #since = 0;
  #waitedBefore: number | undefined;
  /** How long the task has run at the last look. */
  ms = 0;

  /** Another task, or none, runs from `now` on. */
  begin(now: number): void {
    this.#since = now;
    this.#waitedBefore = undefined;
    this.ms = 0;
  }

  /** The task still runs. `waited`: how long its thread has waited for a processor by now. */
  look(now: number, waited: number): void {
    // Before the first look the thread may have waited too: by that much the hint comes too early.
    this.#waitedBefore ??= waited;
    this.ms = Math.max(0, now - this.#since - (waited - this.#waitedBefore));
  }
}
