/** How long handlers run whose submitters want to know. */
import { performance } from "@millrace/base";

export class TaskTimes {
  /** By the slot of a task that runs here. */
  readonly #begunAt = new Map<number, number>();

  /** Its handler is called now. */
  begin(slot: number): void {
    this.#begunAt.set(slot, performance.now());
  }

  /** How long it ran, ms; undefined for one that wasn't begun by `begin`. */
  end(slot: number): number | undefined {
    if (this.#begunAt.size === 0) return undefined;
    const begunAt = this.#begunAt.get(slot);
    if (begunAt === undefined) return undefined;
    this.#begunAt.delete(slot);
    return performance.now() - begunAt;
  }
}
