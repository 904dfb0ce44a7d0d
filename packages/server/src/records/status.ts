/** Errors as a client gets them: a status and a document. */
import { isMillraceError, messageOf } from "@millrace/base";

/** The error of a failed publish, as its client gets it. */
export interface ErrorDocument {
  readonly code: string;
  readonly message: string;
  /** Whether the record may be stored: only then it is of use to ask, or to repeat with its key. */
  readonly uncertain?: true;
  /** When a repetition may succeed. */
  readonly retryAfterMs?: number;
  /** In the body: bytes from 0. */
  readonly position?: number;
  /** The record that has the idempotency key. */
  readonly sequence?: number;
  readonly scope?: string;
}

/** An error of ours that isn't in this table is a fault of the server. */
const STATUS: Readonly<Record<string, number>> = {
  ERR_REQUEST_INVALID: 400,
  ERR_REQUEST_MALFORMED: 400,
  ERR_INVALID_OPTION: 400,
  ERR_VALUE_UNSUPPORTED: 400,
  ERR_TOKEN_REFUSED: 401,
  ERR_TOKEN_SCOPE: 403,
  ERR_PAGE_ORIGIN: 403,
  ERR_REQUEST_ROUTE: 404,
  ERR_HANDLER_UNKNOWN: 404,
  ERR_RECORD_UNKNOWN: 404,
  ERR_REQUEST_TIMEOUT: 408,
  ERR_REQUEST_TOO_LARGE: 413,
  ERR_JOURNAL_RECORD_TOO_LARGE: 413,
  ERR_VALUE_TOO_LARGE: 413,
  ERR_REQUEST_TYPE: 415,
  ERR_IDEMPOTENCY_MISMATCH: 422,
  ERR_INTAKE_FULL: 429,
  ERR_REQUEST_RATE: 429,
  ERR_PAGE_BUSY: 503,
  ERR_SERVER_DRAINING: 503,
  ERR_INTAKE_CLOSED: 503,
  ERR_JOURNAL_BUSY: 503,
  ERR_JOURNAL_CLOSED: 503,
  ERR_JOURNAL_FULL: 503,
  ERR_JOURNAL_POISONED: 503,
  ERR_DEAD_LETTERS_FULL: 503,
  ERR_PRODUCERS_FULL: 503,
};

const UNCERTAIN_ADVICE = "it may be stored: send it again with the same Idempotency-Key";
/** For what passes by itself or by the work of people, when nothing says how long it takes. */
const RETRY_AFTER_MS = 1000;

/** The status of an answer. */
export function statusOf(thrown: unknown): number {
  if (!isMillraceError(thrown)) return 500;
  // A full disk isn't the client's doing.
  if (thrown.code === "ERR_INTAKE_FULL" && thrown.details.cause === "disk") return 503;
  return STATUS[thrown.code] ?? 500;
}

function numberIn(details: Readonly<Record<string, unknown>>, name: string): number | undefined {
  const value = details[name];
  return typeof value === "number" ? value : undefined;
}

/**
 * The document of an error. It has only what is meant for clients: an unknown error may name files,
 * and payloads.
 */
export function errorDocument(thrown: unknown): ErrorDocument {
  const status = statusOf(thrown);
  if (!isMillraceError(thrown) || (status === 500 && thrown.code !== "ERR_JOURNAL_UNCERTAIN")) {
    const code = isMillraceError(thrown) ? thrown.code : "ERR_UNEXPECTED";
    return { code, message: `the server failed; ${UNCERTAIN_ADVICE}`, uncertain: true };
  }
  const { code, details } = thrown;
  if (code === "ERR_JOURNAL_UNCERTAIN") {
    return { code, message: `${messageOf(thrown)}; ${UNCERTAIN_ADVICE}`, uncertain: true };
  }
  const retryAfterMs = numberIn(details, "retryAfterMs") ?? (status === 503 ? RETRY_AFTER_MS : undefined);
  const position = numberIn(details, "position");
  const sequence = numberIn(details, "sequence");
  const { scope } = details;
  return {
    code,
    message: messageOf(thrown),
    ...(retryAfterMs === undefined ? undefined : { retryAfterMs }),
    ...(position === undefined ? undefined : { position }),
    ...(sequence === undefined ? undefined : { sequence }),
    ...(typeof scope === "string" ? { scope } : undefined),
  };
}

/** `Retry-After` counts whole seconds; undefined where there is nothing to wait for. */
export function retryAfterSeconds({ retryAfterMs }: ErrorDocument): number | undefined {
  return retryAfterMs === undefined ? undefined : Math.max(1, Math.ceil(retryAfterMs / 1000));
}
