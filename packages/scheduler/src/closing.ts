/** Closing a runtime with a time limit, for the scheduler and for the packages above. */
import {
  abortSignal,
  clearTimeout,
  integer,
  onAbort,
  optional,
  resolveOptions,
  type Rules,
  setTimeout,
} from "@millrace/base";
import { schedulerError } from "./errors.ts";

export interface CloseOptions {
  /** When it is aborted, what isn't over is ended at once. */
  readonly signal?: AbortSignal;
  /** Tasks that aren't over after this time are ended at once. */
  readonly timeoutMs?: number;
}

const TIMEOUT_MS_MAX: number = 2 ** 31 - 1;
const rules = { signal: optional(abortSignal()), timeoutMs: optional(integer(0, TIMEOUT_MS_MAX, 0)) } satisfies Rules;

/** The limits of a close; undefined is none. */
export interface CloseLimits {
  readonly signal: AbortSignal | undefined;
  readonly timeoutMs: number | undefined;
}

/** Throws `ERR_INVALID_OPTION`. */
export function closeLimits(options: CloseOptions = {}): CloseLimits {
  return resolveOptions("close", rules, options);
}

/** A handler, and how many of its calls are under way. */
export interface TasksAlive {
  readonly handler: string;
  readonly running: number;
  readonly queued: number;
}

/** Why `done` was not waited for any longer; undefined when it has settled. */
export async function isOverdue(
  done: Promise<unknown>,
  { signal, timeoutMs }: Partial<CloseLimits>,
): Promise<{ readonly reason: unknown } | undefined> {
  if (signal?.aborted === true) return { reason: signal.reason };
  let forget = (): void => {};
  let timer: NodeJS.Timeout | undefined;
  const overdue = new Promise<{ readonly reason: unknown }>((resolve) => {
    if (signal !== undefined) forget = onAbort(signal, () => resolve({ reason: signal.reason as unknown }));
    if (timeoutMs !== undefined) timer = setTimeout(() => resolve({ reason: tooLong(timeoutMs) }), timeoutMs);
  });
  const over = (): undefined => undefined;
  const found = await Promise.race([done.then(over, over), overdue]);
  forget();
  clearTimeout(timer);
  return found;
}

function tooLong(timeoutMs: number): Error {
  return new DOMException(`close() took longer than ${timeoutMs} ms`, "TimeoutError");
}

/** `tasks`: those that were ended. */
export function closeAborted(tasks: readonly TasksAlive[], reason: unknown): Error {
  const alive = tasks.map(({ handler, running, queued }) => `${handler} (${running} running, ${queued} queued)`);
  const what = alive.length === 0 ? "the threads had not ended yet" : alive.join(", ");
  return schedulerError("ERR_CLOSE_ABORTED", `close() ended before everything was over: ${what}`, {
    cause: reason,
    details: { tasks },
  });
}
