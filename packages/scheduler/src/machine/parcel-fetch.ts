/**
 * The task whose argument is on its way by message (parcels.ts): one at a time on a machine,
 * because the handler of the first may block the thread, and the second would wait behind it.
 */
import { invariant } from "@millrace/base";
import { EMPTY } from "@millrace/shared-memory";
import type { MachineOutbox } from "./machine-options.ts";

/** A task whose argument has come, or why it can't come. */
export interface Arrival {
  readonly slot: number;
  /** The state with which the task was claimed. */
  readonly state: number;
  readonly ok: boolean;
  readonly value: unknown;
}

export class ParcelFetch {
  readonly #outbox: MachineOutbox;
  #slot = EMPTY;
  #state = 0;
  #arrival: Arrival | undefined;
  /**
   * Whether a second task met the first: then the machine starts nothing before the argument has
   * come.
   */
  isStalled = false;

  constructor(outbox: MachineOutbox) {
    this.#outbox = outbox;
  }

  /** Whether an argument is on its way, or has come and was not taken. */
  get isBusy(): boolean {
    return this.#slot !== EMPTY;
  }

  get hasArrived(): boolean {
    return this.#arrival !== undefined;
  }

  /** Asks for the argument with this ticket. */
  begin(slot: number, state: number, ticket: number): void {
    this.#slot = slot;
    this.#state = state;
    this.#outbox.fetchParcel(ticket, slot);
  }

  /**
   * The argument has come. The loop calls its handler: here, in the midst of a sleep, the handler
   * couldn't block.
   */
  arrived(slot: number, ok: boolean, value: unknown): void {
    invariant(this.#slot === slot, "a parcel is awaited");
    this.#arrival = { slot, state: this.#state, ok, value };
    this.isStalled = false;
  }

  take(): Arrival {
    const arrival = this.#arrival as Arrival;
    this.#slot = EMPTY;
    this.#arrival = undefined;
    return arrival;
  }
}
