/**
 * Reads records out of a file or stdin. Each has a number, counted from 1: its line in NDJSON and
 * CSV, its place in a JSON array.
 */
import { createReadStream, statSync } from "node:fs";
import type { Readable } from "node:stream";
import { parse as parseCsv } from "csv-parse";
import { gen, none } from "stream-chain/core";
import { parser } from "stream-json/core/parser.js";
import { streamArray } from "stream-json/core/streamers/stream-array.js";
import { isMillraceError, messageOf } from "@millrace/base";
import { cliError } from "../errors.ts";

export const FORMATS = ["ndjson", "json", "csv"] as const;
export type Format = (typeof FORMATS)[number];

/** A record, or why there is none. */
export type SourceItem =
  | { readonly number: number; readonly value: unknown }
  | { readonly number: number; readonly problem: string };

export interface SourceInput {
  readonly format: Format;
  /** Batches of items, in order. */
  readonly batches: AsyncIterable<SourceItem[]>;
  /** Bytes read so far, and in all; undefined for stdin. */
  readonly readBytes: () => number;
  readonly totalBytes: number | undefined;
}

/**
 * Longest line: far above the largest record; bounds the memory that a file without line ends can
 * take.
 */
const LINE_BYTES_MAX: number = 64 * 2 ** 20;
/** Items in one batch. */
const BATCH_ITEMS = 512;

/** Opens `path`, "-" for stdin; the input ends when `stop` aborts. Throws `ERR_INGEST_INPUT`. */
export async function openSource(path: string, format: Format | undefined, stop: AbortSignal): Promise<SourceInput> {
  const totalBytes = path === "-" ? undefined : sizeOf(path);
  const stream: Readable = path === "-" ? process.stdin : createReadStream(path, { highWaterMark: 256 * 1024 });
  let readBytes = 0;
  const chunks = withErrors(stream, path, stop)[Symbol.asyncIterator]();
  const first = await chunks.next();
  const known = format ?? formatOf(path, first.done === true ? undefined : first.value);
  async function* all(): AsyncGenerator<Buffer> {
    for (let next = first; next.done !== true; next = await chunks.next()) {
      readBytes += next.value.length;
      yield next.value;
    }
  }
  const read = { ndjson: ndjson, json: jsonArray, csv: csv }[known];
  return { format: known, batches: read(all()), readBytes: () => readBytes, totalBytes };
}

function sizeOf(path: string): number {
  try {
    const stats = statSync(path);
    if (stats.isFile()) return stats.size;
  } catch (cause) {
    throw cliError("ERR_INGEST_INPUT", `${path} can't be read: ${messageOf(cause)}`, { cause, details: { path } });
  }
  throw cliError("ERR_INGEST_INPUT", `${path} is not a file`, { details: { path } });
}

async function* withErrors(stream: Readable, path: string, stop: AbortSignal): AsyncGenerator<Buffer> {
  // An idle stdin gives no chunk after which one could look.
  const abort = (): void => void stream.destroy();
  stop.addEventListener("abort", abort, { once: true });
  if (stop.aborted) abort();
  try {
    for await (const chunk of stream) yield chunk as Buffer;
  } catch (cause) {
    if (stop.aborted) return;
    throw cliError("ERR_INGEST_INPUT", `${path} can't be read: ${messageOf(cause)}`, { cause, details: { path } });
  } finally {
    stop.removeEventListener("abort", abort);
  }
}

/** By the ending, or by the first character. */
function formatOf(path: string, first: Buffer | undefined): Format {
  const ending = /\.(ndjson|jsonl|csv)$/i.exec(path)?.[1]?.toLowerCase();
  if (ending !== undefined) return ending === "csv" ? "csv" : "ndjson";
  const character = first
    ?.toString("utf8", 0, 1024)
    .trimStart()
    .replace(/^\uFEFF/, "")[0];
  if (character === "[") return "json";
  if (character === "{" || character === undefined) return "ndjson";
  throw cliError("ERR_INGEST_INPUT", `${path}: the format can't be told; pass --format ${FORMATS.join("|")}`, {
    details: { path },
  });
}

// ── NDJSON ──────────────────────────────────────────────────────────────────────────────────────

const NEWLINE = 0x0a;

async function* ndjson(chunks: AsyncIterable<Buffer>): AsyncGenerator<SourceItem[]> {
  let number = 0;
  let rest: Buffer[] = [];
  let restBytes = 0;
  for await (const chunk of chunks) {
    const items: SourceItem[] = [];
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      rest.push(chunk.subarray(start, end));
      number += 1;
      addLine(items, number, Buffer.concat(rest));
      rest = [];
      restBytes = 0;
      start = end + 1;
    }
    rest.push(chunk.subarray(start));
    restBytes += chunk.length - start;
    if (restBytes > LINE_BYTES_MAX) {
      throw cliError("ERR_INGEST_MALFORMED", `line ${number + 1} is longer than ${LINE_BYTES_MAX} bytes`, {
        details: { line: number + 1 },
      });
    }
    yield items;
  }
  const last: SourceItem[] = [];
  if (restBytes > 0) addLine(last, number + 1, Buffer.concat(rest));
  yield last;
}

function addLine(items: SourceItem[], number: number, line: Buffer): void {
  const text = line.toString("utf8").replace(/^\uFEFF/, "");
  if (text.trim() === "") return;
  try {
    items.push({ number, value: JSON.parse(text) as unknown });
  } catch (thrown) {
    items.push({ number, problem: messageOf(thrown) });
  }
}

// ── JSON array ──────────────────────────────────────────────────────────────────────────────────

/**
 * The parser yields no element of a piece of text that has a mistake in it. Small pieces keep that
 * loss small, and are no slower than large ones.
 */
const PIECE_BYTES = 512;

async function* jsonArray(chunks: AsyncIterable<Buffer>): AsyncGenerator<SourceItem[]> {
  const elements = gen(parser(), streamArray()) as (piece: unknown) => AsyncIterable<{ value: unknown }>;
  let number = 0;
  let items: SourceItem[] = [];
  async function* pieces(): AsyncGenerator {
    for await (const chunk of chunks) {
      for (let start = 0; start < chunk.length; start += PIECE_BYTES) yield chunk.subarray(start, start + PIECE_BYTES);
    }
    // Stream-chain's mark for the end.
    yield none;
  }
  try {
    for await (const piece of pieces()) {
      for await (const { value } of elements(piece)) {
        number += 1;
        items.push({ number, value });
      }
      if (items.length < BATCH_ITEMS) continue;
      yield items;
      items = [];
    }
  } catch (cause) {
    if (isMillraceError(cause)) throw cause;
    if (items.length > 0) yield items;
    throw cliError("ERR_INGEST_MALFORMED", `a mistake in the array, behind element ${number}: ${messageOf(cause)}`, {
      cause,
      details: { afterElement: number },
    });
  }
  yield items;
}

// ── CSV ─────────────────────────────────────────────────────────────────────────────────────────

interface CsvRow {
  readonly record: Record<string, string>;
  readonly info: { readonly lines: number };
}

async function* csv(chunks: AsyncIterable<Buffer>): AsyncGenerator<SourceItem[]> {
  const problems: SourceItem[] = [];
  const rows = parseCsv({
    bom: true,
    columns: true,
    info: true,
    skip_empty_lines: true,
    skip_records_with_error: true,
    max_record_size: LINE_BYTES_MAX,
    on_skip: (error) => {
      const line = (error as unknown as { lines?: number } | undefined)?.lines ?? 0;
      problems.push({ number: line, problem: error?.message ?? "unreadable" });
      return undefined;
    },
  });
  void feed(chunks, rows);
  let items: SourceItem[] = [];
  try {
    for await (const row of rows as AsyncIterable<CsvRow>) {
      items.push(...problems.splice(0), { number: row.info.lines, value: row.record });
      if (items.length < BATCH_ITEMS) continue;
      yield items;
      items = [];
    }
  } catch (cause) {
    if (items.length > 0) yield items;
    throw cliError("ERR_INGEST_MALFORMED", messageOf(cause), { cause });
  }
  items.push(...problems);
  yield items;
}

async function feed(chunks: AsyncIterable<Buffer>, rows: ReturnType<typeof parseCsv>): Promise<void> {
  try {
    for await (const chunk of chunks) {
      if (!rows.write(chunk)) await new Promise((resolve) => rows.once("drain", resolve));
    }
    rows.end();
  } catch (thrown) {
    rows.destroy(thrown as Error);
  }
}
