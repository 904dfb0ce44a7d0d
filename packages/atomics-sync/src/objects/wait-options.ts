/** The options of a wait, for every lock and channel, and their check. */
import { baseError, custom, optional, resolveOptions, type Rule, type Rules } from "@millrace/base";

/** For a wait that blocks its thread. */
export interface BlockOptions {
  /**
   * Gives up after this many milliseconds, 0 to 2³¹ − 1, with `ERR_SYNC_TIMEOUT`. Default: never.
   */
  readonly timeoutMs?: number | undefined;
}

/** For a wait in an event loop. */
export interface WaitOptions extends BlockOptions {
  /** Gives up when it aborts; the promise rejects with its reason. */
  readonly signal?: AbortSignal | undefined;
}

/** The longest time limit, about 25 days: a timer of Node.js with a longer one runs out at once. */
const TIME_LIMIT_MS_MAX: number = 2 ** 31 - 1;

/** Milliseconds until a wait gives up. */
export const milliseconds: Rule<number> = custom(
  `a number of milliseconds from 0 to ${TIME_LIMIT_MS_MAX}`,
  (value): value is number => typeof value === "number" && value >= 0 && value <= TIME_LIMIT_MS_MAX,
);

const isSignal = (value: unknown): value is AbortSignal => value instanceof AbortSignal;
const blockRules = { timeoutMs: optional(milliseconds) } satisfies Rules;
const waitRules = { ...blockRules, signal: optional(custom("an AbortSignal", isSignal)) } satisfies Rules;

/** Milliseconds until the wait `form` gives up, Infinity for never. Throws `ERR_INVALID_OPTION`. */
export function timeLimit(form: string, options: BlockOptions | undefined): number {
  if (options === undefined) return Infinity;
  assertOptions(form, options);
  return resolveOptions(form, blockRules, options).timeoutMs ?? Infinity;
}

/** `resolveOptions` takes a primitive for an object without members. */
function assertOptions(form: string, options: unknown): void {
  if (typeof options === "object" && options !== null) return;
  throw baseError("ERR_INVALID_OPTION", `${form}: options must be an object, not ${String(options)}`, {
    details: { owner: form, value: options },
  });
}

/** Limits of a wait in the event loop; `timeoutMs` is Infinity for no limit. */
export interface WaitLimits {
  readonly signal: AbortSignal | undefined;
  readonly timeoutMs: number;
}

const NO_LIMITS: WaitLimits = Object.freeze({ signal: undefined, timeoutMs: Infinity });

/**
 * The options of the wait `form`, checked. Throws `ERR_INVALID_OPTION`, and the reason of a signal
 * that is aborted.
 */
export function waitOptions(form: string, options: WaitOptions | undefined): WaitLimits {
  if (options === undefined) return NO_LIMITS;
  assertOptions(form, options);
  const { signal, timeoutMs = Infinity } = resolveOptions(form, waitRules, options);
  signal?.throwIfAborted();
  return { signal, timeoutMs };
}
