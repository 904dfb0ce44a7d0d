/** NDJSON: one JSON value a line. A record's number is its line; empty lines have none. */
import { Carry } from "./carry.ts";
import { JsonRecords, type Mistake } from "./json-records.ts";
import { spaceEnd } from "@millrace/codec";
import type { RecordSink, Splitter, SplitterOptions } from "./splitter.ts";

const NEWLINE = 0x0a;

export class NdjsonSplitter implements Splitter {
  readonly notes: Readonly<Record<string, unknown>> = {};
  readonly #carry = new Carry();
  readonly #sink: RecordSink;
  readonly #records: JsonRecords;
  readonly #lineBytesMax: number;
  #line = 0;
  /** Bytes of a line that is too long, which were passed over; 0 outside of one. */
  #skipped = 0;

  constructor(sink: RecordSink, { recordBytesMax, bigNumbers }: SplitterOptions) {
    this.#sink = sink;
    this.#lineBytesMax = recordBytesMax;
    this.#records = new JsonRecords(this.#carry, sink, bigNumbers);
  }

  push(chunk: Buffer): void {
    const carry = this.#carry;
    carry.append(chunk);
    const { bytes } = carry;
    let start = 0;
    let end = bytes.indexOf(NEWLINE);
    while (end >= 0) {
      this.#readLine(start, end, 1);
      start = end + 1;
      end = bytes.indexOf(NEWLINE, start);
    }
    const rest = bytes.length - start;
    if (this.#skipped > 0 || rest > this.#lineBytesMax) {
      this.#skipped += rest;
      start = bytes.length;
    }
    carry.drop(start);
  }

  end(): void {
    this.#carry.end();
    if (this.#carry.bytes.length > 0 || this.#skipped > 0) this.#readLine(0, this.#carry.bytes.length, 0);
    this.#carry.drop(this.#carry.bytes.length);
  }

  #readLine(start: number, end: number, newlines: number): void {
    this.#line += 1;
    const skipped = this.#skipped;
    this.#skipped = 0;
    const bytes = end - start + skipped;
    if (bytes > this.#lineBytesMax) {
      const problem = `the line has ${bytes} bytes; a record has at most ${this.#lineBytesMax}`;
      this.#malformed({ at: start, problem }, bytes + newlines, -skipped);
      return;
    }
    const mistake = this.#readValue(start, end);
    if (mistake !== undefined) this.#malformed(mistake, bytes + newlines, 0);
  }

  #readValue(start: number, end: number): Mistake | undefined {
    const { bytes } = this.#carry;
    const from = spaceEnd(bytes, start, end);
    if (from === end) return undefined;
    const valueEnd = this.#records.text.scan(bytes, from, end);
    if (valueEnd < 0) return this.#records.mistake(valueEnd, end);
    const behind = spaceEnd(bytes, valueEnd, end);
    if (behind < end) return { at: behind, problem: "something follows the value on its line" };
    return this.#records.accept(this.#line, from, valueEnd);
  }

  #malformed({ at, problem }: Mistake, bytes: number, shift: number): void {
    const offset = this.#carry.placeAt(at).offset + shift;
    this.#sink.malformed({ number: this.#line, line: this.#line, offset, problem, bytes, lines: 1 });
  }
}
