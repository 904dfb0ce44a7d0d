/**
 * Where a record's trace goes on: the trace context of the W3C, as a record keeps it.
 *
 * A record keeps one text of up to 255 bytes: `traceparent`, and behind a space as much of
 * `tracestate` as fits. Entries of `tracestate` are left out from the right, as the standard says.
 *
 * Source: w3.org/TR/trace-context.
 */

/** Beside a traceparent of version 00 and a space. */
const TRACESTATE_BYTES_MAX: number = 255 - 55 - 1;
/** Most characters that senders may give. */
const TRACESTATE_GIVEN_MAX = 512;
const TRACEPARENT = /^(?!ff)([\da-f]{2})-(?!0{32})([\da-f]{32})-(?!0{16})([\da-f]{16})-([\da-f]{2})(-.*)?$/;
const TRACESTATE = /^[\x20-\x7e]*$/;

export interface TraceContext {
  readonly traceparent: string;
  readonly tracestate?: string;
}

export interface TraceParts {
  readonly traceId: string;
  readonly spanId: string;
  readonly traceFlags: number;
}

/** Undefined for what isn't a `traceparent`. Versions to come are read as version 00. */
export function partsOfTraceparent(text: unknown): TraceParts | undefined {
  if (typeof text !== "string" || text.length > TRACESTATE_GIVEN_MAX) return undefined;
  const [, version, traceId, spanId, flags, more] = TRACEPARENT.exec(text) ?? [];
  if (traceId === undefined || spanId === undefined || (version === "00" && more !== undefined)) return undefined;
  return { traceId, spanId, traceFlags: Number.parseInt(flags as string, 16) };
}

export function isTraceparent(value: unknown): value is string {
  return partsOfTraceparent(value) !== undefined;
}

export function isTracestate(value: unknown): value is string {
  return typeof value === "string" && value.length <= TRACESTATE_GIVEN_MAX && TRACESTATE.test(value);
}

export function traceparentOf({ traceId, spanId, traceFlags }: TraceParts): string {
  return `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, "0")}`;
}

/** As a record keeps it; undefined for what isn't a trace context. */
export function packTrace({ traceparent, tracestate }: TraceContext): string | undefined {
  const parts = partsOfTraceparent(traceparent);
  if (parts === undefined) return undefined;
  const state = fitting(tracestate);
  return state === "" ? traceparentOf(parts) : `${traceparentOf(parts)} ${state}`;
}

function fitting(tracestate: string | undefined): string {
  if (!isTracestate(tracestate)) return "";
  const entries = tracestate.split(",").map((entry) => entry.trim());
  let state = "";
  for (const entry of entries) {
    if (entry === "") continue;
    const longer = state === "" ? entry : `${state},${entry}`;
    if (longer.length > TRACESTATE_BYTES_MAX) break;
    state = longer;
  }
  return state;
}

/** The opposite of `packTrace`. */
export function unpackTrace(text: string): TraceContext {
  const space = text.indexOf(" ");
  if (space < 0) return { traceparent: text };
  return { traceparent: text.slice(0, space), tracestate: text.slice(space + 1) };
}

/**
 * A member of an error that a handler has thrown: the span of its attempt, on the way to the
 * delivery thread. Errors cross threads with their members.
 */
const SPAN = "millraceSpan";

/**
 * A thrown value that isn't an object, or is frozen, can't be marked: the next attempt then has no
 * link.
 */
export function markFailure(thrown: unknown, traceparent: string): void {
  if (typeof thrown !== "object" || thrown === null) return;
  Reflect.defineProperty(thrown, SPAN, { value: traceparent, configurable: true, enumerable: true, writable: true });
}

/** Takes the mark off, so that nobody sees it. */
export function takeMark(error: unknown): string | undefined {
  if (typeof error !== "object" || error === null || !Object.hasOwn(error, SPAN)) return undefined;
  const marked = error as { [SPAN]?: unknown };
  const traceparent = marked[SPAN];
  if (!isTraceparent(traceparent)) return undefined;
  delete marked[SPAN];
  return traceparent;
}
