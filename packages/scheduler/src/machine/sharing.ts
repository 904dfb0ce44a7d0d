/** How the tasks on a machine's private stack become visible to other machines. */
import type { Load } from "./load.ts";
import type { MachineParts } from "./machine-parts.ts";
import type { Seat } from "./seat.ts";

export class Sharing {
  readonly #parts: MachineParts;
  readonly #seat: Seat;
  readonly #load: Load;

  constructor(parts: MachineParts, seat: Seat) {
    this.#parts = parts;
    this.#seat = seat;
    this.#load = parts.load;
  }

  /** Shares what handlers left on the private stack. */
  shareAll(): void {
    const { nested, idle, outbox } = this.#parts;
    if (nested.size === 0) return;
    const { processor } = this.#seat;
    if (processor !== undefined) {
      nested.shareAfterTask(processor);
      if (idle.isAnyoneIdle()) idle.wakeOne();
      return;
    }
    // The tasks are queued by their states, and the supervisor finds them.
    nested.forgetPrivate();
    outbox.wantsSweep();
  }

  /**
   * While a handler runs: shares half of the private tasks when another machine has nothing to do.
   */
  shareIfWanted(): void {
    const { nested, idle, processors } = this.#parts;
    const { processor } = this.#seat;
    // While handlers are pending a join must not wait for other threads, so its tasks stay here.
    if (processors.count === 1 || processor === undefined || this.#load.pendingAsync > 0) return;
    if (!idle.isAnyoneIdle() || processor.length() > 0) return;
    nested.share(processor, false);
    this.#seat.noteDepth();
    idle.wakeOne();
  }
}
