/**
 * Checks a publisher's options, and makes the parts of a record from them. Machines load this
 * module: it imports nothing that takes long.
 */
import { types } from "node:util";
import {
  abortSignal,
  baseError,
  custom,
  integer,
  oneOf,
  optional,
  optionsObject,
  performance,
  type Resolved,
  resolveOptions,
  type Rules,
} from "@millrace/base";
import { crc32, encode } from "@millrace/codec";
import type { RECORD_TYPE } from "@millrace/journal";
import type { RecordParts } from "@millrace/journal/kernel";
import type { CallOf, HandlerName, HandlerOf, Priority } from "@millrace/scheduler";
import {
  encodeTerms,
  IDEMPOTENCY_KEY_BYTES_MAX,
  PRODUCER_ID_BYTES_MAX,
  type Terms,
  withHeaders,
} from "./record-header.ts";
import { isTraceparent, isTracestate, packTrace } from "./trace-context.ts";

/** The options of a record. */
export interface RecordOptions {
  /** Records of a higher priority are started first. Default "normal". */
  readonly priority?: Priority;
  /** An object that is stored with the record; the handler gets it as `context.record.headers`. */
  readonly headers?: object;
  /**
   * Records of one handler and priority with the same key run one after the other, in the order of
   * their publishing, across retries and restarts. Up to 1024 bytes of UTF-8.
   */
  readonly key?: string;
  /**
   * If this handler got a record with the same key within the window of `dedupe`, the new one isn't
   * delivered: the publish resolves with the first one's sequence and `duplicate: true`. With
   * another payload under the same key it rejects with `ERR_IDEMPOTENCY_MISMATCH`. Up to 255 bytes
   * of UTF-8.
   */
  readonly idempotencyKey?: string;
  /**
   * For sources that resume: the record is a duplicate if exactly this sequence of this producer is
   * durable. Doesn't expire.
   */
  readonly producer?: { readonly id: string; readonly sequence: number };
  /** Not delivered before this time has passed, in ms from now; up to 10 years. */
  readonly delayMs?: number;
  /** Not delivered before this time: ms since 1970, or a date. */
  readonly notBefore?: number | Date;
  /**
   * Not delivered after this time has passed, in ms from now; `done` then rejects with
   * `ERR_RECORD_EXPIRED`.
   */
  readonly ttlMs?: number;
  /** Not delivered after this time: ms since 1970, or a date. */
  readonly expiresAt?: number | Date;
  /**
   * The trace that the record belongs to: `traceparent` and `tracestate` of the W3C's trace
   * context. The log keeps them with the record, across restarts: the handler's span is a child of
   * this one. Default: the active span, with the option `spans` of `open()`.
   */
  readonly traceparent?: string;
  /** Has no effect without `traceparent`. Its first 199 bytes are kept, in whole entries. */
  readonly tracestate?: string;
}

/** How a publish behaves when the intake takes nothing. */
export interface BackpressureOptions {
  /**
   * "wait": until the intake takes records again. "reject": at once, with `ERR_INTAKE_FULL`.
   * Default: the option `whenFull` of `journal`.
   */
  readonly whenFull?: "wait" | "reject";
  /** Longest wait, ms; then the publish rejects with `ERR_INTAKE_FULL`. Default: no limit. */
  readonly timeoutMs?: number;
  /** Ends the wait: the publish rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

export interface PublishOptions extends RecordOptions, BackpressureOptions {}

/** A record of `publishMany`. */
export interface RecordToPublish<Name extends string = string> extends RecordOptions {
  readonly handler: Name;
  readonly payload?: unknown;
}

/** The exports of a module that are handlers. */
export type PublishedName<Handlers> = HandlerName<Handlers>;

/** `context.publish`: calls that put a record aside until the handler's own record ends. */
export type PublishWithEnd<Handlers> = {
  readonly [Name in PublishedName<Handlers>]: WithEnd<CallOf<HandlerOf<Handlers, Name>, RecordOptions, void>>;
};

type WithEnd<Call> = Call extends (...parameters: infer Parameters) => unknown
  ? (...parameters: Parameters) => void
  : never;

/** The message of `context.publishNow` to the opening thread: handler, encoded payload, options. */
export type PublishedNow = readonly [handler: string, payload: Uint8Array, options: RecordOptions | undefined];

/** The answer that it resolves with. */
export interface PublishedNowAnswer {
  readonly sequence: number;
  readonly duplicate: boolean;
}

/** `context.publishNow`: calls that resolve when the record is durable. */
export type PublishNow<Handlers> = {
  readonly [Name in PublishedName<Handlers>]: CallOf<HandlerOf<Handlers, Name>, RecordOptions, PublishedNowAnswer>;
};

const DATA = 1 satisfies (typeof RECORD_TYPE)["data"];
/** As the scheduler numbers them. */
const PRIORITY: Readonly<Record<Priority, number>> = { high: 0, normal: 1, low: 2 };
export const KEY_BYTES_MAX = 1024;
const TEN_YEARS_MS: number = 10 * 365 * 86_400_000;
const TIME_MAX = 8.64e15;
const NO_BYTES = new Uint8Array(0);
/** The wall clock was set when it is further from the clock that nobody sets. */
const SET_MS = 1000;
/** The longest time that timers take. */
const TIMER_MS_MAX: number = 2 ** 31 - 1;

const waitRules = {
  whenFull: optional(oneOf(["wait", "reject"], "wait")),
  timeoutMs: optional(integer(0, TIMER_MS_MAX)),
  signal: optional(abortSignal()),
} satisfies Rules;

const recordRules = {
  priority: oneOf(["high", "normal", "low"], "normal"),
  headers: optional(optionsObject<object>()),
  key: optional(shortText(KEY_BYTES_MAX)),
  idempotencyKey: optional(shortText(IDEMPOTENCY_KEY_BYTES_MAX)),
  producer: optional(
    custom(
      `{ id, sequence }: a text of up to ${PRODUCER_ID_BYTES_MAX} bytes and a whole number from 0`,
      (value): value is { readonly id: string; readonly sequence: number } => {
        const { id, sequence } = (value ?? {}) as { id?: unknown; sequence?: unknown };
        return isShort(id, PRODUCER_ID_BYTES_MAX) && Number.isSafeInteger(sequence) && (sequence as number) >= 0;
      },
    ),
  ),
  delayMs: optional(integer(0, TEN_YEARS_MS, 0)),
  notBefore: optional(instant()),
  ttlMs: optional(integer(1, TEN_YEARS_MS, 1)),
  expiresAt: optional(instant()),
  traceparent: optional(custom("a traceparent of the W3C, with ids that aren't zero", isTraceparent)),
  tracestate: optional(custom("a tracestate of the W3C: up to 512 printable characters of ASCII", isTracestate)),
} satisfies Rules;

const publishRules = { ...recordRules, ...waitRules } satisfies Rules;

/**
 * For a publish that never waits: an option about waiting would have no effect. Throws
 * `ERR_INVALID_OPTION`.
 */
export function mustNotWait(owner: string, given: object | undefined): void {
  if (given === undefined || !Object.keys(waitRules).some((name) => name in given)) return;
  resolveOptions(owner, recordRules, given);
}

type Given = Resolved<typeof recordRules>;
/** A publish's own options for waiting. */
export interface Wait {
  readonly whenFull: "wait" | "reject" | undefined;
  readonly timeoutMs: number | undefined;
  readonly signal: AbortSignal | undefined;
}

function isShort(value: unknown, bytesMax: number): value is string {
  return typeof value === "string" && value.length > 0 && Buffer.byteLength(value) <= bytesMax;
}

/** An instant that a Date can hold, and that f64 writes without loss. */
function instant(): ReturnType<typeof custom<number | Date>> {
  return custom(`a time in ms since 1970, from 0 to ${TIME_MAX}, or a valid Date`, (value): value is number | Date => {
    const ms = types.isDate(value) ? value.getTime() : value;
    return typeof ms === "number" && ms >= 0 && ms <= TIME_MAX;
  });
}

export function shortText(bytesMax: number): ReturnType<typeof custom<string>> {
  return custom(`a text of 1 to ${bytesMax} bytes of UTF-8`, (value): value is string => isShort(value, bytesMax));
}

/** A record on its way to the journal, and whether its publish has to wait for a verdict. */
export interface Prepared {
  readonly parts: RecordParts;
  readonly isJudged: boolean;
  /** The producer that it names; undefined without. */
  readonly producer: string | undefined;
  /** Its own options for waiting; undefined without options. */
  readonly wait: Wait | undefined;
}

/** The options of a `publishMany`, checked. Throws `ERR_INVALID_OPTION`. */
export function waitOptions(given: BackpressureOptions = {}): Wait {
  return resolveOptions("publishMany", waitRules, given);
}

/**
 * A record of `handler`, whose header without terms is `plain`. The payload's bytes are valid until
 * the next call; those of a member of a group, `isOwn`, are its own. Throws `ERR_INVALID_OPTION`,
 * `ERR_VALUE_UNSUPPORTED`.
 */
export function prepare(
  handler: string,
  plain: Uint8Array,
  value: unknown,
  given: PublishOptions | undefined,
  isOwn = false,
): Prepared {
  const encoded = encode(value);
  const payload = isOwn ? Uint8Array.from(encoded) : encoded;
  const timeMs = Date.now();
  const type = DATA;
  if (given === undefined) {
    const parts = { type, priority: PRIORITY.normal, timeMs, header: plain, key: NO_BYTES, payload };
    return { parts, isJudged: false, producer: undefined, wait: undefined };
  }
  const owner = `publish.${handler}`;
  const options = isOwn ? resolveOptions(owner, recordRules, given) : resolveOptions(owner, publishRules, given);
  const terms = termsOf(handler, options, payload, timeMs);
  // The codec writes headers where it wrote the payload.
  const kept = options.headers === undefined || isOwn ? payload : Uint8Array.from(payload);
  const header = headerOf(handler, plain, terms, options.headers);
  const key = options.key === undefined ? NO_BYTES : Buffer.from(options.key);
  const parts = { type, priority: PRIORITY[options.priority], timeMs, header, key, payload: kept };
  const isJudged = options.idempotencyKey !== undefined || options.producer !== undefined;
  const producer = options.producer?.id;
  return { parts, isJudged, producer, wait: isOwn ? undefined : (options as Resolved<typeof publishRules>) };
}

function headerOf(
  handler: string,
  plain: Uint8Array,
  terms: Terms | undefined,
  headers: object | undefined,
): Uint8Array {
  if (terms !== undefined) return encodeTerms(handler, terms, headers);
  return headers === undefined ? plain : withHeaders(plain, headers);
}

/** Undefined for a record without terms: it is written as version 1 was. */
function termsOf(handler: string, options: Given, payload: Uint8Array, nowMs: number): Terms | undefined {
  const { key, idempotencyKey, producer, delayMs, notBefore, ttlMs, expiresAt, traceparent, tracestate } = options;
  const notBeforeMs = oneTime(handler, "delayMs", delayMs, "notBefore", notBefore, nowMs);
  const expiresAtMs = oneTime(handler, "ttlMs", ttlMs, "expiresAt", expiresAt, nowMs);
  if (expiresAtMs !== undefined && expiresAtMs <= (notBeforeMs ?? nowMs)) {
    const name = ttlMs === undefined ? "expiresAt" : "ttlMs";
    throw baseError("ERR_INVALID_OPTION", `publish.${handler}: ${name} is over before the record may be delivered`, {
      details: { owner: `publish.${handler}`, name, value: ttlMs ?? expiresAt },
    });
  }
  const idempotency =
    idempotencyKey === undefined
      ? undefined
      : {
          key: Buffer.from(idempotencyKey),
          payloadCrc: crc32(payload),
          payloadBytes: payload.length,
          steadyMs: steadyUnless(nowMs),
        };
  const produced = producer === undefined ? undefined : { ...producer, payloadCrc: crc32(payload) };
  const trace =
    traceparent === undefined
      ? undefined
      : packTrace({ traceparent, ...(tracestate === undefined ? undefined : { tracestate }) });
  if ([key, idempotency, produced, notBeforeMs, expiresAtMs, trace].every((term) => term === undefined)) {
    return undefined;
  }
  return { isOrdered: key !== undefined, idempotency, producer: produced, notBeforeMs, expiresAtMs, trace };
}

/**
 * The time by the clock that has run since the process began, which is one for all of its threads;
 * undefined where the wall clock says the same.
 */
function steadyUnless(wallMs: number): number | undefined {
  const steadyMs = performance.timeOrigin + performance.now();
  return Math.abs(steadyMs - wallMs) <= SET_MS ? undefined : steadyMs;
}

function oneTime(
  handler: string,
  relativeName: string,
  relative: number | undefined,
  absoluteName: string,
  absolute: number | Date | undefined,
  nowMs: number,
): number | undefined {
  if (relative === undefined) return absolute === undefined ? undefined : Number(absolute);
  if (absolute === undefined) return nowMs + relative;
  throw baseError("ERR_INVALID_OPTION", `publish.${handler}: give ${relativeName} or ${absoluteName}, not both`, {
    details: { owner: `publish.${handler}`, name: relativeName, value: relative },
  });
}
