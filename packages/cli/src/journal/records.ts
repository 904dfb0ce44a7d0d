/** `millrace journal tail` and `export`: print the records of a journal as lines of JSON. */
import { createWriteStream } from "node:fs";
import { once } from "node:events";
import { isMillraceError } from "@millrace/base";
import { handlerName, publisherHeaders } from "@millrace/intake";
import { type JournalRecord, RECORD_TYPE, type Storage } from "@millrace/journal";
import { LogReader, readMarks, recordAt, RecordCursor, scanLog, surveyLog } from "@millrace/journal/kernel";
import { decode } from "@millrace/codec";
import { EXIT } from "../terminal/exit-codes.ts";
import { Reporter } from "../terminal/reporter.ts";
import { grouped } from "../terminal/units.ts";
import { type JournalCommandOptions, storageOf } from "./place.ts";
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
export function lineOf(record: JournalRecord): object {
  const { sequence, origin, type, priority, timeMs, key } = record;
  return {
    sequence,
    ...(origin === sequence ? {} : { origin }),
    type: typeName(type) ?? type,
    time: new Date(timeMs).toISOString(),
    ...(priority === 0 ? {} : { priority }),
    ...(key.length === 0 ? {} : { key: textOr64(key) }),
    ...headersOf(record),
    ...payloadOf(record),
  };
}

function headersOf(record: JournalRecord): object {
  if (record.header.length === 0) return {};
  if (record.type === RECORD_TYPE.data) {
    try {
      const headers = publisherHeaders(record.header);
      return { handler: handlerName(record.header), ...(headers === undefined ? {} : { headers }) };
    } catch {
      // Not an intake's record.
    }
  }
  return { headers: Buffer.isBuffer(record.headers) ? textOr64(record.headers) : record.headers };
}

function payloadOf(record: JournalRecord): object {
  const { value, payload } = record;
  if (value !== payload) return { value };
  if (record.type === RECORD_TYPE.data && record.header[0] === 1) {
    try {
      return { value: decode(payload) };
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

/** Reads from a place to the end of a log that may be growing, and whose front may be given up meanwhile. */
class Following {
  readonly #reader: LogReader;
  readonly #cursor = new RecordCursor();
  readonly #givenUp: (first: number, last: number) => void;
  #next: number;
  #isPlaced = false;

  /** `givenUp` is called for records that were there, and were given up before they could be read. */
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

/** Prints the last records; with `follow` also those that become durable later, until interrupted. */
export async function tail(options: TailOptions): Promise<number> {
  const reporter = new Reporter(options);
  const storage = storageOf(options.dir);
  const { segments } = scanLog(storage, { everything: false });
  const last = segments.at(-1)?.end.lastSequence ?? 0;
  const first = segments[0]?.header.baseSequence ?? 1;
  const following = new Following(storage, Math.max(first, last - options.lines + 1), tellGivenUp(reporter));
  for (const record of following.read(last)) print(record);
  if (options.follow !== true) return EXIT.ok;
  const stop = new AbortController();
  process.once("SIGINT", () => stop.abort());
  process.once("SIGTERM", () => stop.abort());
  while (!stop.signal.aborted) {
    // Another process's records count as durable once its `marks` say so.
    for (const record of following.read(readMarks(storage)?.durableSequence ?? 0)) print(record);
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, LOOK_MS);
      stop.signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
    });
  }
  following.close();
  return EXIT.ok;
}

function tellGivenUp(reporter: Reporter): (first: number, last: number) => void {
  return (first, last) =>
    reporter.message(`records ${first}-${last} were given up by the journal's owner before they could be read`);
}

function print(record: JournalRecord): void {
  process.stdout.write(`${JSON.stringify(lineOf(record))}\n`);
}

/**
 * Writes records as lines of JSON to a file or stdout; `salvage` takes whatever is readable of a
 * damaged journal.
 */
export async function exportRecords(options: ExportOptions): Promise<number> {
  const reporter = new Reporter(options);
  const storage = storageOf(options.dir);
  const out = options.output === undefined ? process.stdout : createWriteStream(options.output, { flags: "wx" });
  if (out !== process.stdout) await once(out, "open");
  const { from = 1, to = Number.MAX_SAFE_INTEGER } = options;
  let records = 0;
  const take = (record: JournalRecord): void => {
    if (record.sequence < from || record.sequence > to) return;
    out.write(`${JSON.stringify(lineOf(record))}\n`);
    records += 1;
  };
  let gaps: readonly { firstSequence: number; lastSequence: number; file: string; offset: number }[] = [];
  if (options.salvage === true) {
    const cursor = new RecordCursor();
    ({ gaps } = surveyLog(storage, (_, batch, body) => {
      cursor.reset(body, batch.firstSequence);
      while (cursor.next()) take(recordAt(cursor));
    }));
  } else {
    // A damaged journal fails here, before anything is written.
    const { segments } = scanLog(storage);
    const last = Math.min(segments.at(-1)?.end.lastSequence ?? 0, to);
    const first = Math.max(segments[0]?.header.baseSequence ?? 1, from);
    const following = new Following(storage, first, tellGivenUp(reporter));
    for (const record of following.read(last)) {
      take(record);
      if (out.writableNeedDrain) await once(out, "drain");
    }
    following.close();
  }
  if (out !== process.stdout) {
    out.end();
    await once(out, "finish");
  }
  for (const { file, offset, firstSequence, lastSequence } of gaps) {
    reporter.message(`missing: records ${firstSequence} to ${lastSequence} (${file} at offset ${offset})`);
  }
  reporter.message(`${grouped(records)} records`);
  return gaps.length === 0 ? EXIT.ok : EXIT.dataLost;
}
