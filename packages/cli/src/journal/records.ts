/** `millrace journal tail` and `export`: print the records of a journal as lines of JSON. */
import { isMillraceError } from "@millrace/base";
import { handlerName, publisherHeaders, type Redactor, stateFields, storedRedactor, toPlain } from "@millrace/intake";
import { type JournalRecord, RECORD_TYPE, type Storage } from "@millrace/journal";
import { LogReader, readMarks, recordAt, RecordCursor, scanLog, surveyInSteps } from "@millrace/journal/kernel";
import { decode } from "@millrace/codec";
import { EXIT } from "../terminal/exit-codes.ts";
import { drained, isOutputClosed, leaveUnread, OutputReaders } from "../terminal/closed-pipes.ts";
import { NewFile } from "../terminal/new-file.ts";
import { errorDocument, Reporter } from "../terminal/reporter.ts";
import { signals } from "../terminal/signals.ts";
import { amount } from "../terminal/units.ts";
import { type JournalCommandOptions, JournalPlace } from "./place.ts";
import { typeName } from "./record-types.ts";

export interface TailOptions extends JournalCommandOptions {
  readonly lines: number;
  readonly follow?: boolean;
}

export interface ExportOptions extends JournalCommandOptions {
  readonly from?: number;
  readonly to?: number;
  readonly output?: string;
  readonly salvage?: boolean;
}

/** Pause between two looks at a journal that another process writes. */
const LOOK_MS = 200;

/**
 * A record as an object for a line of JSON: values where they can be decoded, otherwise text or
 * base64.
 */
function lineOf(record: JournalRecord, redactor: Redactor): object {
  const { sequence, origin, type, priority, timeMs, key } = record;
  return {
    sequence,
    ...(origin === sequence ? {} : { origin }),
    type: typeName(type) ?? type,
    time: new Date(timeMs).toISOString(),
    ...(priority === 0 ? {} : { priority }),
    ...(key.length === 0 ? {} : { key: textOr64(key) }),
    ...(stateOf(record) ?? { ...headersOf(record, redactor), ...payloadOf(record, redactor) }),
  };
}

/** The content of an intake's state record; undefined for any other record. */
function stateOf(record: JournalRecord): object | undefined {
  try {
    return stateFields(record);
  } catch {
    // Not an intake's record.
    return undefined;
  }
}

function headersOf(record: JournalRecord, redactor: Redactor): object {
  if (record.header.length === 0) return {};
  if (record.type === RECORD_TYPE.data) {
    try {
      const headers = publisherHeaders(record.header);
      const handler = handlerName(record.header);
      return { handler, ...(headers === undefined ? {} : { headers: redactor.redacted(handler, headers) }) };
    } catch {
      // Not an intake's record.
    }
  }
  return { headers: Buffer.isBuffer(record.headers) ? textOr64(record.headers) : toPlain(record.headers) };
}

function payloadOf(record: JournalRecord, redactor: Redactor): object {
  const { value, payload } = record;
  if (value !== payload) return { value: toPlain(value) };
  if (record.type === RECORD_TYPE.data && (record.header[0] === 1 || record.header[0] === 2)) {
    try {
      return { value: redactor.redacted(handlerName(record.header), decode(payload)) };
    } catch {
      // Not an intake's record.
    }
  }
  return payload.length === 0 ? {} : { payload: textOr64(payload) };
}

/** The bytes as text if they are UTF-8, otherwise as `{ base64 }`. */
function textOr64(bytes: Buffer): string | { readonly base64: string } {
  const text = bytes.toString("utf8");
  // eslint-disable-next-line no-control-regex
  return Buffer.from(text).equals(bytes) && !/[\x00-\x08]/.test(text) ? text : { base64: bytes.toString("base64") };
}

/**
 * Reads from a place to the end of a log that may be growing, and whose front may be given up
 * meanwhile.
 */
class Following {
  readonly #reader: LogReader;
  readonly #cursor = new RecordCursor();
  readonly #givenUp: (first: number, last: number) => void;
  #next: number;
  #isPlaced = false;

  /**
   * `givenUp` is called for records that were there, and were given up before they could be read.
   */
  constructor(storage: Storage, from: number, givenUp: (first: number, last: number) => void) {
    this.#reader = new LogReader(storage);
    this.#next = from;
    this.#givenUp = givenUp;
  }

  /** The records up to `durable` that weren't returned before. */
  *read(durable: number): Generator<JournalRecord, void> {
    while (this.#toNextBatch(durable)) {
      const first = this.#reader.batch.firstSequence;
      if (first > this.#next) this.#givenUp(this.#next, first - 1);
      this.#cursor.reset(this.#reader.body, first);
      while (this.#cursor.next()) {
        if (this.#cursor.sequence < this.#next) continue;
        this.#next = this.#cursor.sequence + 1;
        yield recordAt(this.#cursor);
      }
    }
  }

  close(): void {
    this.#reader.close();
  }

  /** Where the segment at hand was given up, the reading continues with the first that is there. */
  #toNextBatch(durable: number): boolean {
    // Ends: each further turn means that one more segment was given up.
    for (;;) {
      try {
        if (!this.#isPlaced) this.#reader.seek(this.#next);
        this.#isPlaced = this.#reader.isPlaced;
        return this.#reader.next(durable);
      } catch (thrown) {
        if (!isMillraceError(thrown, "ERR_JOURNAL_TRUNCATED")) throw thrown;
        this.#isPlaced = false;
      }
    }
  }
}

/** Records looked at before other events, such as a closed pipe, get their turn. */
const RECORDS_PER_TURN = 256;
/** Likewise; a batch may hold many records. */
const BATCHES_PER_TURN = 8;

/**
 * Prints the last records; with `follow` also those that become durable later, until interrupted.
 */
export async function tail(options: TailOptions): Promise<number> {
  const printer = new RecordPrinter(new Reporter(options), undefined, storedRedactor(options.dir));
  const place = new JournalPlace(options.dir);
  try {
    const { segments } = scanLog(place.storage, { everything: false });
    const last = segments.at(-1)?.end.lastSequence ?? 0;
    const first = Math.max(segments[0]?.header.baseSequence ?? 1, last - options.lines + 1);
    await printTail(place, printer, first, last, options.follow === true);
    printer.end({ lastSequence: last });
  } catch (thrown) {
    const error = place.errorOf(thrown);
    printer.failed(error);
    throw error;
  } finally {
    place.close();
  }
  if (signals.received !== undefined) leaveUnread();
  // An end by signal is how a following ends.
  return options.follow === true ? EXIT.ok : (signals.exitCode ?? EXIT.ok);
}

async function printTail(
  place: JournalPlace,
  printer: RecordPrinter,
  first: number,
  last: number,
  follows: boolean,
): Promise<void> {
  const { storage } = place;
  const following = new Following(storage, first, (from, to) => printer.givenUp(from, to));
  const stop = signals.takeOver();
  const readers = follows ? new OutputReaders() : undefined;
  try {
    await printer.printAll(following.read(last), stop);
    while (readers !== undefined && !stop.aborted && !readers.areGone()) {
      await pause(LOOK_MS, stop);
      place.mustBeThere();
      // Another process's records count as durable once its `marks` say so.
      await printer.printAll(following.read(readMarks(storage)?.durableSequence ?? 0), stop);
    }
  } finally {
    following.close();
  }
}

/** Waits, but not after `stop` has aborted. */
function pause(ms: number, stop: AbortSignal): Promise<void> {
  return new Promise<void>((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      stop.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    stop.addEventListener("abort", end);
  });
}

/** Prints records as lines of JSON, or with --json as one document. */
class RecordPrinter {
  readonly #reporter: Reporter;
  readonly #file: NewFile | undefined;
  readonly #redactor: Redactor;
  readonly #isDocument: boolean;
  readonly #givenUp: { readonly firstSequence: number; readonly lastSequence: number }[] = [];
  #isBegun = false;
  records = 0;

  /** A file gets lines in any case: the document on stdout then only counts them. */
  constructor(reporter: Reporter, file: NewFile | undefined, redactor: Redactor) {
    this.#reporter = reporter;
    this.#redactor = redactor;
    this.#file = file;
    this.#isDocument = reporter.isJson && file === undefined;
  }

  /** Until the records or the output end, or `stop` aborts. */
  async printAll(records: Iterable<JournalRecord>, stop: AbortSignal): Promise<void> {
    for (const record of records) {
      if (stop.aborted || this.isClosed) return;
      this.print(record);
      if (this.records % RECORDS_PER_TURN === 0 || this.isFull) await this.turn(stop);
    }
  }

  /** Until stdout takes more, and other events have had their turn. */
  async turn(stop: AbortSignal): Promise<void> {
    if (this.isFull) await drained(process.stdout, stop);
    else await new Promise((resolve) => setImmediate(resolve));
  }

  /** Whether more to print would gather in memory. */
  get isFull(): boolean {
    return this.#file === undefined && process.stdout.writableNeedDrain;
  }

  get isClosed(): boolean {
    return this.#file === undefined && isOutputClosed();
  }

  print(record: JournalRecord): void {
    const line = JSON.stringify(lineOf(record, this.#redactor));
    if (!this.#isDocument) this.#write(`${line}\n`);
    else {
      this.#begin();
      this.#write(`${this.records === 0 ? "" : ","}\n    ${line}`);
    }
    this.records += 1;
  }

  #write(text: string): void {
    if (this.#file === undefined) process.stdout.write(text);
    else this.#file.write(text);
  }

  /** The journal's owner has given these up before they could be read. */
  givenUp(firstSequence: number, lastSequence: number): void {
    this.#givenUp.push({ firstSequence, lastSequence });
    this.#reporter.message(`records ${firstSequence}-${lastSequence} were given up before they could be read`);
  }

  /** Prints the rest of the document, if there is one. */
  end(rest: object): void {
    if (this.#isDocument) {
      this.#begin();
      const fields = Object.entries({ givenUp: this.#givenUp, ...rest })
        .filter(([, value]) => value !== undefined)
        .map(([name, value]) => `,\n  ${JSON.stringify(name)}: ${JSON.stringify(value)}`);
      this.#write(`\n  ]${fields.join("")}\n}\n`);
    } else if (this.#reporter.isJson)
      this.#reporter.result({ records: this.records, givenUp: this.#givenUp, ...rest }, () => "");
  }

  /** Ends a document that was begun; the error of one that wasn't has a document of its own. */
  failed(thrown: unknown): void {
    if (this.#isBegun) this.end({ error: errorDocument(thrown) });
  }

  #begin(): void {
    if (this.#isBegun) return;
    this.#isBegun = true;
    this.#reporter.beginDocument();
    this.#write('{\n  "records": [');
  }
}

/**
 * Writes records as lines of JSON to a file or stdout; `salvage` takes the readable parts of a
 * damaged journal.
 */
export async function exportRecords(options: ExportOptions): Promise<number> {
  const reporter = new Reporter(options);
  const place = new JournalPlace(options.dir);
  const { storage } = place;
  const redactor = storedRedactor(options.dir);
  const file = options.output === undefined ? undefined : new NewFile(options.output);
  const printer = new RecordPrinter(reporter, file, redactor);
  const stop = signals.takeOver();
  const { from = 1, to = Number.MAX_SAFE_INTEGER } = options;
  let missing: readonly MissingRecords[] = [];
  try {
    if (options.salvage === true) missing = await salvage(place, from, to, printer, stop);
    else await exportSound(storage, from, to, printer, stop);
    if (!stop.aborted) file?.finish();
  } catch (thrown) {
    const error = place.errorOf(thrown);
    printer.failed(error);
    throw error;
  } finally {
    file?.close();
    place.close();
  }
  if (file !== undefined && stop.aborted) reporter.message(`stopped: ${options.output} isn't complete, and is removed`);
  printer.end({ output: stop.aborted ? undefined : options.output, missing: stop.aborted ? undefined : missing });
  for (const { file: name, offset, firstSequence, lastSequence } of missing) {
    reporter.message(`missing: records ${firstSequence} to ${lastSequence} (${name} at offset ${offset})`);
  }
  reporter.message(amount(printer.records, "record"));
  if (stop.aborted) leaveUnread();
  return signals.exitCode ?? (missing.length === 0 ? EXIT.ok : EXIT.dataLost);
}

interface MissingRecords {
  readonly firstSequence: number;
  readonly lastSequence: number;
  readonly file: string;
  readonly offset: number;
}

/** What is missing; nothing, where `stop` or the end of the output has cut it off. */
async function salvage(
  place: JournalPlace,
  from: number,
  to: number,
  printer: RecordPrinter,
  stop: AbortSignal,
): Promise<readonly MissingRecords[]> {
  const cursor = new RecordCursor();
  const steps = surveyInSteps(place.storage, (_, batch, body) => {
    cursor.reset(body, batch.firstSequence);
    while (cursor.next()) if (cursor.sequence >= from && cursor.sequence <= to) printer.print(recordAt(cursor));
  });
  try {
    for (let turn = 1; !stop.aborted && !printer.isClosed; turn += 1) {
      const step = steps.next();
      if (step.done === true) {
        // What was removed is read as missing.
        if (step.value.gaps.length > 0) place.mustBeThere();
        return step.value.gaps.map(missingOf);
      }
      if (turn % BATCHES_PER_TURN === 0 || printer.isFull) await printer.turn(stop);
    }
    return [];
  } finally {
    steps.return(undefined as never);
  }
}

function missingOf({ firstSequence, lastSequence, file, offset }: MissingRecords): MissingRecords {
  return { firstSequence, lastSequence, file, offset };
}

/** Throws for a damaged journal before anything is written. */
async function exportSound(
  storage: Storage,
  from: number,
  to: number,
  printer: RecordPrinter,
  stop: AbortSignal,
): Promise<void> {
  const { segments } = scanLog(storage);
  const last = Math.min(segments.at(-1)?.end.lastSequence ?? 0, to);
  const first = Math.max(segments[0]?.header.baseSequence ?? 1, from);
  const following = new Following(storage, first, (begin, end) => printer.givenUp(begin, end));
  try {
    await printer.printAll(upTo(last, following.read(last)), stop);
  } finally {
    following.close();
  }
}

/** The last batch may hold more records than were asked for. */
function* upTo(last: number, records: Iterable<JournalRecord>): Generator<JournalRecord, void> {
  for (const record of records) if (record.sequence <= last) yield record;
}
