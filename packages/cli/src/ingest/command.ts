/**
 * `millrace ingest`: publishes each record of a file once, and has it handled at least once, also
 * across crashes.
 *
 * Each record is stored with its source, its line and the CRC of its value. A run first reads from
 * the journal which lines are stored, and publishes the others; so the same command, run again
 * after a crash, continues where it stopped.
 */
import { realpathSync } from "node:fs";
import { resolve } from "node:path";
import { crc32 } from "@millrace/codec";
import { Histogram } from "@millrace/metrics";
import { isMillraceError } from "@millrace/base";
import type { Acknowledgement } from "@millrace/intake";
import { type Millrace, open } from "@millrace/runtime";
import { cliError } from "../errors.ts";
import { EXIT, exitCodeOf } from "../terminal/exit-codes.ts";
import { type HandlerOption, parseHandler } from "../terminal/handler-option.ts";
import { Reporter, type ReporterOptions } from "../terminal/reporter.ts";
import { signals } from "../terminal/signals.ts";
import { duration, grouped, round, table } from "../terminal/units.ts";
import { type DeadReason, readDeadReasons } from "./dead-reasons.ts";
import { type Format, openSource, type SourceInput, type SourceItem } from "./sources.ts";
import { readStoredLines, type StoredLines } from "./stored-lines.ts";

export interface IngestOptions extends ReporterOptions {
  readonly handler: string;
  readonly dir: string;
  readonly format?: Format | undefined;
  readonly onError: "fatal" | "skip";
  /** With `skip`: more malformed lines end the run. */
  readonly maxMalformed?: number | undefined;
  readonly source?: string | undefined;
  readonly processors?: number | undefined;
  readonly inFlight: number;
  readonly attempts?: number | undefined;
  readonly redrive?: boolean | undefined;
  readonly allowUnsafeStorage?: boolean | undefined;
}

/** Malformed lines that are printed; further ones are only counted. */
const PROBLEMS_SHOWN_MAX = 20;

/** The figures of a run. */
interface Counts {
  /** Well-formed records in the input, and lines that are not. */
  records: number;
  malformed: number;
  /** Of the records: stored by an earlier run, published by this one, acknowledged. */
  alreadyStored: number;
  published: number;
  acknowledged: number;
}

export async function ingest(file: string, options: IngestOptions): Promise<number> {
  const reporter = new Reporter(options);
  const handler = parseHandler(options.handler);
  const source = options.source ?? sourceName(file);
  const stop = signals.takeOver();
  const input = await openSource(file, options.format, stop);
  if (stop.aborted) {
    reporter.interrupted(signals.received);
    return signals.exitCode ?? EXIT.interrupted;
  }
  const mill = await open({
    handlers: handler.module,
    // The stored records name the lines that must not be published again.
    journal: {
      directory: options.dir,
      retain: "all",
      allowUnsafeStorage: options.allowUnsafeStorage === true,
      // Somebody waits for the command: it tries a few times, and then says what failed.
      attemptsMax: options.attempts ?? ATTEMPTS,
      failuresMax: 0,
    },
    ...(options.processors === undefined ? {} : { processors: options.processors }),
  });
  const run = new IngestRun(mill, handler, source, input, options, reporter);
  return run.toExitCode();
}

/** Attempts of a record, where the command line doesn't say. */
const ATTEMPTS = 5;

/** A file's identity: where it really lies. Stdin is one source unless it is named. */
function sourceName(file: string): string {
  if (file === "-") return "stdin";
  try {
    return realpathSync(file);
  } catch {
    // Opening the file reports the reason.
    return resolve(file);
  }
}

class IngestRun {
  readonly #mill: Millrace;
  readonly #handler: HandlerOption;
  readonly #source: string;
  readonly #input: SourceInput;
  readonly #options: IngestOptions;
  readonly #reporter: Reporter;
  readonly #counts: Counts = { records: 0, malformed: 0, alreadyStored: 0, published: 0, acknowledged: 0 };
  readonly #ackMicroseconds = new Histogram();
  readonly #startedAt = performance.now();
  readonly #stop: AbortSignal = signals.takeOver();
  #inFlight = 0;
  /** Records that wait for a handler that isn't there, or is paused. */
  #unhandled = 0;
  #failure: unknown;
  #whenRoom: (() => void) | undefined;

  constructor(
    mill: Millrace,
    handler: HandlerOption,
    source: string,
    input: SourceInput,
    options: IngestOptions,
    reporter: Reporter,
  ) {
    this.#mill = mill;
    this.#handler = handler;
    this.#source = source;
    this.#input = input;
    this.#options = options;
    this.#reporter = reporter;
  }

  async toExitCode(): Promise<number> {
    const listener = (): void => {
      this.#reporter.message("stopping; once more to stop at once");
      this.#whenRoom?.();
    };
    this.#stop.addEventListener("abort", listener);
    if (this.#stop.aborted) listener();
    try {
      try {
        const publish = this.#mill.publish[this.#handler.name] as (
          record: unknown,
          options: object,
        ) => Promise<Acknowledgement>;
        if (this.#options.redrive === true) await this.#mill.dead.redrive({ limit: 2 ** 31 });
        const lastSequence = this.#mill.stats().intake?.journal.recovery.lastSequence ?? 0;
        await this.#publishAll(publish, readStoredLines(this.#options.dir, lastSequence, this.#source));
      } catch (thrown) {
        // A signal cuts the input off anywhere: an array that isn't closed then is no mistake.
        if (!this.#stop.aborted) this.#failure ??= thrown;
      }
      return await this.#finish();
    } finally {
      this.#stop.removeEventListener("abort", listener);
    }
  }

  async #publishAll(
    publish: (record: unknown, options: object) => Promise<Acknowledgement>,
    stored: StoredLines,
  ): Promise<void> {
    for await (const items of this.#input.batches) {
      for (const item of items) {
        if (this.#stop.aborted || this.#failure !== undefined) return;
        if ("problem" in item) this.#malformed(item.number, item.problem);
        else {
          this.#publishOne(publish, stored, item);
          if (this.#inFlight >= this.#options.inFlight) await new Promise<void>((room) => (this.#whenRoom = room));
        }
      }
      this.#showProgress();
    }
  }

  #publishOne(
    publish: (record: unknown, options: object) => Promise<Acknowledgement>,
    stored: StoredLines,
    item: Extract<SourceItem, { value: unknown }>,
  ): void {
    this.#counts.records += 1;
    // The CRC of the text, which is the same in every version: the encoding of values may change.
    const crc = crc32(Buffer.from(JSON.stringify(item.value)));
    if (stored.has(item.number)) {
      if (stored.crc(item.number) !== crc) throw this.#changed(item.number);
      this.#counts.alreadyStored += 1;
      return;
    }
    this.#counts.published += 1;
    this.#inFlight += 1;
    const sentAt = performance.now();
    publish(item.value, { headers: { source: this.#source, line: item.number, crc } }).then(
      () => {
        this.#counts.acknowledged += 1;
        this.#ackMicroseconds.record((performance.now() - sentAt) * 1000);
        this.#oneLess();
      },
      (error: unknown) => {
        this.#refused(item.number, error);
        this.#oneLess();
      },
    );
  }

  /**
   * A record wasn't stored. If it is too large, its line counts as malformed; any other error ends
   * the run.
   */
  #refused(line: number, error: unknown): void {
    if (!isMillraceError(error, "ERR_JOURNAL_RECORD_TOO_LARGE")) {
      this.#failure ??= error;
      return;
    }
    this.#counts.records -= 1;
    this.#counts.published -= 1;
    try {
      this.#malformed(line, error.message);
    } catch (thrown) {
      this.#failure ??= thrown;
    }
  }

  #oneLess(): void {
    this.#inFlight -= 1;
    if (this.#whenRoom === undefined || this.#inFlight > this.#options.inFlight / 2) return;
    const room = this.#whenRoom;
    this.#whenRoom = undefined;
    room();
  }

  #malformed(line: number, problem: string): void {
    this.#counts.malformed += 1;
    const text = `line ${line}: ${problem}`;
    const { onError, maxMalformed = Number.POSITIVE_INFINITY } = this.#options;
    if (onError === "fatal" || this.#counts.malformed > maxMalformed)
      throw cliError("ERR_INGEST_MALFORMED", text, { details: { line, problem } });
    if (this.#counts.malformed <= PROBLEMS_SHOWN_MAX) this.#reporter.message(`skipped ${text}`);
    if (this.#counts.malformed === PROBLEMS_SHOWN_MAX) this.#reporter.message("further ones are only counted");
  }

  #changed(line: number): Error {
    return cliError(
      "ERR_INGEST_CHANGED",
      `line ${line} differs from what is stored as line ${line} of ${this.#source}`,
      {
        details: { source: this.#source, line },
      },
    );
  }

  /** Waits for the records under way, closes, prints; returns the exit code. */
  async #finish(): Promise<number> {
    while (this.#inFlight > 0) {
      this.#showProgress();
      await new Promise((next) => setTimeout(next, 5));
    }
    try {
      // Also after a malformed line: the accepted records are handled before the command ends.
      if (!this.#stop.aborted) await this.#drain();
      await this.#mill.close();
    } catch (thrown) {
      this.#failure ??= thrown;
    }
    const document = this.#document();
    if (this.#failure !== undefined) {
      this.#reporter.error(this.#failure, document);
      return exitCodeOf(this.#failure);
    }
    this.#reporter.result(document, () => this.#text(document));
    if (signals.exitCode !== undefined) {
      this.#reporter.message("interrupted; run the same command again to continue");
      return signals.exitCode;
    }
    if (document.unhandled > 0) {
      this.#reporter.message(
        `${grouped(document.unhandled)} records wait: the module has no handler for them, or it is paused`,
      );
      return EXIT.failure;
    }
    if (document.deadKept > 0) {
      const earlier = document.deadKept - document.dead;
      this.#reporter.message(
        `${grouped(document.deadKept)} records are dead${earlier > 0 ? `, ${grouped(earlier)} of them since an earlier run` : ""}; --redrive tries them again`,
      );
      for (const { error, count, lines } of document.deadReasons)
        this.#reporter.message(
          `  ${grouped(count)} × ${error} (lines ${lines.join(", ")}${count > lines.length ? ", …" : ""})`,
        );
      return EXIT.failure;
    }
    if (document.malformed > 0 && document.records === 0) {
      this.#reporter.message("no line could be read: is it the right format?");
      return EXIT.failure;
    }
    return EXIT.ok;
  }

  async #drain(): Promise<void> {
    const timer = setInterval(() => this.#showProgress(), 100);
    try {
      // Ends: each record is done or dead after its attempts, or waits for a handler that isn't
      // there.
      let left = await this.#mill.drain({ signal: this.#stop });
      while (left.waitingRetry > 0) {
        await new Promise((next) => setTimeout(next, 20));
        left = await this.#mill.drain({ signal: this.#stop });
      }
      this.#unhandled = left.held + left.unroutable;
    } catch (thrown) {
      if (!this.#stop.aborted) throw thrown;
    } finally {
      clearInterval(timer);
    }
  }

  #document(): IngestDocument {
    const stats = this.#mill.stats().intake;
    const durationMs = performance.now() - this.#startedAt;
    const ack = this.#ackMicroseconds.summary();
    return {
      source: this.#source,
      format: this.#input.format,
      ...this.#counts,
      handled: stats?.done ?? 0,
      retried: stats?.retried ?? 0,
      dead: stats?.dead ?? 0,
      deadKept: stats?.deadKept ?? 0,
      unhandled: this.#unhandled,
      recovered: stats?.recovered ?? 0,
      deadReasons: this.#deadReasons(stats?.dead ?? 0),
      interrupted: this.#stop.aborted,
      durationMs: round(durationMs, 1),
      recordsPerSecond: Math.round(this.#counts.acknowledged / (durationMs / 1000)),
      ackMs:
        ack.count === 0 ? null : { p50: round(ack.p50 / 1000), p99: round(ack.p99 / 1000), max: round(ack.max / 1000) },
    };
  }

  #text(document: IngestDocument): string {
    return table([
      ["source", `${document.source} (${document.format})`],
      ["records", grouped(document.records)],
      ["malformed", grouped(document.malformed)],
      ["already stored", grouped(document.alreadyStored)],
      ["published", grouped(document.published)],
      ["acknowledged", grouped(document.acknowledged)],
      ["handled", grouped(document.handled)],
      ["dead", grouped(document.deadKept)],
      ["waiting for a handler", grouped(document.unhandled)],
      ["records per second", grouped(document.recordsPerSecond)],
      [
        "ack latency",
        document.ackMs === null
          ? "none"
          : `p50 ${duration(document.ackMs.p50)}, p99 ${duration(document.ackMs.p99)}, max ${duration(document.ackMs.max)}`,
      ],
      ["duration", duration(document.durationMs)],
    ]);
  }

  #showProgress(): void {
    this.#reporter.progress(() => {
      const { records, malformed } = this.#counts;
      const { totalBytes } = this.#input;
      const part =
        totalBytes === undefined ? "" : ` ${Math.floor((this.#input.readBytes() / Math.max(totalBytes, 1)) * 100)} %`;
      const stats = this.#mill.stats().intake;
      const skipped = malformed === 0 ? "" : `, ${grouped(malformed)} malformed`;
      return `${grouped(records)} records${part}, ${grouped(this.#counts.acknowledged)} stored, ${grouped(stats?.done ?? 0)} handled${skipped}`;
    });
  }

  /** Why records have died during this run, out of the journal; the most frequent reasons first. */
  #deadReasons(dead: number): readonly DeadReason[] {
    if (dead === 0) return [];
    const recovered = this.#mill.stats().intake?.journal.recovery.lastSequence ?? 0;
    return readDeadReasons(this.#options.dir, recovered + 1);
  }
}

interface IngestDocument extends Counts {
  readonly source: string;
  readonly format: Format;
  /** Records that this run has handled, with those that an earlier run had left. */
  readonly handled: number;
  readonly retried: number;
  readonly dead: number;
  /** All dead records in the journal. */
  readonly deadKept: number;
  /** Records that wait for a handler that isn't there, or is paused. */
  readonly unhandled: number;
  readonly recovered: number;
  /** The commonest errors of the records that died during this run. */
  readonly deadReasons: readonly DeadReason[];
  readonly interrupted: boolean;
  readonly durationMs: number;
  readonly recordsPerSecond: number;
  /** Null when nothing was acknowledged. */
  readonly ackMs: { readonly p50: number; readonly p99: number; readonly max: number } | null;
}
