/** A retry policy that the handler's own module carries: `settle.retry = [100, 1000, 60_000]`. */
import { baseError, messageOf } from "@millrace/base";
import type { Handler } from "@millrace/scheduler";
import { isWait, isWaitTable } from "../delivery/policy.ts";

/**
 * The policy after an attempt that has thrown: waits in ms, the last of which repeats; or a
 * function that gets the error and the number of the attempt, from 1. The function returns a wait
 * in ms, false for no further attempt, or undefined to follow the options. The limits of the
 * options (`attemptsMax`, `retryForMs`) hold as well. If the error itself asks for something, that
 * goes first.
 */
export type Retry = readonly number[] | ((error: unknown, attempt: number) => number | false | undefined);

/** Thrown by a handler: no attempt will ever succeed. The record is dead at once. */
export class NonRetryable extends Error {
  override readonly name = "NonRetryable";
}

/** Thrown by a handler: not now. The record comes again, and this attempt isn't counted. */
export class Snooze extends Error {
  override readonly name = "Snooze";
  readonly retryAfterMs: number;

  constructor(retryAfterMs: number, message = `snoozed for ${retryAfterMs} ms`) {
    super(message);
    this.retryAfterMs = retryAfterMs;
  }
}

/** Errors that a policy has marked: an error object may be thrown more than once. */
const marked = new WeakSet<object>();

/** Throws `ERR_INVALID_OPTION` for a `retry` that is no policy. */
export function checkRetry(name: string, handler: Handler): void {
  const { retry } = handler as { retry?: unknown };
  if (retry === undefined || typeof retry === "function" || isWaitTable(retry)) return;
  const allowed = "a list of waits in ms, or a function";
  throw baseError("ERR_INVALID_OPTION", `${name}.retry must be ${allowed}`, {
    details: { owner: name, name: "retry", value: retry, allowed },
  });
}

/** The thrown error with the decision of the handler's `retry`, for the delivery thread. */
export function withRetry(handler: Handler, thrown: unknown, attempt: number): unknown {
  const { retry } = handler as { retry?: Retry };
  if (retry === undefined || hasWish(thrown)) return thrown;
  if (typeof retry !== "function") return mark(thrown, retry[Math.min(attempt, retry.length) - 1] as number);
  let wait: unknown;
  try {
    wait = retry(thrown, attempt);
  } catch (cause) {
    return new Error(`${handler.name}.retry threw "${messageOf(cause)}" for "${messageOf(thrown)}"`, { cause: thrown });
  }
  if (wait === undefined) return thrown;
  if (wait === false || isWait(wait)) return mark(thrown, wait);
  return new Error(`${handler.name}.retry returned no wait for "${messageOf(thrown)}"`, { cause: thrown });
}

function hasWish(thrown: unknown): boolean {
  if (typeof thrown !== "object" || thrown === null || marked.has(thrown)) return false;
  const { name, retryAfterMs, isRetryable } = thrown as Record<string, unknown>;
  return retryAfterMs !== undefined || isRetryable === false || name === "NonRetryable";
}

function mark(thrown: unknown, wait: number | false): unknown {
  const isOpen = typeof thrown === "object" && thrown !== null && Object.isExtensible(thrown);
  const error = isOpen ? thrown : new Error(messageOf(thrown), { cause: thrown });
  marked.add(error);
  return Object.assign(error, { retryAfterMs: wait === false ? undefined : wait, isRetryable: wait !== false });
}
