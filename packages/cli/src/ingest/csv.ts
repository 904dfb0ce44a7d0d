/**
 * CSV as RFC 4180 has it, with a header line: each row becomes a JSON object of texts. A row's
 * number is the line on which it begins.
 *
 * A row is read in one pass that writes its JSON at the same time. When the bytes end within it, it
 * is read again with more of them.
 *
 * A quote may be a stray one: what it opens doesn't end as a field does, or not within
 * `quoteBytesMax`. Then only the line on which the row begins is malformed, and the reading goes on
 * at the next line. So a stray quote costs one line, or as much as up to the next quote that ends a
 * field.
 */
import { messageOf } from "@millrace/base";
import { cliError } from "../errors.ts";
import { Carry } from "./carry.ts";
import { readHeader } from "./csv-header.ts";
import { type Mistake, notUtf8 } from "./json-records.ts";
import type { LongPart, RecordSink, Splitter, SplitterOptions } from "./splitter.ts";

const NEWLINE = 0x0a;
const RETURN = 0x0d;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const CONTROL_ESCAPE = Buffer.from("\\u00");
const HEX = Buffer.from("0123456789abcdef");
/** An escape takes this many bytes for one. */
const ESCAPED_BYTES_MAX = 6;
const CLOSE = Buffer.from('"}');

/** Results of `#row` instead of the position behind it. */
const INCOMPLETE = -1;
const WRONG_LINE = -2;
const WRONG_ROW = -3;

export class CsvSplitter implements Splitter {
  readonly #carry = new Carry();
  readonly #sink: RecordSink;
  readonly #rowBytesMax: number;
  readonly #quoteBytesMax: number;
  #delimiter: number | undefined;
  /** The JSON before each field; undefined before the header was read. */
  #names: readonly Buffer[] | undefined;
  #namesBytes = 0;
  #json: Buffer = Buffer.alloc(0);
  #jsonEnd = 0;
  #rowEnd = 0;
  #mistake: Mistake = { at: 0, problem: "" };
  /** Where the line that is too long begins, with its bytes; undefined outside of one. */
  #long: LongPart | undefined;
  #isFinal = false;

  constructor(sink: RecordSink, { recordBytesMax, quoteBytesMax, delimiter }: SplitterOptions) {
    this.#sink = sink;
    this.#rowBytesMax = recordBytesMax;
    this.#quoteBytesMax = Math.min(quoteBytesMax, recordBytesMax);
    this.#delimiter = delimiter?.charCodeAt(0);
  }

  get notes(): Readonly<Record<string, unknown>> {
    return this.#delimiter === undefined ? {} : { delimiter: String.fromCharCode(this.#delimiter) };
  }

  push(chunk: Buffer): void {
    this.#carry.append(chunk);
    this.#read();
  }

  end(): void {
    this.#isFinal = true;
    this.#carry.end();
    this.#read();
  }

  #read(): void {
    const { bytes } = this.#carry;
    let at = 0;
    while (at < bytes.length) {
      const next = this.#long === undefined ? this.#next(at) : this.#passLong(at);
      if (next < 0) break;
      at = next;
    }
    this.#carry.drop(at);
  }

  /** Reads the line or row at `from`; the position behind it, or `INCOMPLETE`. */
  #next(from: number): number {
    const { bytes } = this.#carry;
    // Empty lines are no rows.
    if (bytes[from] === NEWLINE) return from + 1;
    if (bytes[from] === RETURN) {
      if (from + 1 === bytes.length) return this.#isFinal ? from + 1 : INCOMPLETE;
      if (bytes[from + 1] === NEWLINE) return from + 2;
    }
    if (this.#names === undefined) return this.#header(from);
    const end = this.#row(from, this.#names);
    if (end >= 0) {
      const place = this.#carry.placeAt(from);
      this.#sink.record(place.line, this.#json, 0, this.#jsonEnd, () => place);
      return end;
    }
    if (end === INCOMPLETE) return this.#cut(from);
    return this.#skip(from, end === WRONG_ROW ? this.#rowEnd : undefined);
  }

  /** The bytes end within the row at `from`. */
  #cut(from: number): number {
    const { bytes } = this.#carry;
    if (!this.#isFinal && bytes.length - from <= this.#quoteBytesMax) return INCOMPLETE;
    const lineEnd = bytes.indexOf(NEWLINE, from);
    if (lineEnd < 0 && !this.#isFinal) {
      this.#long = { ...this.#carry.placeAt(from), bytes: 0 };
      return from;
    }
    // Only a quote can hold a row open over the end of its line.
    const quoted = bytes.length - this.#mistake.at;
    const problem = this.#isFinal
      ? "a quote is never closed"
      : `a quote isn't closed within ${Math.min(quoted, this.#quoteBytesMax)} bytes (--quote-max-bytes)`;
    this.#mistake = { at: this.#mistake.at, problem };
    return this.#skip(from, undefined);
  }

  /** The row at `from` is malformed: passes over all of it, or over its first line. */
  #skip(from: number, rowEnd: number | undefined): number {
    const { bytes } = this.#carry;
    const newline = bytes.indexOf(NEWLINE, from);
    if (rowEnd === undefined && newline < 0 && !this.#isFinal) return this.#cutLine(from);
    const end = rowEnd ?? (newline < 0 ? bytes.length : newline + 1);
    const { line } = this.#carry.placeAt(from);
    const place = this.#carry.placeAt(this.#mistake.at);
    const lines = Math.max(1, this.#carry.placeAt(end).line - line);
    const { problem } = this.#mistake;
    this.#sink.malformed({ number: line, line: place.line, offset: place.offset, problem, bytes: end - from, lines });
    return end;
  }

  /** The line of a malformed row isn't all here. */
  #cutLine(from: number): number {
    if (this.#carry.bytes.length - from <= this.#rowBytesMax) return INCOMPLETE;
    this.#long = { ...this.#carry.placeAt(from), bytes: 0 };
    return from;
  }

  #passLong(from: number): number {
    const { bytes } = this.#carry;
    const long = this.#long as LongPart;
    const newline = bytes.indexOf(NEWLINE, from);
    const end = newline < 0 ? bytes.length : newline + 1;
    long.bytes += end - from;
    if (newline < 0 && !this.#isFinal) return end;
    this.#long = undefined;
    const problem = `the row has ${long.bytes} bytes; a record has at most ${this.#rowBytesMax}`;
    this.#sink.malformed({ number: long.line, ...long, problem, lines: 1 });
    return end;
  }

  // ── the header ────────────────────────────────────────────────────────────────────────────────

  #header(from: number): number {
    const { bytes } = this.#carry;
    let isQuoted = false;
    let end = from;
    for (; end < bytes.length && (isQuoted || bytes[end] !== NEWLINE); end += 1) {
      if (bytes[end] === QUOTE) isQuoted = !isQuoted;
    }
    if (end === bytes.length && !this.#isFinal) {
      if (end - from <= this.#quoteBytesMax) return INCOMPLETE;
      throw this.#fatal(from, `the header doesn't end within ${this.#quoteBytesMax} bytes`);
    }
    const invalid = this.#carry.firstInvalid(from, end);
    if (invalid >= 0) {
      const { at, problem } = notUtf8(bytes, invalid);
      throw this.#fatal(at, problem);
    }
    const lineEnd = end > from && bytes[end - 1] === RETURN ? end - 1 : end;
    const given = this.#delimiter === undefined ? undefined : String.fromCharCode(this.#delimiter);
    try {
      const { delimiter, names } = readHeader(bytes.toString("utf8", from, lineEnd), given);
      this.#delimiter = delimiter.charCodeAt(0);
      this.#names = names.map((name, index) => Buffer.from(`${index === 0 ? "{" : '",'}${JSON.stringify(name)}:"`));
      this.#namesBytes = this.#names.reduce((sum, name) => sum + name.length, 0);
    } catch (thrown) {
      throw this.#fatal(from, messageOf(thrown));
    }
    return Math.min(end + 1, bytes.length);
  }

  #fatal(at: number, problem: string): Error {
    const { line, offset } = this.#carry.placeAt(at);
    return cliError("ERR_INGEST_MALFORMED", `line ${line}, byte ${offset}: ${problem}`, {
      details: { line, offset, problem },
    });
  }

  // ── a row ─────────────────────────────────────────────────────────────────────────────────────

  /** Reads the row at `from` into `#json`; the position behind it, or why there is none. */
  #row(from: number, names: readonly Buffer[]): number {
    const { bytes } = this.#carry;
    const delimiter = this.#delimiter as number;
    this.#room(bytes.length - from);
    const json = this.#json;
    const end = bytes.length;
    let at = from;
    let out = 0;
    let field = 0;
    // Ends: each turn reads a field.
    for (;;) {
      if (field < names.length) {
        const name = names[field] as Buffer;
        json.set(name, out);
        out += name.length;
      }
      const fieldAt = at;
      const isKept = field < names.length;
      if (at < end && bytes[at] === QUOTE) {
        at += 1;
        for (;;) {
          if (at >= end) return this.#open(fieldAt);
          const byte = bytes[at] as number;
          if (byte !== QUOTE) {
            if (byte === 0) return this.#wrong(at, "a NUL byte", WRONG_LINE);
            if (isKept) out = written(byte, json, out);
            at += 1;
          } else if (at + 1 < end && bytes[at + 1] === QUOTE) {
            if (isKept) out = written(QUOTE, json, out);
            at += 2;
          } else if (at + 1 >= end && !this.#isFinal) return this.#open(fieldAt);
          else break;
        }
        at += 1;
      } else {
        for (; at < end; at += 1) {
          const byte = bytes[at] as number;
          if (byte === delimiter || byte === NEWLINE || byte === RETURN) break;
          if (byte === QUOTE) return this.#wrong(at, "a quote within a field that doesn't begin with one", WRONG_LINE);
          if (byte === 0) return this.#wrong(at, "a NUL byte", WRONG_LINE);
          if (!isKept) continue;
          if (byte >= 0x20 && byte !== BACKSLASH) {
            json[out] = byte;
            out += 1;
          } else out = written(byte, json, out);
        }
      }
      field += 1;
      const byte = at < end ? (bytes[at] as number) : -1;
      if (byte === delimiter) {
        at += 1;
        continue;
      }
      const ending = this.#lineEnd(at, byte, fieldAt);
      if (ending < 0) return ending;
      return this.#finish(from, at, ending, out, field, names.length);
    }
  }

  /** The position behind the line end at `at`. */
  #lineEnd(at: number, byte: number, fieldAt: number): number {
    const { bytes } = this.#carry;
    if (byte === NEWLINE) return at + 1;
    if (byte === -1) return this.#isFinal ? at : this.#open(fieldAt);
    if (byte !== RETURN) return this.#wrong(at, "something follows a closing quote", WRONG_LINE);
    if (at + 1 < bytes.length && bytes[at + 1] === NEWLINE) return at + 2;
    if (at + 1 < bytes.length) return this.#wrong(at, "a carriage return without a line feed", WRONG_LINE);
    return this.#isFinal ? at + 1 : this.#open(fieldAt);
  }

  #finish(from: number, at: number, rowEnd: number, out: number, fields: number, wanted: number): number {
    this.#rowEnd = rowEnd;
    if (fields !== wanted) {
      return this.#wrong(from, `the row has ${fields} fields, the header ${wanted}`, WRONG_ROW);
    }
    if (at - from > this.#rowBytesMax) {
      const problem = `the row has ${at - from} bytes; a record has at most ${this.#rowBytesMax}`;
      return this.#wrong(from, problem, WRONG_ROW);
    }
    const invalid = this.#carry.firstInvalid(from, at);
    if (invalid >= 0) {
      this.#mistake = notUtf8(this.#carry.bytes, invalid);
      return WRONG_ROW;
    }
    this.#json.set(CLOSE, out);
    this.#jsonEnd = out + CLOSE.length;
    return rowEnd;
  }

  /** The bytes end within the field at `at`. */
  #open(at: number): number {
    this.#mistake = { at, problem: "" };
    return INCOMPLETE;
  }

  #wrong(at: number, problem: string, what: number): number {
    this.#mistake = { at, problem };
    return what;
  }

  #room(rowBytes: number): void {
    const bytes = this.#namesBytes + CLOSE.length + rowBytes * ESCAPED_BYTES_MAX;
    if (this.#json.length < bytes) this.#json = Buffer.allocUnsafeSlow(bytes * 2);
  }
}

/** Writes one byte of a text as JSON has it; the position behind it. */
function written(byte: number, json: Buffer, out: number): number {
  if (byte >= 0x20 && byte !== QUOTE && byte !== BACKSLASH) {
    json[out] = byte;
    return out + 1;
  }
  if (byte >= 0x20) {
    json[out] = BACKSLASH;
    json[out + 1] = byte;
    return out + 2;
  }
  json.set(CONTROL_ESCAPE, out);
  json[out + 4] = HEX[byte >> 4] as number;
  json[out + 5] = HEX[byte & 15] as number;
  return out + ESCAPED_BYTES_MAX;
}
