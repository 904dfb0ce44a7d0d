/**
 * Decides whether a thread may let results lie for a moment. Looking for each result, and being
 * woken for it, take time from the tasks where all cores compute. Calls that wait in long queues
 * gain more from that time than the moment costs them.
 */

/** How long results may lie. */
const REST_MS = 1;
/** The queues must last longer than a rest, so that no machine runs dry. */
const WAITING_MS_MIN = 1.5;
/** Results that come during a rest; for fewer a bell is as cheap. */
const RESULTS_MIN = 10;
/**
 * How long results must have come at that rate, less the time in which they didn't, and the longest
 * time that counts. Results that have piled up behind a long task are no steady load, and their
 * callers want them soon.
 */
const BUSY_MS_MIN = 20;
const BUSY_MS_MAX = 40;

export class ResultRate {
  #results = 0;
  #countedFrom = 0;
  #perMs = 0;
  #busyMs = 0;

  /**
   * `results` calls were settled since the last count, maybe none. `now` as `performance.now()`.
   */
  count(results: number, now: number): void {
    this.#results += results;
    const elapsedMs = now - this.#countedFrom;
    if (elapsedMs < REST_MS) return;
    this.#perMs = this.#results / elapsedMs;
    const isBusy = this.#perMs * REST_MS >= RESULTS_MIN;
    this.#busyMs = Math.max(0, Math.min(BUSY_MS_MAX, this.#busyMs + (isBusy ? elapsedMs : -elapsedMs)));
    this.#results = 0;
    this.#countedFrom = now;
  }

  /**
   * How long the next results may lie, when `waiting` tasks wait for the machines; ms, 0 for not at
   * all.
   */
  restMs(waiting: number): number {
    const isBusy = this.#busyMs >= BUSY_MS_MIN && this.#perMs * REST_MS >= RESULTS_MIN;
    return isBusy && waiting >= this.#perMs * WAITING_MS_MIN ? REST_MS : 0;
  }
}
