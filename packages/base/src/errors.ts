/**
 * Errors with stable codes.
 *
 * Each package declares one table of codes; every error of Millrace is made from such a table, so
 * the reference page (docs/errors.md) can be checked against the code. Match on `code`, never on
 * the text.
 */

/** One row of an error table: what brings the error about and what the user can do. */
export interface ErrorEntry {
  readonly cause: string;
  readonly cure: string;
}

/** One package's codes. */
export type ErrorTable<Code extends string = string> = Readonly<Record<Code, ErrorEntry>>;

export interface ErrorExtras {
  readonly cause?: unknown;
  readonly details?: Readonly<Record<string, unknown>>;
}

/** Marks our errors, also across two copies of this package in one process. */
const BRAND: symbol = Symbol.for("millrace.error");

/**
 * An error of Millrace: `code` is stable, `cure` says what to do, `details` holds the values that
 * matter.
 */
export class MillraceError extends Error {
  override readonly name: string = "MillraceError";
  readonly code: string;
  readonly cure: string;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: string, message: string, cure: string, extras: ErrorExtras = {}) {
    super(message, extras.cause === undefined ? undefined : { cause: extras.cause });
    this.code = code;
    this.cure = cure;
    this.details = extras.details ?? {};
    Object.defineProperty(this, BRAND, { value: true });
  }
}

/** Makes errors of one table: `fail("ERR_…", "what happened to what", { cause, details })`. */
export type ErrorFactory<Code extends string> = (code: Code, message: string, extras?: ErrorExtras) => MillraceError;

/** Binds a table to a factory that only takes the codes of that table. */
export function errorFactory<Code extends string>(table: ErrorTable<Code>): ErrorFactory<Code> {
  return (code, message, extras) => new MillraceError(code, message, table[code].cure, extras);
}

/**
 * Whether `value` is an error of Millrace, also one from another copy of this package; with `code`,
 * that very one.
 */
export function isMillraceError(value: unknown, code?: string): value is MillraceError {
  return (
    typeof value === "object" &&
    value !== null &&
    BRAND in value &&
    (code === undefined || (value as MillraceError).code === code)
  );
}

/** The message of anything that was thrown. Never throws itself. */
export function messageOf(thrown: unknown): string {
  try {
    return String(thrown instanceof Error ? thrown.message : thrown);
  } catch {
    // An object without a prototype, a getter or a proxy that throws.
    return "something that has no text was thrown";
  }
}

export type BaseErrorCode = "ERR_INVALID_OPTION" | "ERR_INVARIANT" | "ERR_RUNTIME_UNSUPPORTED" | "ERR_THREAD_FILE";

export const baseErrors: ErrorTable<BaseErrorCode> = {
  ERR_INVALID_OPTION: {
    cause: "An option has an unknown name or a value outside its range.",
    cure: "Correct the option that the message names.",
  },
  ERR_INVARIANT: {
    cause: "A condition that must always hold did not hold: a bug in Millrace.",
    cure: "Report it with the message and the stack; nothing acknowledged is at risk.",
  },
  ERR_RUNTIME_UNSUPPORTED: {
    cause:
      "The program runs under Deno. Its worker threads lack a call that Millrace needs to " +
      "close, and the journal's native part would end its process.",
    cure: "Run it with Node.js 20.19 or later, or with Bun. Only locks and channels work under Deno.",
  },
  ERR_THREAD_FILE: {
    cause:
      "The file with which a thread of Millrace starts isn't beside the code that starts the " +
      "thread. A bundler has moved that code into another file.",
    cure:
      "Leave `millrace` and `@millrace/*` out of the bundle and install them beside it; " +
      "docs/bundlers.md has the line for each bundler.",
  },
};

export const baseError: ErrorFactory<BaseErrorCode> = errorFactory(baseErrors);
