/**
 * When a failed record is tried again, and the limits of a handler: options, wishes of errors,
 * defaults.
 */
import { boolean, custom, integer, number, oneOf, optional, resolveOptions, type Rule } from "@millrace/base";
import { REASON } from "../format/state-records.ts";

/**
 * Paths such as `card.number` or `items[*].secret`; or a function that gets a value and returns
 * what may be shown. The function is called on the opener's thread.
 */
export type Redact = readonly string[] | ((value: unknown) => unknown);

/** How a handler's records are treated. Every member may be left out. */
export interface HandlerOptions {
  /** Most attempts; the record is dead after the last one. Default: no limit but time. */
  readonly attemptsMax?: number;
  /** A record that keeps failing is dead this long after its first failure. Default 24 hours. */
  readonly retryForMs?: number;
  /** Longest wait before the second attempt. Default 200 ms. */
  readonly retryBaseMs?: number;
  /** Longest wait before any attempt. Default 60 s. */
  readonly retryMaxMs?: number;
  /**
   * How waits grow: "exponential" doubles them each time, with full jitter; "linear" adds
   * `retryBaseMs` each time; "constant" keeps them. Or a list of waits in ms, the last of which
   * repeats. Default "exponential".
   */
  readonly backoff?: "exponential" | "linear" | "constant" | readonly number[];
  /** Records in hand at the same time. Default: no limit of its own. */
  readonly concurrencyMax?: number;
  /** Records begun per second; a second's worth may come at once. Default: no limit. */
  readonly ratePerSecond?: number;
  /**
   * Longest time of one attempt; the handler's signal aborts then, and the attempt counts as
   * failed. Default: none.
   */
  readonly timeoutMs?: number;
  /**
   * Whether a record with a key holds up those behind it while it waits for a retry: "strict" does,
   * "skip" doesn't. Default "strict".
   */
  readonly order?: "strict" | "skip";
  /**
   * Number of first attempts that fail in a row, after which the handler rests for a while; 0:
   * never. Default 20.
   */
  readonly failuresMax?: number;
  /**
   * Whether a dead record holds up the records of its key until it is redriven or dropped. Default
   * false.
   */
  readonly holdsKeyWhenDead?: boolean;
  /**
   * "keep": the journal keeps the handler's result with the end of its record, for `ack.result` and
   * `mill.result`. Default "none": nobody reads the result, and it isn't encoded.
   */
  readonly result?: "keep" | "none";
  /** How long it is kept, ms. Default one hour. */
  readonly resultKeepMs?: number;
  /**
   * "outcomes": the journal says how each attempt ended, with which result or error, and after how
   * long. These records stay as long as their segment, see `retain`. Default "none".
   */
  readonly record?: "outcomes" | "none";
  /**
   * Most bytes of a kept or recorded result, encoded. Default 65,536, or less if a record can't
   * hold that.
   */
  readonly resultBytesMax?: number;
  /** Hides parts of payloads and headers wherever they are shown. Default: nothing. */
  readonly redact?: Redact;
}

const YEARS_MS: number = 10 * 365 * 86_400_000;

const BACKOFFS: ReadonlySet<unknown> = new Set(["exponential", "linear", "constant"]);

function isBackoff(value: unknown): value is "exponential" | "linear" | "constant" {
  return BACKOFFS.has(value);
}

/** A wait in ms. */
export function isWait(value: unknown): value is number {
  return typeof value === "number" && value >= 0 && value <= YEARS_MS;
}

/** Waits in ms, at least one. */
export function isWaitTable(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.length > 0 && value.every((each) => isWait(each));
}

/** A handler's options with their defaults. */
export interface HandlerTerms extends Required<Omit<HandlerOptions, "ratePerSecond" | "timeoutMs" | "redact">> {
  readonly ratePerSecond: number | undefined;
  readonly timeoutMs: number | undefined;
}

export const handlerRules: { readonly [Name in keyof HandlerTerms]: Rule<HandlerTerms[Name]> } = {
  attemptsMax: integer(1, 65_535, 65_535),
  retryForMs: integer(0, YEARS_MS, 86_400_000),
  retryBaseMs: integer(0, 3_600_000, 200),
  retryMaxMs: integer(0, 86_400_000, 60_000),
  backoff: custom(
    `"exponential", "linear", "constant", or a list of waits in ms`,
    (value): value is HandlerTerms["backoff"] => isBackoff(value) || isWaitTable(value),
    () => "exponential",
  ),
  concurrencyMax: integer(1, 2 ** 31, 2 ** 31),
  ratePerSecond: optional(number(0.001, 1e9)),
  timeoutMs: optional(integer(1, 2 ** 31 - 1, 1)),
  order: oneOf(["strict", "skip"], "strict"),
  failuresMax: integer(0, 1_000_000, 20),
  holdsKeyWhenDead: boolean(false),
  result: oneOf(["keep", "none"], "none"),
  resultKeepMs: integer(1, YEARS_MS, 3_600_000),
  record: oneOf(["outcomes", "none"], "none"),
  resultBytesMax: integer(1, 2 ** 30, 65_536),
};

/** Throws `ERR_INVALID_OPTION`. */
export function handlerTerms(owner: string, given: HandlerOptions, fallback: HandlerOptions): HandlerTerms {
  return resolveOptions(owner, handlerRules, { ...fallback, ...given });
}

/** The wishes of an error, in members that any error may have. */
export interface Wish {
  /** Wait this long, rather than what the policy says. */
  readonly retryAfterMs: number | undefined;
  /** No attempt will ever succeed. */
  readonly isFinal: boolean;
  /** Not a failure: try again later, and don't count this attempt. */
  readonly isSnooze: boolean;
}

const NO_WISH: Wish = { retryAfterMs: undefined, isFinal: false, isSnooze: false };

function wishOf(error: unknown): Wish {
  if (typeof error !== "object" || error === null) return NO_WISH;
  const { name, retryAfterMs, isRetryable } = error as Record<string, unknown>;
  const isTime = isWait(retryAfterMs);
  return {
    retryAfterMs: isTime ? retryAfterMs : undefined,
    isFinal: name === "NonRetryable" || isRetryable === false,
    isSnooze: name === "Snooze" && isTime,
  };
}

export type Decision =
  | { readonly kind: "retry"; readonly waitMs: number; readonly counts: boolean; readonly reason: number }
  | { readonly kind: "dead"; readonly reason: number };

export interface FailedAttempt {
  /** This one included. */
  readonly attempts: number;
  readonly firstFailedMs: number;
  readonly nowMs: number;
  readonly error: unknown;
  /** One of REASON. */
  readonly reason: number;
  /** In `[0, 1)`. */
  readonly fraction: number;
}

/**
 * Decides what follows a failed attempt. Exponential waits are
 * `random(0, min(max, base × 2^(n - 1)))`, full jitter as AWS recommends ("Exponential Backoff And
 * Jitter", 2015).
 */
export function decide(terms: HandlerTerms, failed: FailedAttempt): Decision {
  const { attempts, firstFailedMs, nowMs, error, reason, fraction } = failed;
  const wish = wishOf(error);
  if (wish.isSnooze)
    return { kind: "retry", waitMs: wish.retryAfterMs as number, counts: false, reason: REASON.snooze };
  if (wish.isFinal) return { kind: "dead", reason: REASON.refused };
  const waitMs = wish.retryAfterMs ?? backoffMs(terms, attempts, fraction);
  const isTooLate = nowMs + waitMs - firstFailedMs > terms.retryForMs;
  if (attempts >= terms.attemptsMax || isTooLate) return { kind: "dead", reason: REASON.exhausted };
  return { kind: "retry", waitMs, counts: true, reason };
}

function backoffMs(terms: HandlerTerms, attempts: number, fraction: number): number {
  const { retryBaseMs, retryMaxMs, backoff } = terms;
  if (typeof backoff === "object") return backoff[Math.min(attempts, backoff.length) - 1] as number;
  if (backoff === "constant") return Math.min(retryMaxMs, retryBaseMs);
  if (backoff === "linear") return Math.min(retryMaxMs, retryBaseMs * attempts);
  return fraction * Math.min(retryMaxMs, retryBaseMs * 2 ** Math.min(attempts - 1, 60));
}
