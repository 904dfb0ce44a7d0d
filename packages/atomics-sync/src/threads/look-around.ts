/**
 * How long a thread without work looks for some before it sleeps.
 *
 * To sleep and to be woken costs about 50 µs together, so whoever gets work within that time is better off looking on, and who
 * looks for as long as a sleep costs never pays more than twice what the best choice would have (Karlin, Li, Manasse and Owicki,
 * "Empirical studies of competitive spinning for a shared-memory multiprocessor", 1991). As long as it pays more often than not a thread looks
 * for the whole time: after every time in vain for half as long, after one that paid for twice as long again. One look in `LOOKS_PER_TRIAL` is a long
 * one nevertheless, and if it pays the next ones are: two threads that answer each other slowly because both sleep would never find out that
 * they needn't.
 */

/** The least part of the longest look that is left after many times in vain. */
const LEAST = 0.04;
const LOOKS_PER_TRIAL = 64;

export class LookAround {
  readonly #spinMs: number;
  readonly #longestMs: number;
  #lookMs: number;
  /** Looks since the last one of full length. */
  #shortLooks = 0;

  /** `longestMs`: of a look that pays. No look is shorter than `spinMs`. */
  constructor(longestMs: number, spinMs: number) {
    this.#longestMs = longestMs;
    this.#lookMs = longestMs;
    this.#spinMs = spinMs;
  }

  get #isTrial(): boolean {
    return this.#shortLooks >= LOOKS_PER_TRIAL;
  }

  /** How long the next look is. */
  budgetMs(): number {
    return Math.max(this.#spinMs, this.#isTrial ? this.#longestMs : this.#lookMs);
  }

  /** What came of it. */
  looked(hasFound: boolean): void {
    if (this.#isTrial) {
      this.#shortLooks = 0;
      if (hasFound) this.#lookMs = this.#longestMs;
      return;
    }
    this.#lookMs = hasFound
      ? Math.min(this.#lookMs * 2, this.#longestMs)
      : Math.max(this.#lookMs / 2, this.#longestMs * LEAST);
    this.#shortLooks = this.#lookMs < this.#longestMs ? this.#shortLooks + 1 : 0;
  }
}
