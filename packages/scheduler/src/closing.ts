/** What closing a runtime with a limit needs, for the scheduler and for the packages above. */
import { abortSignal, onAbort, optional, resolveOptions } from "@millrace/base";
import { schedulerError } from "./errors.ts";

export interface CloseOptions {
  /** When it is aborted, what isn't over is ended at once. */
  readonly signal?: AbortSignal;
}

const rules = { signal: optional(abortSignal()) };

/** Throws `ERR_INVALID_OPTION`. */
export function closeSignal(options: CloseOptions | undefined): AbortSignal | undefined {
  return options === undefined ? undefined : resolveOptions("close", rules, options).signal;
}

/** A handler, and how many of its calls are under way. */
export interface TasksAlive {
  readonly handler: string;
  readonly running: number;
  readonly queued: number;
}

/** Whether `signal` aborts before `done` settles. */
export async function isAbortedBefore(done: Promise<unknown>, signal: AbortSignal): Promise<boolean> {
  if (signal.aborted) return true;
  let forget = (): void => {};
  const aborted = new Promise<true>((resolve) => (forget = onAbort(signal, () => resolve(true))));
  const over = (): boolean => false;
  const isAborted = await Promise.race([done.then(over, over), aborted]);
  forget();
  return isAborted;
}

/** `tasks`: those that were ended. */
export function closeAborted(tasks: readonly TasksAlive[], reason: unknown): Error {
  const alive = tasks.map(({ handler, running, queued }) => `${handler} (${running} running, ${queued} queued)`);
  const what = alive.length === 0 ? "the threads had not ended yet" : alive.join(", ");
  return schedulerError("ERR_CLOSE_ABORTED", `close() was aborted before everything was over: ${what}`, {
    cause: reason,
    details: { tasks },
  });
}
