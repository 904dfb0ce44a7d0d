/**
 * The bytes that a splitter has at hand: the rest of the chunks before, and the next chunk. Knows
 * where they stand in the input, and whether they are UTF-8.
 */
import { isUtf8 } from "node:buffer";
import type { Place } from "./splitter.ts";
import { firstInvalid, incompleteTail } from "./utf8.ts";

const NEWLINE = 0x0a;

export class Carry {
  bytes: Buffer = Buffer.alloc(0);
  /** Place of `bytes[0]`. */
  #offset = 0;
  /** The last place that was asked for: lines are counted from there on. */
  #countedTo = 0;
  #countedLine = 1;
  #isClean = true;

  append(chunk: Buffer): void {
    this.bytes = this.bytes.length === 0 ? chunk : Buffer.concat([this.bytes, chunk]);
    this.#isClean = isUtf8(this.bytes.subarray(0, this.bytes.length - incompleteTail(this.bytes)));
  }

  /** No more bytes come: what is incomplete now stays so. */
  end(): void {
    this.#isClean = isUtf8(this.bytes);
  }

  /** The first `count` bytes are done with. */
  drop(count: number): void {
    this.placeAt(count);
    this.#offset += count;
    this.#countedTo -= count;
    this.bytes = this.bytes.subarray(count);
  }

  /** The place of `bytes[at]`, which is behind the one asked for before. */
  placeAt(at: number): Place {
    if (at < this.#countedTo)
      return { line: this.#countedLine - this.#lines(at, this.#countedTo), offset: this.#offset + at };
    this.#countedLine += this.#lines(this.#countedTo, at);
    this.#countedTo = at;
    return { line: this.#countedLine, offset: this.#offset + at };
  }

  /** Line ends in `bytes[start, end)`. */
  #lines(start: number, end: number): number {
    let lines = 0;
    let at = this.bytes.indexOf(NEWLINE, start);
    while (at >= 0 && at < end) {
      lines += 1;
      at = this.bytes.indexOf(NEWLINE, at + 1);
    }
    return lines;
  }

  /** Offset of the first byte of `bytes[start, end)` that isn't UTF-8; -1 when all are. */
  firstInvalid(start: number, end: number): number {
    return this.#isClean ? -1 : firstInvalid(this.bytes, start, end);
  }
}
