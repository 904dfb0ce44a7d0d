/**
 * The steps of a select (select.ts), in words instead of values.
 */
import type { Random } from "@millrace/base";
import { SelectGroup, type SyncSpace } from "@millrace/atomics-sync/kernel";
import type { ChannelCore } from "./channel-core.ts";
import { BLOCKED, BUSY } from "./outcomes.ts";

/** A case that waits for a channel. */
export interface Operation {
  readonly core: ChannelCore;
  readonly gives: boolean;
  /**
   * The value to send, in the channel's format; 0 once it is a block that isn't the select's any
   * more.
   */
  low: number;
  readonly high: number;
  /** Its node, once it waits. */
  node: number;
}

export class Selection {
  readonly #space: SyncSpace;
  readonly #operations: readonly Operation[];
  /**
   * The outcome of the operation that was done: DONE or CLOSED. A received value is in its core.
   */
  outcome: number = BLOCKED;
  /** `ERR_SYNC_CLOSED` of a channel that has refused it. */
  #refusal: unknown;

  constructor(space: SyncSpace, operations: readonly Operation[]) {
    this.#space = space;
    this.#operations = operations;
  }

  /** Does an operation that is possible, and returns it; they are looked at in random order. */
  attempt(random: Random): Operation | undefined {
    const left = [...this.#operations];
    while (left.length > 0) {
      const pick = random.below(left.length);
      const operation = left[pick] as Operation;
      left[pick] = left.at(-1) as Operation;
      left.pop();
      const { core, gives, low, high } = operation;
      this.outcome = gives ? core.trySend(low, high) : core.tryReceive();
      if (this.outcome !== BLOCKED && this.outcome !== BUSY) return operation;
    }
    return undefined;
  }

  /**
   * Waits in all channels: `group.node` is served once an operation was done. Throws
   * `ERR_WAITERS_EXHAUSTED`.
   */
  join(wakes: number, isAsync: boolean): SelectGroup {
    const group = SelectGroup.open(this.#space, wakes, isAsync);
    try {
      for (const operation of this.#operations) {
        const { core, gives, low, high } = operation;
        operation.node = gives ? core.prepareToSend(0, wakes, low, high) : core.prepareToReceive(0, wakes);
        group.add(core, operation.node);
      }
    } catch (thrown) {
      for (const { node } of this.#operations) if (node !== 0) this.#space.giveNode(node);
      group.end();
      throw thrown;
    }
    this.#post(0);
    group.pump();
    return group;
  }

  #post(first: number): void {
    for (let index = first; index < this.#operations.length; index += 1) {
      const { core, node } = this.#operations[index] as Operation;
      try {
        core.postNode(node);
      } catch (thrown) {
        // The channel was freed meanwhile. Another one may have served the select already.
        this.#refusal = thrown;
        for (const later of this.#operations.slice(index + 1)) this.#space.giveNode(later.node);
        return;
      }
    }
  }

  /** How long to wait: not at all where a channel has refused the select. */
  limit(timeoutMs: number): number {
    return this.#refusal === undefined ? timeoutMs : 0;
  }

  /** Throws what a channel has refused the select with, unless another one has served it. */
  assertJoined(isServed: boolean): boolean {
    if (!isServed && this.#refusal !== undefined) throw this.#refusal;
    return isServed;
  }

  /** Waits for nothing any more, after the group was cancelled. */
  leave(group: SelectGroup): void {
    group.finish();
    group.end();
  }

  /** The operation that was done, once the group was served. */
  conclude(group: SelectGroup): Operation | undefined {
    const served = group.finish();
    const operation = this.#operations.find(({ node }) => node === served);
    if (operation !== undefined) this.outcome = operation.core.finish(served);
    group.end();
    return operation;
  }
}
