/**
 * `millrace ingest`: publishes each record of files once, and has it handled at least once, also
 * across crashes.
 *
 * This thread works on bytes: it decompresses, splits and checks them, and publishes the JSON text
 * of each record. The machines parse it (docs/adr/0026-ingest-splits-and-machines-parse.md). Each
 * file is a producer of the intake: the journal knows which of its records are stored, and a sum of
 * what they said. So the same command, run again, continues where it stopped, and notices when the
 * file has changed.
 */
import { createHash } from "node:crypto";
import { realpath } from "node:fs/promises";
import { resolve } from "node:path";
import type { Producer } from "@millrace/intake";
import { type Millrace, open } from "@millrace/runtime";
import { cliError } from "../errors.ts";
import { EXIT, exitCodeOf } from "../terminal/exit-codes.ts";
import { type HandlerOption, parseHandler } from "../terminal/handler-option.ts";
import { Reporter, type ReporterOptions } from "../terminal/reporter.ts";
import { signals } from "../terminal/signals.ts";
import { amount, grouped, round } from "../terminal/units.ts";
import { deadOf, type DeadSummary, NONE_DEAD } from "./dead.ts";
import { checkEncoding } from "./encoding.ts";
import { Feed, type Source } from "./feed.ts";
import { type Format, formatOf } from "./formats.ts";
import { openInput, statsOf } from "./input.ts";
import { MistakeLog } from "./mistakes.ts";
import { complaints, type IngestReport, type SourceReport, sumOf, textOf } from "./report.ts";
import type { BigNumbers } from "./splitter.ts";

export interface IngestOptions extends ReporterOptions {
  readonly handler: string;
  readonly dir: string;
  readonly format?: Format | undefined;
  readonly encoding?: string | undefined;
  readonly delimiter?: string | undefined;
  readonly bigNumbers: BigNumbers;
  readonly quoteMaxBytes: number;
  /** Default "skip" with `maxMalformed`, otherwise "fatal". */
  readonly onError?: "fatal" | "skip" | undefined;
  /** More malformed parts end the run. */
  readonly maxMalformed?: number | undefined;
  readonly source?: string | undefined;
  readonly processors?: number | undefined;
  readonly inFlight: number;
  readonly attempts: number;
  readonly retryForMs: number;
  readonly redrive?: boolean | undefined;
  readonly allowUnsafeStorage?: boolean | undefined;
}

/** How often the end of retries is looked for. */
const LOOK_MS = 20;
const PRODUCER_ID_BYTES_MAX = 255;

export async function ingest(files: readonly string[], options: IngestOptions): Promise<number> {
  const reporter = new Reporter(options);
  checkUsage(files, options);
  const handler = parseHandler(options.handler);
  const stop = signals.takeOver();
  for (const file of files) await statsOf(file);
  // The first one before the journal: what can't be read leaves no directory behind.
  const first = await openSource(files[0] as string, options, stop);
  if (stop.aborted) {
    reporter.interrupted(signals.received);
    return signals.exitCode ?? EXIT.interrupted;
  }
  const mill = await open({
    handlers: handler.module,
    journal: {
      directory: options.dir,
      allowUnsafeStorage: options.allowUnsafeStorage === true,
      // Somebody waits for the command: it tries a few times, and then says what failed.
      attemptsMax: options.attempts,
      retryForMs: options.retryForMs,
      failuresMax: 0,
    },
    ...(options.processors === undefined ? {} : { processors: options.processors }),
  });
  return await new IngestRun(mill, handler, options, reporter).toExitCode(first, files.slice(1));
}

/** Throws `ERR_CLI_USAGE`. */
function checkUsage(files: readonly string[], options: IngestOptions): void {
  const { source, onError, maxMalformed, encoding, delimiter } = options;
  if (source !== undefined && files.length > 1) {
    throw cliError("ERR_CLI_USAGE", "--source names one input, and several are given");
  }
  if (onError === "fatal" && maxMalformed !== undefined) {
    throw cliError("ERR_CLI_USAGE", "--max-malformed goes with --on-error skip");
  }
  if (encoding !== undefined) checkEncoding(encoding);
  if (delimiter !== undefined && (!/^[\t -~]$/.test(delimiter) || delimiter === '"')) {
    throw cliError("ERR_CLI_USAGE", `--delimiter must be one ASCII character, not ${JSON.stringify(delimiter)}`);
  }
}

async function openSource(path: string, options: IngestOptions, stop: AbortSignal): Promise<Source> {
  const input = await openInput(path, options.encoding, stop);
  const isTsv = options.delimiter === undefined && /\.tsv(\.\w+)?$/i.test(path);
  const format = options.format ?? formatOf(path, input.first);
  const name = options.source ?? (await sourceName(path));
  return { path, name, input, format, delimiter: isTsv ? "\t" : options.delimiter };
}

/** A file's identity is where it really lies. A pipe is known by the name that it was given. */
async function sourceName(path: string): Promise<string> {
  if (path === "-") return "stdin";
  return (await statsOf(path))?.isFile() === true ? await realpath(path) : resolve(path);
}

/** Another handler is another consumer of the same file. */
function producerId(handler: string, source: string): string {
  const id = `ingest ${handler} ${source}`;
  if (Buffer.byteLength(id) <= PRODUCER_ID_BYTES_MAX) return id;
  return `ingest sha256:${createHash("sha256").update(id).digest("hex")}`;
}

class IngestRun {
  readonly #mill: Millrace;
  readonly #handler: HandlerOption;
  readonly #options: IngestOptions;
  readonly #reporter: Reporter;
  readonly #mistakes: MistakeLog;
  readonly #feeds: Feed[] = [];
  readonly #startedAt = performance.now();
  readonly #startedAtMs = Date.now();
  readonly #stop: AbortSignal = signals.takeOver();
  #left = { waiting: 0, unhandled: 0 };
  #dead: DeadSummary = NONE_DEAD;
  #failure: unknown;

  constructor(mill: Millrace, handler: HandlerOption, options: IngestOptions, reporter: Reporter) {
    this.#mill = mill;
    this.#handler = handler;
    this.#options = options;
    this.#reporter = reporter;
    const isFatal =
      options.onError === "fatal" || (options.onError === undefined && options.maxMalformed === undefined);
    this.#mistakes = new MistakeLog(reporter, isFatal ? 0 : (options.maxMalformed ?? Infinity));
  }

  async toExitCode(first: Source, others: readonly string[]): Promise<number> {
    const listener = (): void => this.#reporter.message("stopping; once more to stop at once");
    this.#stop.addEventListener("abort", listener);
    if (this.#stop.aborted) listener();
    try {
      await this.#tried(() => this.#publishAll(first, others));
      return await this.#finish();
    } finally {
      this.#stop.removeEventListener("abort", listener);
    }
  }

  /** Keeps the first error of all; a signal that cuts something off is none. */
  async #tried(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (thrown) {
      if (!this.#stop.aborted) this.#failure ??= thrown;
    }
  }

  async #publishAll(first: Source, others: readonly string[]): Promise<void> {
    if (this.#options.redrive === true) await this.#mill.dead.redrive({ handler: this.#handler.name });
    await this.#publish(first);
    for (const file of others) {
      if (this.#stop.aborted) return;
      await this.#publish(await openSource(file, this.#options, this.#stop));
    }
  }

  async #publish(source: Source): Promise<void> {
    const { bigNumbers, quoteMaxBytes, inFlight } = this.#options;
    const feed = new Feed(source, await this.#producer(source), {
      bigNumbers,
      quoteBytesMax: quoteMaxBytes,
      delimiter: source.delimiter,
      inFlight,
      malformed: (from, mistake) => this.#mistakes.add(from, mistake),
      onProgress: () => this.#showProgress(),
    });
    this.#feeds.push(feed);
    await this.#tried(() => feed.run(this.#stop));
    // Also after a malformed part: what came before is stored.
    await feed.flush();
    if (this.#failure !== undefined) throw this.#failure;
  }

  #producer({ name }: Source): Promise<Producer> {
    return this.#mill.producer(this.#handler.name, producerId(this.#handler.name, name), {
      headers: { source: name },
      sequenceHeader: "line",
    });
  }

  /** Waits for what can be handled, closes, prints; returns the exit code. */
  async #finish(): Promise<number> {
    // Also after a malformed part: the accepted records are handled before the command ends.
    await this.#tried(() => this.#drain());
    await this.#tried(async () => {
      const names = new Set(this.#feeds.map(({ source }) => source.name));
      this.#dead = await deadOf(this.#mill, this.#handler.name, names, this.#startedAtMs);
    });
    const report = this.#report();
    await this.#tried(() => this.#mill.close());
    if (this.#failure !== undefined) {
      this.#reporter.error(this.#failure, report);
      // How far it came; the document has it already.
      if (!this.#reporter.isJson && this.#feeds.length > 0) this.#reporter.result(report, () => textOf(report));
      return exitCodeOf(this.#failure);
    }
    this.#reporter.result(report, () => textOf(report));
    if (signals.exitCode !== undefined) {
      this.#reporter.message("interrupted; run the same command again to continue");
      return signals.exitCode;
    }
    const wrong = complaints(report);
    for (const text of wrong) this.#reporter.message(text);
    return wrong.length === 0 ? EXIT.ok : EXIT.failure;
  }

  /** Until each record is done or dead, or waits for longer than retries last. */
  async #drain(): Promise<void> {
    const timer = setInterval(() => this.#showProgress(), 100);
    try {
      const signal = this.#stop;
      let left = await this.#mill.drain({ signal });
      const until = performance.now() + this.#options.retryForMs;
      while (left.waitingRetry > 0 && performance.now() < until) {
        await new Promise((next) => setTimeout(next, LOOK_MS));
        left = await this.#mill.drain({ signal });
      }
      this.#left = { waiting: left.waitingRetry, unhandled: left.scheduled + left.paused + left.unroutable };
    } finally {
      clearInterval(timer);
    }
  }

  #report(): IngestReport {
    const stats = this.#mill.stats().intake;
    const durationMs = performance.now() - this.#startedAt;
    const sources = this.#feeds.map(reportOf);
    const sum = sumOf(sources);
    const [only] = sources;
    return {
      ...(sources.length === 1 && only !== undefined ? { source: only.source, format: only.format } : {}),
      ...sum,
      handled: stats?.done ?? 0,
      retried: stats?.retried ?? 0,
      dead: this.#dead.dead,
      deadKept: this.#dead.deadKept,
      ...this.#left,
      recovered: stats?.recovered ?? 0,
      deadReasons: this.#dead.reasons,
      mistakes: this.#mistakes.summary(),
      interrupted: this.#stop.aborted,
      ...(signals.received === undefined ? {} : { signal: signals.received }),
      durationMs: round(durationMs, 1),
      recordsPerSecond: Math.round(sum.acknowledged / (durationMs / 1000)),
      sources,
    };
  }

  #showProgress(): void {
    this.#reporter.progress(() => {
      const { records, malformed } = sumOf(this.#feeds.map(({ counts }) => counts));
      const { input } = this.#feeds.at(-1)?.source ?? {};
      const { totalBytes = 0 } = input ?? {};
      const share =
        input === undefined || totalBytes === 0 ? "" : ` (${Math.floor((input.readBytes() * 100) / totalBytes)} %)`;
      const skipped = malformed === 0 ? "" : `, ${grouped(malformed)} malformed`;
      return `${amount(records, "record")}${share}, ${grouped(this.#mill.stats().intake?.done ?? 0)} handled${skipped}`;
    });
  }
}

function reportOf({ source, counts, notes }: Feed): SourceReport {
  const { name, format, input } = source;
  const compression = input.compression === undefined ? {} : { compression: input.compression };
  return { source: name, format, encoding: input.encoding, ...compression, ...notes, ...counts };
}
