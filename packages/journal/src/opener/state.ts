/**
 * Where a journal is in its life, and whether its disk is full: two words that the opener and the
 * writer thread share (memory/control.ts).
 */
import { unpark, unparkAgain } from "@millrace/atomics-sync";
import {
  CLOSED,
  CLOSING,
  type JournalMemory,
  NO_THREAD,
  OPEN,
  POISONED,
  producerWord,
  SPACE,
  SPACE_FULL,
  STATE,
} from "../memory/control.ts";

export type StateName = "open" | "closing" | "closed" | "poisoned";

export class JournalState {
  readonly #memory: JournalMemory;
  readonly #control: Int32Array;
  readonly #threads: Int32Array;

  constructor(memory: JournalMemory) {
    this.#memory = memory;
    this.#control = new Int32Array(memory.control);
    this.#threads = new Int32Array(memory.threads);
  }

  get name(): StateName {
    switch (Atomics.load(this.#control, STATE)) {
      case CLOSING:
        return "closing";
      case CLOSED:
        return "closed";
      case POISONED:
        return "poisoned";
      default:
        return "open";
    }
  }

  /** Whether the writer refuses data; state records go on. */
  get isDiskFull(): boolean {
    return Atomics.load(this.#control, SPACE) === SPACE_FULL;
  }

  /** Asks the writer to end the log. It doesn't when it has stopped already. */
  close(): void {
    if (Atomics.compareExchange(this.#control, STATE, OPEN, CLOSING) !== OPEN) return;
    unpark(this.#threads, this.#memory.writerThread);
  }

  /**
   * Nothing becomes durable from now on: wakes every thread that may wait for it. Returns false,
   * and does nothing, when the log has ended.
   */
  poison(): boolean {
    if (Atomics.load(this.#control, STATE) === CLOSED) return false;
    Atomics.store(this.#control, STATE, POISONED);
    for (let ring = 0; ring < this.#memory.rings.length; ring += 1) {
      const thread = Atomics.load(this.#control, producerWord(ring));
      if (thread !== NO_THREAD) unparkAgain(this.#threads, thread);
    }
    unparkAgain(this.#threads, this.#memory.writerThread);
    unparkAgain(this.#threads, this.#memory.keeperThread);
    return true;
  }
}
