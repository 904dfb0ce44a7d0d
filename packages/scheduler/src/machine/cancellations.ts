/**
 * Tasks of one machine whose results are no longer wanted: the submitter has set CANCEL in their
 * slots, or their time is over.
 *
 * Handlers ask (`context.isCancelled`), or listen (`context.signal`). For those that listen the
 * machine looks whenever the count of all cancellations has changed; the thread that adds to it
 * wakes the machine afterwards.
 */
import type { TaskContext } from "../handler/context.ts";
import type { Shared } from "../shared/shared.ts";
import type { TaskTable } from "../shared/task-table.ts";

export class Cancellations {
  readonly #shared: Shared;
  readonly #table: TaskTable;
  /**
   * Contexts with a signal, by slot, and how many tasks had been asked to stop when they were last
   * looked at.
   */
  readonly #watched = new Map<number, TaskContext>();
  /** By slot: the timer that aborts a context with a deadline. */
  readonly #timers = new Map<number, NodeJS.Timeout>();
  #seen = 0;

  constructor(shared: Shared) {
    this.#shared = shared;
    this.#table = shared.table();
  }

  isCancelled(slot: number): boolean {
    if (this.#table.isAskedToStop(slot)) return true;
    const deadline = this.#table.deadline(slot);
    return deadline !== 0 && this.#shared.msUntil(deadline) <= 0;
  }

  /** Unix time in ms. */
  deadlineMs(slot: number): number | undefined {
    const deadline = this.#table.deadline(slot);
    if (deadline === 0) return undefined;
    return this.#shared.memory.epochMs + Math.floor(this.#shared.nowMs()) + this.#shared.msUntil(deadline);
  }

  /** `context`, of the task in `slot`, has a signal. */
  watch(context: TaskContext, slot: number): void {
    this.#watched.set(slot, context);
    const deadline = this.#table.deadline(slot);
    if (deadline === 0) return;
    const timer = setTimeout(() => context.abort(), Math.max(0, this.#shared.msUntil(deadline)));
    this.#timers.set(slot, timer.unref());
  }

  /** Its task is over. */
  forget(slot: number): void {
    if (this.#watched.size > 0) this.#watched.delete(slot);
    if (this.#timers.size === 0) return;
    clearTimeout(this.#timers.get(slot));
    this.#timers.delete(slot);
  }

  hasNew(): boolean {
    return this.#watched.size > 0 && Atomics.load(this.#shared.words, this.#shared.layout.cancels) !== this.#seen;
  }

  /** Aborts the signals of tasks that were cancelled since the last look. */
  look(): void {
    if (!this.hasNew()) return;
    this.#seen = Atomics.load(this.#shared.words, this.#shared.layout.cancels);
    for (const [slot, context] of this.#watched) {
      if (!this.#table.isAskedToStop(slot)) continue;
      this.#watched.delete(slot);
      context.abort();
    }
  }
}
