/**
 * Long text outside ASCII, by its code units: one byte each where all are below 256 (Latin-1), two
 * bytes otherwise (UTF-16, little-endian).
 *
 * V8 keeps strings in just these two forms, so each direction is a copy of memory. UTF-8 has to be
 * computed: on Node 20, 60,000 characters took 300 to 700 µs to read, and take 5 to 15 µs so.
 *
 * Within a value such texts lie in a table behind the value's own bytes; the value refers to them.
 * An entry of the table: u8 kind (1 Latin-1, 2 UTF-16), u32 bytes (big-endian), the code units.
 */
import { isAscii } from "node:buffer";

/** For shorter text a call that leaves JavaScript costs more than UTF-8. */
export const LONG_TEXT = 256;

const LATIN1 = 1;
const UTF16 = 2;
const ENTRY_HEADER_BYTES = 5;

/** A code unit that needs two bytes. V8 doesn't search a string whose units all have one byte. */
const TWO_BYTES = /[\u0100-\uffff]/;

export function isWide(text: string): boolean {
  return TWO_BYTES.test(text);
}

/** Whether the text is long, and more than ASCII. */
export function isLongForeign(text: string): boolean {
  if (text.length < LONG_TEXT) return false;
  if (isWide(text)) return true;
  if (text.length > PROBE_BYTES) return Buffer.byteLength(text) !== text.length;
  // Four times as fast: two calls that work on many bytes at once.
  probe.write(text, 0, "latin1");
  return !isAscii(probe.subarray(0, text.length));
}

const PROBE_BYTES: number = 64 * 1024;
const probe: Buffer = Buffer.allocUnsafeSlow(PROBE_BYTES);

/** Writes the code units to `into[offset …)`. */
export function writeUnits(text: string, wide: boolean, into: Buffer, offset: number): void {
  into.write(text, offset, wide ? "utf16le" : "latin1");
}

/** The text of the code units in `bytes[start, end)`. */
export function textOfUnits(bytes: Buffer, wide: boolean, start: number, end: number): string {
  if (!wide) return bytes.toString("latin1", start, end);
  if ((end - start) % 2 !== 0) throw new RangeError("UTF-16 text has an even number of bytes");
  return bytes.toString("utf16le", start, end);
}

// ── the table ──────────────────────────────────────────────────────────────────────────────────

export function tableBytes(texts: readonly string[]): number {
  let bytes = 0;
  for (const text of texts) bytes += ENTRY_HEADER_BYTES + (isWide(text) ? text.length * 2 : text.length);
  return bytes;
}

/** Writes the table to `into[offset …)`, which has `tableBytes`. */
export function writeTable(texts: readonly string[], into: Buffer, offset: number): void {
  let at = offset;
  for (const text of texts) {
    const wide = isWide(text);
    const bytes = wide ? text.length * 2 : text.length;
    into[at] = wide ? UTF16 : LATIN1;
    into.writeUInt32BE(bytes, at + 1);
    writeUnits(text, wide, into, at + ENTRY_HEADER_BYTES);
    at += ENTRY_HEADER_BYTES + bytes;
  }
}

/** The texts of the table in `bytes[start, end)`. Throws for any other bytes. */
export function readTable(bytes: Buffer, start: number, end: number): string[] {
  const texts: string[] = [];
  let at = start;
  while (at < end) {
    const kind = bytes[at];
    const from = at + ENTRY_HEADER_BYTES;
    if (from > end || (kind !== LATIN1 && kind !== UTF16)) throw new RangeError("not a table of texts");
    at = from + bytes.readUInt32BE(from - 4);
    if (at > end) throw new RangeError("a part of a text");
    texts.push(textOfUnits(bytes, kind === UTF16, from, at));
  }
  return texts;
}

// ── plain trees that refer to it ───────────────────────────────────────────────────────────────

/** Stands for the next text of the table: a plain tree has no array of this class. */
const NEXT_TEXT = new Uint8ClampedArray(0);

/**
 * The tree without the texts, which it has in this order. Copies the objects on the way to a text,
 * and no others. Throws if it doesn't have them any more: a getter may return another value.
 */
export function withoutTexts(value: unknown, texts: readonly string[]): unknown {
  const list = { texts, next: 0 };
  const tree = without(value, list);
  if (list.next !== texts.length) throw new TypeError("the value changes while it is read");
  return tree;
}

interface TextList {
  readonly texts: readonly string[];
  next: number;
}

function without(value: unknown, list: TextList): unknown {
  if (typeof value === "string") {
    if (value.length < LONG_TEXT || value !== list.texts[list.next]) return value;
    list.next += 1;
    return NEXT_TEXT;
  }
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return arrayWithout(value as unknown[], list);
  return Object.getPrototypeOf(value) === Object.prototype
    ? recordWithout(value as Record<string, unknown>, list)
    : value;
}

function arrayWithout(array: readonly unknown[], list: TextList): readonly unknown[] {
  let copy: unknown[] | undefined;
  for (let index = 0; index < array.length; index += 1) {
    const replaced = without(array[index], list);
    if (replaced === array[index]) continue;
    copy ??= [...array];
    copy[index] = replaced;
  }
  return copy ?? array;
}

function recordWithout(record: Readonly<Record<string, unknown>>, list: TextList): object {
  let copy: Record<string, unknown> | undefined;
  for (const key in record) {
    const member = record[key];
    const replaced = without(member, list);
    if (replaced === member) continue;
    copy ??= { ...record };
    copy[key] = replaced;
  }
  return copy ?? record;
}

/** Puts the texts back, in place. Throws if there are more or fewer than the tree needs. */
export function withTexts(tree: unknown, texts: readonly string[]): unknown {
  const list = { texts, next: 0 };
  const value = back(tree, list);
  if (list.next !== texts.length) throw new RangeError("a value that doesn't need all of its texts");
  return value;
}

function back(value: unknown, list: TextList): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (value instanceof Uint8ClampedArray) {
    const text = list.texts[list.next];
    if (text === undefined) throw new RangeError("a value that needs more texts");
    list.next += 1;
    return text;
  }
  if (ArrayBuffer.isView(value) || value instanceof Date) return value;
  if (Array.isArray(value)) {
    const array = value as unknown[];
    for (let index = 0; index < array.length; index += 1) {
      const member = array[index];
      if (typeof member === "object" && member !== null) array[index] = back(member, list);
    }
    return value;
  }
  const record = value as Record<string, unknown>;
  for (const key in record) {
    const member = record[key];
    if (typeof member === "object" && member !== null) record[key] = back(member, list);
  }
  return value;
}
