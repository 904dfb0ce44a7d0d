/**
 * Prints for the command: the document or the summary on stdout, everything else on stderr.
 */
import { isMillraceError, messageOf } from "@millrace/base";

export interface ReporterOptions {
  /** One JSON document on stdout instead of text. */
  readonly json?: boolean | undefined;
  /** No progress. */
  readonly quiet?: boolean | undefined;
  /** Stack traces. */
  readonly verbose?: boolean | undefined;
  /** The command that runs, as a user types it: what an error in its use refers to. */
  readonly command?: string | undefined;
}

/** A terminal's progress line is redrawn this often; elsewhere a line is printed this often. */
const REDRAW_MS = 100;
const LINE_MS = 5000;
/** Of a long word a message shows its beginning and its end. */
const SHOWN_LENGTH = 200;

/** Whether the document is printed; one per process, whichever reporter prints it. */
let isDocumentPrinted = false;

export class Reporter {
  readonly #options: ReporterOptions;
  #progressAt = 0;
  #isProgressShown = false;

  constructor(options: ReporterOptions) {
    this.#options = options;
  }

  get isVerbose(): boolean {
    return this.#options.verbose === true;
  }

  get isJson(): boolean {
    return this.#options.json === true;
  }

  /** The result: as JSON, or as text for people. */
  result(document: object, text: () => string): void {
    this.#clearProgress();
    if (this.isJson) this.#document(document);
    else process.stdout.write(`${text()}\n`);
  }

  /** A signal ends the process: the document, unless one is printed already. */
  interrupted(signal: string | undefined): void {
    this.#clearProgress();
    if (this.isJson && !isDocumentPrinted) this.#document({ interrupted: true, signal });
  }

  /** Begins a document that the caller prints piece by piece. */
  beginDocument(): void {
    isDocumentPrinted = true;
  }

  #document(document: object): void {
    isDocumentPrinted = true;
    process.stdout.write(`${JSON.stringify(document, undefined, 2)}\n`);
  }

  /** A message for people. */
  message(text: string): void {
    this.#clearProgress();
    process.stderr.write(`${text}\n`);
  }

  /** A line that says how far the work is; `text` is only made when it is shown. */
  progress(text: () => string): void {
    if (this.#options.quiet === true) return;
    const now = performance.now();
    // A dumb terminal knows no escape sequences.
    const isTerminal = process.stderr.isTTY && process.env.TERM !== "dumb";
    if (now - this.#progressAt < (isTerminal ? REDRAW_MS : LINE_MS)) return;
    this.#progressAt = now;
    if (!isTerminal) {
      process.stderr.write(`${text()}\n`);
      return;
    }
    this.#isProgressShown = true;
    process.stderr.write(`\r\x1b[2K${text().slice(0, (process.stderr.columns ?? 80) - 1)}`);
  }

  /** An error and its cure; with --json also a document on stdout with both. */
  error(thrown: unknown, document: object = {}): void {
    this.#clearProgress();
    const error = this.#documentOf(thrown);
    const { code, message, cure } = error;
    process.stderr.write(`millrace: ${shortened(message)} (${code})\n`);
    if (cure !== undefined) process.stderr.write(`  ${cure}\n`);
    if (this.isVerbose) process.stderr.write(`${stackOf(thrown)}\n`);
    if (this.isJson && !isDocumentPrinted) this.#document({ ...document, error });
  }

  /** A mistake in a command line is cured by the help of that command. */
  #documentOf(thrown: unknown): ErrorDocument {
    const error = errorDocument(thrown);
    const { command } = this.#options;
    return error.code === "ERR_CLI_USAGE" && command !== undefined
      ? { ...error, cure: `See \`${command} --help\`.` }
      : error;
  }

  #clearProgress(): void {
    if (!this.#isProgressShown) return;
    this.#isProgressShown = false;
    process.stderr.write("\r\x1b[2K");
  }
}

/** A value that a message repeats may be of any length; a document has it whole. */
function shortened(message: string): string {
  return message.replaceAll(/\S{500,}/g, (word) => `${word.slice(0, SHOWN_LENGTH)}…${word.slice(-SHOWN_LENGTH)}`);
}

export interface ErrorDocument {
  readonly code: string;
  readonly message: string;
  readonly cure: string | undefined;
  readonly details: Readonly<Record<string, unknown>>;
}

/** Of errors whose own cure is an option of a program, which a command hasn't. */
const CURES: Readonly<Record<string, string>> = {
  ERR_JOURNAL_LOCKED:
    "Use another directory, or end the other process. The lock goes with the process; there is nothing to delete.",
  ERR_JOURNAL_UNSAFE_STORAGE:
    "Use a local disk. If you may lose the journal, pass --allow-unsafe-storage to ingest, or set " +
    "journal.allowUnsafeStorage in the --config of serve.",
};

/** An error as a document has it. */
export function errorDocument(thrown: unknown): ErrorDocument {
  const { code: systemCode } = thrown as { code?: unknown };
  const code = typeof systemCode === "string" ? systemCode : "ERR_UNEXPECTED";
  if (!isMillraceError(thrown)) return { code, message: messageOf(thrown), cure: undefined, details: {} };
  return { code, message: messageOf(thrown), cure: CURES[code] ?? thrown.cure, details: thrown.details };
}

function stackOf(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  const cause = thrown.cause === undefined ? "" : `\ncaused by: ${stackOf(thrown.cause)}`;
  return `${thrown.stack ?? thrown.message}${cause}`;
}
