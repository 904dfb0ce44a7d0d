/** Carries out the checkpoints that the delivery thread asks for. */
import { messageOf } from "@millrace/base";
import type { Journal } from "@millrace/journal";
import type { Checkpoint } from "../delivery/housekeeping.ts";
import type { DeliveryClient } from "./delivery-client.ts";

export class Checkpoints {
  readonly #journal: Journal;
  readonly #delivery: DeliveryClient;
  #latest: Promise<void> | undefined;
  #error: unknown;

  constructor(journal: Journal, delivery: DeliveryClient) {
    this.#journal = journal;
    this.#delivery = delivery;
  }

  /** Why the latest one failed; undefined when it didn't. */
  get error(): string | undefined {
    return this.#error === undefined ? undefined : messageOf(this.#error);
  }

  /**
   * Keeps the snapshot, and deletes what nobody needs. A failure costs time at the next opening,
   * and disk space; the delivery thread asks again.
   */
  begin(checkpoint: Checkpoint): void {
    this.#latest = this.#carryOut(checkpoint);
  }

  /** Resolves when none is under way. */
  async settled(): Promise<void> {
    await this.#latest;
  }

  async #carryOut({ bytes, from, before }: Checkpoint): Promise<void> {
    try {
      await this.#journal.checkpoint(bytes, from);
      if (before > 0) await this.#journal.truncateBefore(before);
      this.#error = undefined;
    } catch (thrown) {
      this.#error = thrown;
    }
    this.#delivery.order({ checkpointDone: this.#error === undefined });
  }
}
