/**
 * Finds the attempt that an uncaught error belongs to.
 *
 * An async handler runs on after its first await, beside others. It may leave work behind: a timer,
 * a promise that nobody awaits, an emitter without a listener. Such work may throw where no handler
 * is on the stack, and Node would end the thread with everything on it. Such work inherits an
 * AsyncLocalStorage store from the attempt that began it: the error fails that attempt alone, and
 * the thread lives on. An error without a store ends the thread, as before.
 *
 * Before version 24, Node reports an error from a callback of queueMicrotask when its store is
 * gone; such an error still ends the thread.
 *
 * Only attempts of records have a store, and only of handlers that are known to return promises: a
 * store costs more than a small synchronous handler. A task that runs on the stack of an attempt
 * and isn't its own runs without one.
 *
 * Node asks `uncaughtExceptionMonitor` first and looks for listeners of `uncaughtException`
 * afterwards, so the listener is added for one error at a time: the process looks as if there was
 * none, and what a user has installed is called as well.
 *
 * Rejected: a domain, which Node has deprecated; `setUncaughtExceptionCaptureCallback`, which
 * excludes the user's own; a listener that stays and rethrows what it doesn't know: Node then ends
 * the thread with another code.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { messageOf } from "@millrace/base";
import type { Blamed } from "../handler/parent.ts";

/** One attempt of a record, until its task is settled. */
export class Attempt implements Blamed {
  #fail: ((error: unknown) => void) | undefined;

  /** The attempt goes on after its handler's first await. */
  begin(fail: (error: unknown) => void): void {
    this.#fail = fail;
  }

  /** False when it was over before: its outcome counts no more. */
  end(): boolean {
    const isFirst = this.#fail !== undefined;
    this.#fail = undefined;
    return isFirst;
  }

  failed(error: unknown): void {
    const fail = this.#fail;
    this.#fail = undefined;
    if (fail !== undefined) fail(error);
    else tellLate(error);
  }
}

/**
 * The record is settled, and nobody waits for it: its thread lives on, and the error is a warning.
 */
function tellLate(error: unknown): void {
  const detail = error instanceof Error ? error.stack : undefined;
  process.emitWarning(`uncaught after its record's attempt was over: ${messageOf(error)}`, {
    type: "MillraceWarning",
    code: "MILLRACE_LATE_ERROR",
    ...(detail === undefined ? undefined : { detail }),
  });
}

export class Attribution {
  #storage: AsyncLocalStorage<Blamed | undefined> | undefined;

  /** Calls a handler so that what it leaves behind is `blamed`'s; nobody's without. */
  run(
    blamed: Blamed | undefined,
    call: (argument: never, context: never) => unknown,
    argument: unknown,
    context: unknown,
  ): unknown {
    this.#storage ??= this.#listen();
    return this.#storage.run(blamed, call, argument as never, context as never);
  }

  /** Whether an attempt's store is in effect here. */
  isInside(): boolean {
    return this.#storage?.getStore() !== undefined;
  }

  #listen(): AsyncLocalStorage<Blamed | undefined> {
    const storage = new AsyncLocalStorage<Blamed | undefined>();
    process.on("uncaughtExceptionMonitor", (error: unknown) => {
      const blamed = storage.getStore();
      if (blamed !== undefined) process.once("uncaughtException", () => blamed.failed(error));
    });
    return storage;
  }
}
