/**
 * Handlers whose tasks aren't begun for a while, because they have ended one thread after the
 * other.
 *
 * A word with their number, then a bit per handler. The supervisor writes them, machines read them.
 *
 * A machine that has claimed a task of such a handler makes it QUEUED again and leaves it in no
 * queue. When the pause ends, the supervisor clears the bit first and looks for tasks without an
 * entry second. The machine makes the task QUEUED first and looks at the bit again second, and
 * queues the task itself if the pause is over. So one of the two sees the other. If both do, a
 * second entry is stale and harmless.
 *
 * Rejected: marks in the slots (they belong to submitters, who fill new ones meanwhile); a queue of
 * their own (a machine that dies while it moves entries there tears it, and it needs room for all
 * of them).
 */
import { clearBit, hasBit, maskWords, setBit } from "@millrace/shared-memory";
import { HANDLERS_MAX } from "./task-table.ts";

/** Words of the number, and of the bits. */
export const PAUSED_WORDS: number = 1 + maskWords(HANDLERS_MAX);

export class PausedHandlers {
  readonly #words: Int32Array;
  readonly #count: number;
  readonly #bits: number;

  constructor(words: Int32Array, base: number) {
    this.#words = words;
    this.#count = base;
    this.#bits = base + 1;
  }

  /**
   * Machine: a look without order, before each task. Seeing a pause late costs another death at
   * most.
   */
  get areAny(): boolean {
    return this.#words[this.#count] !== 0;
  }

  has(handler: number): boolean {
    return hasBit(this.#words, this.#bits, handler);
  }

  /** Supervisor. */
  begin(handler: number): void {
    if (this.has(handler)) return;
    setBit(this.#words, this.#bits, handler);
    Atomics.add(this.#words, this.#count, 1);
  }

  /** Supervisor; then it looks for tasks without an entry. */
  end(handler: number): void {
    if (!this.has(handler)) return;
    Atomics.sub(this.#words, this.#count, 1);
    clearBit(this.#words, this.#bits, handler);
  }
}
