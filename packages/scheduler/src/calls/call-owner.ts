/** The owner of the promise that a task's outcome settles: one call, or a list of calls. */
import type { LimitedCall } from "./limited-call.ts";

export type Settle = (value: unknown) => void;

export interface CallOwner {
  /** Undefined without a signal and a time limit. */
  readonly limited: LimitedCall | undefined;
  /** The task of the call at `place` is over; `value` is what it returned, or threw. */
  settled(place: number, isOk: boolean, value: unknown): void;
  /** The runtime ends before the task does. */
  abandon(error: unknown): void;
}

export class SingleCall implements CallOwner {
  readonly #resolve: Settle;
  readonly #reject: Settle;
  limited: LimitedCall | undefined;

  constructor(resolve: Settle, reject: Settle) {
    this.#resolve = resolve;
    this.#reject = reject;
  }

  settled(_place: number, isOk: boolean, value: unknown): void {
    if (isOk) this.#resolve(value);
    else this.#reject(value);
  }

  /** Before its task is over, if it has one. */
  reject(error: unknown): void {
    this.#reject(error);
  }

  abandon(error: unknown): void {
    this.limited?.end();
    this.#reject(error);
  }
}
