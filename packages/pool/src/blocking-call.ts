/** One blocking call, from the call to the settled promise. */
import type { Transferable } from "node:worker_threads";
import { errorFactory, onAbort, clearTimeout, setTimeout } from "@millrace/base";
import { schedulerErrors } from "@millrace/scheduler";
import type { BlockingAnswer, BlockingRequest } from "./blocking-task.ts";
import { unpack } from "./packed.ts";

export class BlockingCall {
  readonly request: BlockingRequest;
  readonly transferList: Transferable[];
  readonly #resolve: (value: unknown) => void;
  readonly #reject: (error: unknown) => void;
  /** Tells piscina to end the thread; undefined for a call that can't be cancelled. */
  readonly #controller: AbortController | undefined;
  /** Takes the listener off the call's signal. */
  readonly #forgetSignal: () => void = () => {};
  readonly #timer: NodeJS.Timeout | undefined;
  /** Runs when the call is cancelled, started or not. */
  onCancel: () => void = () => {};

  constructor(
    request: BlockingRequest,
    transferList: Transferable[],
    signal: AbortSignal | undefined,
    timeoutMs: number | undefined,
    resolve: (value: unknown) => void,
    reject: (error: unknown) => void,
  ) {
    this.request = request;
    this.transferList = transferList;
    this.#resolve = resolve;
    this.#reject = reject;
    if (signal !== undefined || timeoutMs !== undefined) this.#controller = new AbortController();
    if (signal !== undefined) {
      this.#forgetSignal = onAbort(signal, () => this.cancel(abortError(request, signal.reason)));
    }
    if (timeoutMs !== undefined)
      this.#timer = setTimeout(() => this.cancel(timeoutError(request, timeoutMs)), timeoutMs);
  }

  /** Undefined for a call that can't be cancelled. */
  get signal(): AbortSignal | undefined {
    return this.#controller?.signal;
  }

  answer({ ok, outcome }: BlockingAnswer): void {
    this.#release();
    try {
      const value = unpack(outcome);
      if (ok) this.#resolve(value);
      else this.#reject(value);
    } catch (thrown) {
      this.#reject(thrown);
    }
  }

  fail(error: unknown): void {
    this.#release();
    this.#reject(error);
  }

  /** Rejects the call at once and ends its thread if it runs. */
  cancel(reason: unknown): void {
    this.fail(reason);
    this.#controller?.abort();
    this.onCancel();
  }

  #release(): void {
    clearTimeout(this.#timer);
    this.#forgetSignal();
  }
}

const schedulerError = errorFactory(schedulerErrors);

/** The error of an aborted `run`, for a blocking call. */
export function abortError({ handler }: Pick<BlockingRequest, "handler">, cause: unknown): Error {
  return schedulerError("ERR_TASK_ABORTED", `blocking.${handler} was aborted`, { cause, details: { handler } });
}

function timeoutError({ handler }: BlockingRequest, timeoutMs: number): Error {
  return schedulerError("ERR_TASK_TIMEOUT", `blocking.${handler} was not over within ${timeoutMs} ms`, {
    details: { handler, timeoutMs },
  });
}
