/**
 * Whether a thread may let results lie for a moment instead of looking for them or being woken for each: where all cores compute, both take time
 * from the tasks, and where calls wait in long queues they get more from that time than the moment costs them.
 */

/** How long results may lie. */
const REST_MS = 1;
/** How long calls take where they may. Nobody runs dry meanwhile, as long as there is more in the queues than is done during a rest. */
const CALL_MS_MIN = 1.5;
/** Results that come during a rest; for fewer a bell is as cheap. */
const RESULTS_MIN = 10;

export class ResultRate {
  #results = 0;
  #countedFrom = 0;
  #perMs = 0;

  /** So many calls were settled since the last time, maybe none. `now` as `performance.now()`. */
  count(results: number, now: number): void {
    this.#results += results;
    const elapsedMs = now - this.#countedFrom;
    if (elapsedMs < REST_MS) return;
    this.#perMs = this.#results / elapsedMs;
    this.#results = 0;
    this.#countedFrom = now;
  }

  /**
   * How long the next results may lie, when `queued` calls are with the machines; ms, 0 for not at all. By Little's law what is queued, divided by
   * what is done per millisecond, is how long a call takes.
   */
  restMs(queued: number): number {
    return this.#perMs * REST_MS >= RESULTS_MIN && queued >= this.#perMs * CALL_MS_MIN ? REST_MS : 0;
  }
}
