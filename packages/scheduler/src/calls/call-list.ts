/** Many calls of one handler with one promise: what `runMany` waits for. */
import type { CallOptions } from "./call-options.ts";
import type { Submitter } from "./submitter.ts";

export class CallList {
  readonly handler: number;
  readonly options: CallOptions;
  readonly values: ArrayLike<unknown>;
  /** The value that is submitted next. */
  next = 0;
  readonly #results: unknown[];
  readonly #resolve: (results: unknown[]) => void;
  readonly #reject: (error: unknown) => void;
  #pending: number;
  #hasFailed = false;
  #error: unknown;

  constructor(
    handler: number,
    options: CallOptions,
    values: ArrayLike<unknown>,
    resolve: (results: unknown[]) => void,
    reject: (error: unknown) => void,
  ) {
    this.handler = handler;
    this.options = options;
    this.values = values;
    this.#results = new Array<unknown>(values.length).fill(undefined);
    this.#pending = values.length;
    this.#resolve = resolve;
    this.#reject = reject;
    if (this.#pending === 0) resolve([]);
  }

  get isOver(): boolean {
    return this.#pending === 0;
  }

  /** The task in `slot`, of the value at `place`, is over. */
  settled(place: number, ok: boolean, submitter: Submitter, slot: number): void {
    let value: unknown;
    try {
      value = submitter.value(slot);
    } catch (thrown) {
      this.failed(thrown);
      return;
    }
    this.arrived(place, ok, value);
  }

  /** What that task returned, or threw. */
  arrived(place: number, ok: boolean, value: unknown): void {
    if (ok) this.#results[place] = value;
    else this.#fail(value);
    this.#oneLess();
  }

  /** A value could not be submitted. */
  failed(error: unknown): void {
    this.#fail(error);
    this.#oneLess();
  }

  abandon(error: unknown): void {
    this.#reject(error);
  }

  #fail(error: unknown): void {
    if (!this.#hasFailed) this.#error = error;
    this.#hasFailed = true;
  }

  #oneLess(): void {
    this.#pending -= 1;
    if (this.#pending > 0) return;
    if (this.#hasFailed) this.#reject(this.#error);
    else this.#resolve(this.#results);
  }
}
