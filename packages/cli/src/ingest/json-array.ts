/**
 * A JSON array: each element is a record, numbered from 1.
 *
 * An element is read again from its start when its bytes came in two chunks; chunks are large, so
 * that costs little. Behind a mistake the reading goes on at the next element. That is where the
 * brackets of the wrong one close; or, where they don't fit, at the next place that looks like the
 * start of an element, within `quoteBytesMax`.
 */
import { cliError } from "../errors.ts";
import { Carry } from "./carry.ts";
import { JsonRecords, type Mistake } from "./json-records.ts";
import { INSIDE, JsonSkip } from "./json-skip.ts";
import { INCOMPLETE, shown, spaceEnd } from "@millrace/codec";
import type { LongPart, RecordSink, Splitter, SplitterOptions } from "./splitter.ts";

const COMMA = 0x2c;
const OPEN = 0x5b;
const CLOSE = 0x5d;

type State =
  /** Before the array. */
  | "array"
  /** Before an element; before the first one the array may close. */
  | "first"
  | "element"
  /** Behind an element. */
  | "separator"
  /** Behind the array. */
  | "end";

interface LongElement {
  readonly skip: JsonSkip;
  readonly long: LongPart;
}

export class JsonArraySplitter implements Splitter {
  readonly notes: Readonly<Record<string, unknown>> = {};
  readonly #carry = new Carry();
  readonly #sink: RecordSink;
  readonly #records: JsonRecords;
  readonly #options: SplitterOptions;
  #state: State = "array";
  /** Everything before this place in the bytes is done with. */
  #at = 0;
  /** Elements that were begun. */
  #number = 0;
  /** The mistake in the element at `#at`, behind which the next one is looked for. */
  #wrong: Mistake | undefined;
  /** The element that is too long to be kept. */
  #long: LongElement | undefined;
  /** The byte with which the first element begins. */
  #opening: number | undefined;
  #isFinal = false;

  constructor(sink: RecordSink, options: SplitterOptions) {
    this.#sink = sink;
    this.#options = options;
    this.#records = new JsonRecords(this.#carry, sink, options.bigNumbers);
  }

  push(chunk: Buffer): void {
    this.#carry.append(chunk);
    this.#read();
  }

  end(): void {
    this.#isFinal = true;
    this.#carry.end();
    this.#read();
    // An empty input is an empty list.
    if (this.#state === "end" || (this.#state === "array" && this.#carry.bytes.length === 0)) return;
    const { at, problem } = this.#wrong ?? {
      at: this.#carry.bytes.length,
      problem: "the input ends within the array",
    };
    throw this.#fatal(at, problem);
  }

  #read(): void {
    while (this.#step());
    this.#carry.drop(this.#at);
    if (this.#wrong !== undefined) this.#wrong = { at: this.#wrong.at - this.#at, problem: this.#wrong.problem };
    this.#at = 0;
  }

  /** False when it needs more bytes. */
  #step(): boolean {
    const { bytes } = this.#carry;
    if (this.#long !== undefined) return this.#passLong();
    if (this.#wrong !== undefined) return this.#recover(this.#wrong);
    this.#at = spaceEnd(bytes, this.#at, bytes.length);
    if (this.#at === bytes.length) return false;
    const byte = bytes[this.#at] as number;
    switch (this.#state) {
      case "array":
        if (byte !== OPEN) throw this.#fatal(this.#at, `an array is expected, not ${shown(byte)}`);
        return this.#goOn("first", 1);
      case "first":
        return byte === CLOSE ? this.#goOn("end", 1) : this.#element();
      case "element":
        return this.#element();
      case "separator":
        if (byte === CLOSE) return this.#goOn("end", 1);
        if (byte === COMMA) return this.#goOn("element", 1);
        this.#number += 1;
        this.#wrong = { at: this.#at, problem: `"," or "]" is expected, not ${shown(byte)}` };
        return true;
      default:
        throw this.#fatal(this.#at, "something follows the array");
    }
  }

  #goOn(state: State, bytes: number): boolean {
    this.#state = state;
    this.#at += bytes;
    return true;
  }

  #element(): boolean {
    const { bytes } = this.#carry;
    const start = this.#at;
    const { recordBytesMax } = this.#options;
    this.#opening ??= bytes[start];
    const end = this.#records.text.scan(bytes, start, bytes.length);
    // A number that ends with the bytes may go on.
    const isCut = !this.#isFinal && (end === INCOMPLETE || end === bytes.length);
    if (isCut && bytes.length - start <= recordBytesMax) return false;
    this.#number += 1;
    if (isCut) {
      this.#long = { skip: new JsonSkip(), long: { ...this.#carry.placeAt(start), bytes: 0 } };
      return true;
    }
    const isLong = end - start > recordBytesMax;
    const mistake = isLong
      ? { at: start, problem: `the element has ${end - start} bytes; a record has at most ${recordBytesMax}` }
      : end < 0
        ? this.#records.mistake(end, bytes.length)
        : this.#records.accept(this.#number, start, end);
    if (end < 0) this.#wrong = mistake;
    else {
      if (mistake !== undefined) this.#report(mistake, start, end);
      this.#goOn("separator", end - start);
    }
    return true;
  }

  /** Looks for the end of the element at `#at`, in which is a mistake. */
  #recover(wrong: Mistake): boolean {
    const { bytes } = this.#carry;
    const start = this.#at;
    const mayWait = !this.#isFinal && bytes.length - start <= this.#options.quoteBytesMax;
    let end = new JsonSkip().feed(bytes, start, bytes.length);
    if (end === INSIDE && mayWait) return false;
    if (end < 0) end = this.#nextElement(wrong.at);
    if (end < 0 && mayWait) return false;
    if (end < 0) throw this.#fatal(wrong.at, `${wrong.problem}; no other element is found behind it`);
    this.#wrong = undefined;
    this.#report(wrong, start, end);
    return this.#goOn("separator", end - start);
  }

  /** The comma before what looks like the next element, which begins at `from` or behind; or -1. */
  #nextElement(from: number): number {
    const { bytes } = this.#carry;
    const opening = String.fromCharCode(this.#opening ?? 0x7b).replace(/[[\]{}"\\^-]/, "\\$&");
    const text = bytes.toString("latin1", this.#at);
    for (const { index, 0: found } of text.matchAll(new RegExp(`[}\\]"\\d]\\s*,\\s*${opening}`, "g"))) {
      if (this.#at + index + found.length > from) return this.#at + index + found.indexOf(",");
    }
    return -1;
  }

  #passLong(): boolean {
    const { bytes } = this.#carry;
    const { long, skip } = this.#long as LongElement;
    const end = skip.feed(bytes, this.#at, bytes.length);
    if (end === INSIDE) {
      long.bytes += bytes.length - this.#at;
      this.#at = bytes.length;
      return false;
    }
    if (end < 0) throw this.#fatal(this.#at, "an element that is too long doesn't end");
    long.bytes += end - this.#at;
    this.#long = undefined;
    const { line, offset, bytes: passed } = long;
    const problem = `the element has ${passed} bytes; a record has at most ${this.#options.recordBytesMax}`;
    const lines = this.#carry.placeAt(end).line - line + 1;
    this.#sink.malformed({ number: this.#number, line, offset, problem, bytes: passed, lines });
    return this.#goOn("separator", end - this.#at);
  }

  #report({ at, problem }: Mistake, start: number, end: number): void {
    const { line: firstLine } = this.#carry.placeAt(start);
    const place = this.#carry.placeAt(at);
    const lines = this.#carry.placeAt(end).line - firstLine + 1;
    this.#sink.malformed({ number: this.#number, ...place, problem, bytes: end - start, lines });
  }

  /** A mistake behind which no record can be found. */
  #fatal(at: number, problem: string): Error {
    const { line, offset } = this.#carry.placeAt(at);
    const number = this.#number;
    return cliError("ERR_INGEST_MALFORMED", `line ${line}, byte ${offset}: ${problem} (behind element ${number})`, {
      details: { line, offset, problem, afterElement: number },
    });
  }
}
