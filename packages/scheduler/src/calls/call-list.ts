/** Calls of one handler with one promise: what `runMany` waits for. */
import type { CallOwner, Settle } from "./call-owner.ts";

export class CallList implements CallOwner {
  readonly limited = undefined;
  readonly #results: unknown[];
  readonly #resolve: Settle;
  readonly #reject: Settle;
  #pending: number;
  #hasFailed = false;
  #error: unknown;

  /** `length`: at least one call. */
  constructor(length: number, resolve: Settle, reject: Settle) {
    this.#results = new Array<unknown>(length).fill(undefined);
    this.#pending = length;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  settled(place: number, isOk: boolean, value: unknown): void {
    if (isOk) this.#results[place] = value;
    else if (!this.#hasFailed) {
      this.#hasFailed = true;
      this.#error = value;
    }
    this.#pending -= 1;
    if (this.#pending > 0) return;
    if (this.#hasFailed) this.#reject(this.#error);
    else this.#resolve(this.#results);
  }

  abandon(error: unknown): void {
    this.#reject(error);
  }
}
