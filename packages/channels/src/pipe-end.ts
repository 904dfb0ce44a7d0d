/**
 * One end of a one-to-one channel in the thread that uses it (pipe-core.ts): how it waits, and how
 * it looks.
 */
import type { PipeEndAwaited, Waiting } from "./pipe-waits.ts";

/** Steps of a rest, about 3 ns each; see `Rest`. */
export const REST_LEAST = 20;
const REST_MOST = 1024;
const STEPS_PER_ITEM = 30;

/**
 * How long one end leaves the other's counter alone before it looks at it. A look takes the cache
 * line away from the other end, whose next store fetches it back: with a look per item, all of the
 * time goes into that. So a rest grows as long as at least an item per `STEPS_PER_ITEM` steps comes
 * up during it; where fewer do, the next look isn't put off.
 */
class Rest {
  #steps = 0;
  /** Keeps the compiler from leaving the loop out. */
  #sum = 0;

  take(least: number): void {
    const steps = Math.max(this.#steps, least);
    for (let step = 0; step < steps; step += 1) this.#sum = (this.#sum + step) | 0;
  }

  /** That many items, or slots, had come up. */
  found(items: number): void {
    const isStream = items > 0 && items * STEPS_PER_ITEM >= this.#steps;
    this.#steps = isStream ? Math.min(Math.max(this.#steps * 2, REST_LEAST), REST_MOST) : 0;
  }
}

export class PipeEnd implements PipeEndAwaited {
  readonly rest: Rest = new Rest();
  /** Async flows that wait here, the first one first. */
  readonly line: Waiting[] = [];
  /** Longest sleep without another look, ms. */
  readonly sleepMsMax: number;
  readonly #ring: Int32Array;
  /** Word index of SENDER_WAITS or RECEIVER_WAITS. */
  readonly #word: number;

  constructor(ring: Int32Array, word: number, sleepMsMax: number) {
    this.#ring = ring;
    this.#word = word;
    this.sleepMsMax = sleepMsMax;
  }

  /** Says which thread to wake; returns the thread plus one that was named before. */
  announce(thread: number): number {
    return Atomics.exchange(this.#ring, this.#word, thread + 1);
  }

  /** Nobody waits any more, or `before` does again. */
  retract(before = 0): void {
    Atomics.store(this.#ring, this.#word, before);
  }

  /** The thread to wake plus one; 0 for none. */
  awaitedBy(): number {
    return Atomics.load(this.#ring, this.#word);
  }
}
