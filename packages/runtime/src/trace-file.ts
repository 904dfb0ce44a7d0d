/**
 * Traces of a program without a change of it. With MILLRACE_TRACE_DIRECTORY in the environment,
 * every runtime of the process records and leaves a file there, in the format of `chromeTrace`.
 * `millrace trace record` sets it.
 *
 * The file is written when the runtime is closed, when the process ends without that, or after
 * MILLRACE_TRACE_SECONDS; once.
 */
import { renameSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { join, resolve } from "node:path";
import {
  custom,
  messageOf,
  optional,
  powerOfTwo,
  resolveOptions,
  type Rules,
  clearTimeout,
  setTimeout,
} from "@millrace/base";
import { type ChromeTrace, chromeTrace, readTrace, type Scheduler } from "@millrace/scheduler";

/** Names of the variables. */
export const TRACE_ENVIRONMENT = {
  directory: "MILLRACE_TRACE_DIRECTORY",
  /** Records kept per thread, a power of two. */
  records: "MILLRACE_TRACE_RECORDS",
  seconds: "MILLRACE_TRACE_SECONDS",
} as const;

/** The trace that the environment asks for. */
export interface TraceRequest {
  readonly directory: string;
  readonly records: number;
  readonly seconds: number | undefined;
}

/** 2 MiB per thread: some tenths of a second at full speed. */
export const TRACE_RECORDS_DEFAULT: number = 2 ** 16;
/** As the scheduler's option `trace`. */
export const TRACE_RECORDS_MAX: number = 2 ** 20;
const SECONDS_MAX = 86_400;
const STDERR = 2;
const WARNING = "MillraceWarning";
const CODE = "MILLRACE_TRACE_FILE";

/** Undefined without the variable of the directory. Throws `ERR_INVALID_OPTION`. */
export function traceRequest(environment: NodeJS.ProcessEnv): TraceRequest | undefined {
  const directory = environment[TRACE_ENVIRONMENT.directory];
  if (directory === undefined || directory === "") return undefined;
  const number = (name: string): number | undefined => (environment[name] ? Number(environment[name]) : undefined);
  const given = {
    [TRACE_ENVIRONMENT.records]: number(TRACE_ENVIRONMENT.records),
    [TRACE_ENVIRONMENT.seconds]: number(TRACE_ENVIRONMENT.seconds),
  };
  const options = resolveOptions("environment", rules, given);
  return {
    // The process may go to another working directory before it ends.
    directory: resolve(directory),
    records: options[TRACE_ENVIRONMENT.records],
    seconds: options[TRACE_ENVIRONMENT.seconds],
  };
}

const rules = {
  [TRACE_ENVIRONMENT.records]: powerOfTwo(2, TRACE_RECORDS_MAX, TRACE_RECORDS_DEFAULT),
  [TRACE_ENVIRONMENT.seconds]: optional(
    custom(
      "a number of seconds above 0",
      (value): value is number => (value as number) > 0 && (value as number) <= SECONDS_MAX,
    ),
  ),
} satisfies Rules;

/** Files of one process have numbers. */
let filesBegun = 0;

/**
 * Writes the trace once, whatever comes first: `write`, the end of the process, the time that the
 * request gives. The file has another name until it is whole: a reader that waits for it must not
 * read half of it. It is there from the beginning, and says that a runtime opens.
 */
export class TraceFile {
  readonly #file: string;
  readonly #seconds: number | undefined;
  #read: (() => ChromeTrace) | undefined;
  #timer: NodeJS.Timeout | undefined;
  readonly #onExit = (): void => this.#write(tellAtExit);
  #isWritten = false;

  /** Records kept per thread. */
  readonly records: number;

  constructor({ directory, records, seconds }: TraceRequest) {
    this.records = records;
    filesBegun += 1;
    this.#file = join(directory, `trace-${process.pid}-${filesBegun}.json`);
    this.#seconds = seconds;
    this.#tried(() => writeFileSync(this.#part, ""));
  }

  /** The runtime is open: `read` gives what it has recorded. */
  begin(read: () => ChromeTrace): void {
    this.#read = read;
    process.once("exit", this.#onExit);
    if (this.#seconds !== undefined) this.#timer = setTimeout(() => this.write(), this.#seconds * 1000).unref();
  }

  /** The runtime could not be opened. */
  drop(): void {
    this.#tried(() => rmSync(this.#part, { force: true }));
  }

  write(): void {
    this.#write(warn);
  }

  #write(tell: (problem: string) => void): void {
    const read = this.#read;
    if (this.#isWritten || read === undefined) return;
    this.#isWritten = true;
    process.off("exit", this.#onExit);
    clearTimeout(this.#timer);
    this.#tried(() => {
      writeFileSync(this.#part, JSON.stringify(read()));
      renameSync(this.#part, this.#file);
    }, tell);
  }

  get #part(): string {
    return `${this.#file}.part`;
  }

  /** The program that is looked at goes on as if nobody looked. */
  #tried(step: () => void, tell = warn): void {
    try {
      step();
    } catch (thrown) {
      tell(`no trace could be written: ${messageOf(thrown)}`);
    }
  }
}

function warn(problem: string): void {
  process.emitWarning(problem, { type: WARNING, code: CODE });
}

/** A warning would come in the next turn of the event loop. */
function tellAtExit(problem: string): void {
  try {
    writeSync(STDERR, `[${CODE}] ${WARNING}: ${problem}\n`);
  } catch {
    // There is nobody to tell.
  }
}

/** The scheduler's recorded trace; undefined without its option `trace`. */
export function traceOf<Handlers>(scheduler: Scheduler<Handlers>): ChromeTrace | undefined {
  const rings = scheduler.traceRings;
  return rings === undefined ? undefined : chromeTrace(rings, readTrace(rings), scheduler.handlerNames);
}
