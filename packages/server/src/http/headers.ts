/** Reads the options of records from the headers and the query of a request. */
import { isUtf8 } from "node:buffer";
import type { IncomingMessage } from "node:http";
import { nearest } from "@millrace/base";
import { isTraceparent, isTracestate } from "@millrace/intake";
import { serverError } from "../errors.ts";
import type { RecordTerms } from "../records/publication.ts";

const PREFIX = "x-millrace-";
const IDEMPOTENCY_KEY = "idempotency-key";
const KEY = `${PREFIX}key`;
const PRIORITY = `${PREFIX}priority`;
const DELAY = `${PREFIX}delay-ms`;
const TTL = `${PREFIX}ttl-ms`;
const TRACEPARENT = "traceparent";
const TRACESTATE = "tracestate";
const KNOWN: readonly string[] = [KEY, PRIORITY, DELAY, TTL];

function invalid(message: string): Error {
  return serverError("ERR_REQUEST_INVALID", message);
}

/** Node joins the values of a header that comes twice: a key would be another one then. */
function single(request: IncomingMessage, name: string): string | undefined {
  const values = request.headersDistinct[name];
  if (values === undefined) return undefined;
  const [value] = values;
  if (values.length === 1 && value !== undefined) return value;
  throw invalid(`the header ${name} comes ${values.length} times`);
}

/** Node reads headers as Latin-1; texts in them are UTF-8. */
function text(request: IncomingMessage, name: string): string | undefined {
  const value = single(request, name);
  if (value === undefined) return undefined;
  const bytes = Buffer.from(value, "latin1");
  if (value !== "" && isUtf8(bytes)) return bytes.toString("utf8");
  throw invalid(value === "" ? `the header ${name} is empty` : `the header ${name} isn't UTF-8`);
}

function whole(request: IncomingMessage, name: string): number | undefined {
  const value = single(request, name);
  if (value === undefined) return undefined;
  if (/^\d{1,15}$/.test(value)) return Number(value);
  throw invalid(`the header ${name} must be a whole number of ms, not ${JSON.stringify(value.slice(0, 40))}`);
}

/** With or without the quotes of a structured field: `"a-1"` and `a-1` are one key. */
function idempotencyKeyOf(request: IncomingMessage): string | undefined {
  const value = text(request, IDEMPOTENCY_KEY);
  const quoted = value === undefined ? undefined : /^"(.*)"$/.exec(value)?.[1];
  if (quoted === "") throw invalid(`the header ${IDEMPOTENCY_KEY} is empty`);
  return quoted ?? value;
}

/**
 * The trace that the request belongs to. An invalid header is left out and refuses nothing, as the
 * W3C has it: a proxy on the way may have made it.
 */
function traceIn({ headersDistinct }: IncomingMessage): Pick<RecordTerms, "traceparent" | "tracestate"> {
  const [traceparent, ...more] = headersDistinct[TRACEPARENT] ?? [];
  if (more.length > 0 || !isTraceparent(traceparent)) return {};
  // A list may come in several headers.
  const tracestate = headersDistinct[TRACESTATE]?.join(",");
  return isTracestate(tracestate) ? { traceparent, tracestate } : { traceparent };
}

/** Throws `ERR_REQUEST_INVALID`, also for an unknown header of ours. */
export function termsIn(request: IncomingMessage): RecordTerms {
  for (const name of Object.keys(request.headers)) {
    if (!name.startsWith(PREFIX) || KNOWN.includes(name)) continue;
    const near = nearest(name, KNOWN);
    throw invalid(
      `unknown header ${name.slice(0, 100)}; ${near === undefined ? `known are ${KNOWN.join(", ")}` : `did you mean ${near}?`}`,
    );
  }
  const key = text(request, KEY);
  const idempotencyKey = idempotencyKeyOf(request);
  const priority = single(request, PRIORITY);
  const delayMs = whole(request, DELAY);
  const ttlMs = whole(request, TTL);
  return {
    ...(key === undefined ? undefined : { key }),
    ...(idempotencyKey === undefined ? undefined : { idempotencyKey }),
    // The publish checks it.
    ...(priority === undefined ? undefined : { priority: priority as NonNullable<RecordTerms["priority"]> }),
    ...(delayMs === undefined ? undefined : { delayMs }),
    ...(ttlMs === undefined ? undefined : { ttlMs }),
    ...traceIn(request),
  };
}

/** Switches in the query: `?atomic=1`. Throws `ERR_REQUEST_INVALID`. */
export function switchesIn<Name extends string>(query: unknown, known: readonly Name[]): Record<Name, boolean> {
  const given = query as Record<string, unknown>;
  for (const [name, value] of Object.entries(given)) {
    if (!(known as readonly string[]).includes(name)) {
      const which = known.length === 0 ? "this request takes none" : `known are ${known.join(", ")}`;
      throw invalid(`unknown parameter ${JSON.stringify(name.slice(0, 100))}; ${which}`);
    }
    if (value !== "0" && value !== "1") throw invalid(`the parameter ${name} must be 0 or 1`);
  }
  return Object.fromEntries(known.map((name) => [name, given[name] === "1"])) as Record<Name, boolean>;
}
