/**
 * How long a thread without work looks for some before it sleeps; in whatever unit its user counts.
 *
 * To sleep and to be woken costs about 50 µs together. A thread that gets work within that time is
 * better off looking on, and one that looks for as long as a sleep costs never pays more than twice
 * what the best choice would have (Karlin, Li, Manasse and Owicki, "Empirical studies of
 * competitive spinning for a shared-memory multiprocessor", 1991).
 *
 * As long as looking pays more often than not, a thread looks for the whole time: after every look
 * in vain for half as long, after one that paid for twice as long again. One look in
 * `LOOKS_PER_TRIAL` is a long one nevertheless, and if it pays the next ones are: two threads that
 * answer each other slowly because both sleep would never find out that they needn't.
 */

/** The least part of the longest look that is left after many times in vain. */
const LEAST = 0.04;
const LOOKS_PER_TRIAL = 64;

export class LookAround {
  readonly #least: number;
  readonly #longest: number;
  #budget: number;
  /** Looks since the last one of full length. */
  #shortLooks = 0;

  /** `longest`: of a look that pays. No look is shorter than `least`. `first`: where it begins. */
  constructor(longest: number, least: number, first: number = longest) {
    this.#longest = longest;
    this.#budget = first;
    this.#least = least;
  }

  get #isTrial(): boolean {
    return this.#shortLooks >= LOOKS_PER_TRIAL;
  }

  /** How long the next look is. */
  budget(): number {
    return Math.max(this.#least, this.#isTrial ? this.#longest : this.#budget);
  }

  /** Reports the outcome of a look-around. */
  looked(hasFound: boolean): void {
    if (this.#isTrial) {
      this.#shortLooks = 0;
      if (hasFound) this.#budget = this.#longest;
      return;
    }
    this.#budget = hasFound
      ? Math.min(this.#budget * 2, this.#longest)
      : Math.max(this.#budget / 2, this.#longest * LEAST);
    this.#shortLooks = this.#budget < this.#longest ? this.#shortLooks + 1 : 0;
  }
}
