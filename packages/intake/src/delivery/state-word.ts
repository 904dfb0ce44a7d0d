/**
 * The word that says where the intake is in its life. It only grows:
 *
 *   RECOVERING  the delivery thread reads the log
 *   RUNNING     it delivers; raised by the delivery thread
 *   DRAINING    it hands out nothing more, and waits for what is in hand; raised by the opener
 *   ABANDONING  it waits for no handler any more; raised by the opener
 *   STOPPED     it has written its last record, or could not; raised by the delivery thread
 *
 * Both threads write it, and each only raises it, with a compare-and-swap. What a plain store would
 * lose:
 *
 *   opener DRAINING, delivery RUNNING      an opener that closes before the first turn: the thread
 *                                          would go on for ever
 *   delivery STOPPED, opener ABANDONING    a limit that is over just as the thread ends: a clean end
 *                                          would look like a death, and poison the journal
 *
 * The opener raises it first and unparks second; the delivery thread announces its sleep first and
 * reads it second. One of the two sees the other.
 *
 * Rejected: a word per writer. The thread's last look and its STOPPED would be two steps, and an
 * opener could not tell whether it came too late.
 */
import { unpark } from "@millrace/atomics-sync";
import { STATE } from "./control.ts";

// 0 is RECOVERING.
export const RUNNING = 1;
export const DRAINING = 2;
export const ABANDONING = 3;
export const STOPPED = 4;

export class StateWord {
  readonly #words: Int32Array;

  constructor(words: Int32Array) {
    this.#words = words;
  }

  get value(): number {
    return Atomics.load(this.#words, STATE);
  }

  /** For the delivery thread. */
  raise(to: number): void {
    let value = this.value;
    // Ends: each turn that fails has seen a larger value, and there are five.
    while (value < to) {
      const found = Atomics.compareExchange(this.#words, STATE, value, to);
      if (found === value) return;
      value = found;
    }
  }

  /** For the opener: the delivery thread learns of it, asleep or not. */
  tell(to: number, threads: Int32Array, deliveryThread: number): void {
    this.raise(to);
    unpark(threads, deliveryThread);
  }
}
