/**
 * Values as bytes: MessagePack by msgpackr for plain trees, with a short cut for flat objects, the
 * code units of long text, and a node list in MessagePack for every other value.
 *
 * All forms are self-describing. Plain values begin with any byte but 0xC1, which MessagePack never
 * uses. Behind 0xC1 the next byte tells the form: the array of a node list (nodes.ts), 0xC0 before
 * a plain tree whose long texts are code units (text.ts), 0xC2 and 0xC3 before the code units of
 * one text, 0xC4 before JSON text in UTF-8, which somebody else has written.
 */
import { Packr, RESERVE_START_SPACE, RESET_BUFFER_MODE, REUSE_BUFFER_MODE } from "msgpackr";
import { isAscii } from "node:buffer";
import { isMillraceError } from "@millrace/base";
import { codecError } from "./errors.ts";
import { decodeFlat, encodeFlat, FLAT_BYTES_MAX, NOT_FLAT } from "./flat.ts";
import { fromGraph } from "./graph-reader.ts";
import { thrownToGraph, toGraph } from "./graph-writer.ts";
import type { Graph, Node } from "./nodes.ts";
import { isPlain } from "./plain.ts";
import { refusalOf } from "./refusals.ts";
import {
  isWide,
  LONG_TEXT,
  readTable,
  tableBytes,
  textOfUnits,
  withoutTexts,
  withTexts,
  writeTable,
  writeUnits,
} from "./text.ts";

const MARK = 0xc1;
/** Behind the mark. */
const TABLE = 0xc0;
const LATIN1_TEXT = 0xc2;
const UTF16_TEXT = 0xc3;
const JSON_TEXT = 0xc4;

/**
 * Bytes before JSON text in UTF-8 that make an encoded value of it. `decode` parses the text, on
 * the thread that wants the value; text that isn't JSON is `ERR_VALUE_CORRUPT` there.
 */
export const JSON_HEAD: Uint8Array = Uint8Array.of(MARK, JSON_TEXT);
/** MessagePack: a string with 32 bits of length. */
const STRING_32 = 0xdb;

const packr = new Packr({
  useRecords: false,
  moreTypes: true,
  encodeUndefinedAsNil: false,
  copyBuffers: true,
  useToJSON: false,
});

/**
 * msgpackr's result in its mode of reused buffers: the whole buffer, with the range of the value.
 */
type Packed = Buffer & { start: number; end: number };
const PACK_MODE: number = REUSE_BUFFER_MODE | RESET_BUFFER_MODE;
/** The mark and the form. */
const MARK_BYTES = 2;
const PACK_BEHIND_MARK: number = PACK_MODE | RESERVE_START_SPACE | MARK_BYTES;

/** The place of the last encoded value: `buffer[start, end)`. Each call changes the same object. */
export interface EncodedValue {
  buffer: Uint8Array;
  start: number;
  end: number;
}

const last: EncodedValue = { buffer: new Uint8Array(0), start: 0, end: 0 };

/** Larger buffers are given up after the value: a rare large one mustn't hold memory for good. */
const KEPT_BYTES_MAX: number = 1024 * 1024;
/** Enough for most values. */
const FIRST_BYTES: number = 64 * 1024;

const flat: Buffer = Buffer.allocUnsafeSlow(FLAT_BYTES_MAX);

/**
 * Encodes a value. The bytes are valid until the next call of an encoder on this thread. Throws
 * `ERR_VALUE_UNSUPPORTED`, `ERR_VALUE_TOO_LARGE`, `ERR_VALUE_MEMORY`.
 */
export function encode(value: unknown): Uint8Array {
  const { buffer, start, end } = encodeInPlace(value);
  return buffer.subarray(start, end);
}

/**
 * As `encode`, without an object for the bytes: for small values it costs as much as the encoding.
 */
export function encodeInPlace(value: unknown): Readonly<EncodedValue> {
  if (typeof value === "object" && value !== null) {
    const length = encodeFlat(value, flat);
    if (length !== NOT_FLAT) return lastIs(flat, 0, length);
  } else if (typeof value === "string" && value.length >= LONG_TEXT) return encodeText(value);
  const texts: string[] = [];
  if (isPlain(value, texts)) {
    try {
      return texts.length === 0 ? encodePlain(value) : encodeTree(value, texts);
    } catch {
      // A getter throws, or the value changes while it is read. The node list reads each member
      // once.
    }
  }
  return encodeNodes(toGraph(value));
}

function encodePlain(value: unknown): Readonly<EncodedValue> {
  const packed = packr.pack(value, PACK_MODE) as Packed;
  return lastPacked(packed, packed.start);
}

/** A plain tree with long foreign texts. */
function encodeTree(value: unknown, texts: readonly string[]): Readonly<EncodedValue> {
  const packed = packr.pack(withoutTexts(value, texts), PACK_MODE) as Packed;
  return encodeTable(packed, packed.start, texts);
}

function encodeNodes({ nodes, texts }: Graph): Readonly<EncodedValue> {
  try {
    const packed = packr.pack(nodes, PACK_BEHIND_MARK) as Packed;
    const start = packed.start + MARK_BYTES - 1;
    packed[start] = MARK;
    return texts.length === 0 ? lastPacked(packed, start) : encodeTable(packed, start, texts);
  } catch (cause) {
    throw tooLarge(cause);
  }
}

/** The mark, the form, u32 bytes of the value, the value, its texts. */
const TABLE_HEADER_BYTES = 6;

function encodeTable(packed: Packed, start: number, texts: readonly string[]): Readonly<EncodedValue> {
  const valueBytes = packed.end - start;
  const tableStart = TABLE_HEADER_BYTES + valueBytes;
  const end = tableStart + tableBytes(texts);
  const buffer = bufferFor(end);
  buffer[0] = MARK;
  buffer[1] = TABLE;
  buffer.writeUInt32BE(valueBytes, 2);
  packed.copy(buffer, TABLE_HEADER_BYTES, start, packed.end);
  writeTable(texts, buffer, tableStart);
  lastPacked(packed, start);
  return lastIs(buffer, 0, end);
}

let textBuffer: Buffer = Buffer.allocUnsafeSlow(FIRST_BYTES);
/** The longest header of a text. Even, so that code units of two bytes are aligned. */
const TEXT_HEADER_BYTES = 6;

function encodeText(text: string): Readonly<EncodedValue> {
  const wide = isWide(text);
  const end = TEXT_HEADER_BYTES + (wide ? text.length * 2 : text.length);
  const buffer = bufferFor(end);
  writeUnits(text, wide, buffer, TEXT_HEADER_BYTES);
  if (!wide && isAscii(buffer.subarray(TEXT_HEADER_BYTES, end))) {
    const start = TEXT_HEADER_BYTES - 5;
    buffer[start] = STRING_32;
    buffer.writeUInt32BE(text.length, start + 1);
    return lastIs(buffer, start, end);
  }
  const start = TEXT_HEADER_BYTES - MARK_BYTES;
  buffer[start] = MARK;
  buffer[start + 1] = wide ? UTF16_TEXT : LATIN1_TEXT;
  return lastIs(buffer, start, end);
}

/** The buffer of texts, or for many bytes one that is given up afterwards. */
function bufferFor(bytes: number): Buffer {
  if (bytes <= textBuffer.length) return textBuffer;
  let buffer: Buffer;
  try {
    buffer = Buffer.allocUnsafeSlow(bytes);
  } catch (cause) {
    throw tooLarge(cause);
  }
  if (bytes <= KEPT_BYTES_MAX) textBuffer = buffer;
  return buffer;
}

function lastPacked(packed: Packed, start: number): Readonly<EncodedValue> {
  if (packed.length > KEPT_BYTES_MAX) packr.useBuffer(Buffer.allocUnsafeSlow(FIRST_BYTES));
  return lastIs(packed, start, packed.end);
}

function lastIs(buffer: Uint8Array, start: number, end: number): Readonly<EncodedValue> {
  if (buffer.length > KEPT_BYTES_MAX) return { buffer, start, end };
  last.buffer = buffer;
  last.start = start;
  last.end = end;
  return last;
}

/** As `encode`, in bytes of their own. Throws `ERR_VALUE_MEMORY` as well. */
export function encodeCopy(value: unknown): Uint8Array<ArrayBuffer> {
  const { buffer, start, end } = encodeInPlace(value);
  return copyOf(buffer, start, end);
}

/** A private copy of `bytes[start, end)`. Throws `ERR_VALUE_MEMORY`. */
export function copyOf(bytes: Uint8Array, start: number, end: number): Uint8Array<ArrayBuffer> {
  try {
    // Not `Uint8Array.from`, which asks for an iterator first: twice the time for a small value.
    return new Uint8Array(bytes.subarray(start, end));
  } catch (cause) {
    throw noMemory(end - start, cause);
  }
}

/** Whether the system has refused memory for a buffer. */
function isRefusal(thrown: unknown): boolean {
  return thrown instanceof RangeError && thrown.message === "Array buffer allocation failed";
}

function noMemory(bytes: number, cause: unknown): Error {
  return codecError("ERR_VALUE_MEMORY", `the system gives no memory for a value of ${bytes} bytes`, {
    details: { bytes },
    cause,
  });
}

function tooLarge(cause: unknown): Error {
  if (isRefusal(cause)) {
    return codecError("ERR_VALUE_MEMORY", "the system gives no memory to encode the value", { cause });
  }
  return codecError("ERR_VALUE_TOO_LARGE", "the bytes of the value don't fit into a buffer", { cause });
}

// ── what a program has thrown ──────────────────────────────────────────────────────────────────

/** Room to begin with where `bytesMax` is exceeded. */
const ROOM_BYTES_MAX: number = 16 * 1024 * 1024;
/** With less room nothing of an error is left but a part of its message. */
const ROOM_BYTES_MIN = 256;

/**
 * Encodes a thrown value, whatever it is; never throws. A part that can't be sent, or that makes it
 * longer than `bytesMax`, is left out; `details.omitted` of the error tells the paths. Valid as
 * long as the bytes of `encode`.
 */
export function encodeThrownInPlace(thrown: unknown, bytesMax: number = Infinity): Readonly<EncodedValue> {
  try {
    const value = standIn(thrown);
    const whole = isGraph(value) ? encodeNodes(thrownToGraph(value, Infinity)) : encodeInPlace(value);
    if (whole.end - whole.start <= bytesMax) return whole;
  } catch {
    // More than any buffer holds, or an object that throws now and not before: try with less of it.
  }
  return encodeReduced(thrown, bytesMax);
}

function encodeReduced(thrown: unknown, bytesMax: number): Readonly<EncodedValue> {
  const value = standIn(thrown);
  const error = isGraph(value) ? value : withoutStack(String(value));
  for (let room = Math.min(bytesMax, ROOM_BYTES_MAX); room >= ROOM_BYTES_MIN; room /= 2) {
    try {
      const reduced = encodeNodes(thrownToGraph(error, room));
      if (reduced.end - reduced.start <= bytesMax) return reduced;
    } catch {
      // As above.
    }
  }
  return encodeInPlace(withoutStack("an error that can't be sent"));
}

/** As `encodeThrownInPlace`, in bytes of their own. */
export function encodeThrown(thrown: unknown, bytesMax: number = Infinity): Uint8Array<ArrayBuffer> {
  const { buffer, start, end } = encodeThrownInPlace(thrown, bytesMax);
  return new Uint8Array(buffer.subarray(start, end));
}

/** Objects, and symbols of the program's registry: those are the same in every thread. */
function isGraph(thrown: unknown): boolean {
  if (typeof thrown === "symbol") return Symbol.keyFor(thrown) !== undefined;
  return typeof thrown === "object" && thrown !== null;
}

/** An error in place of a value that can't be sent at all; any other value as it is. */
function standIn(thrown: unknown): unknown {
  if (typeof thrown === "symbol") return isGraph(thrown) ? thrown : withoutStack(String(thrown));
  if (typeof thrown === "function") return withoutStack(`a function was thrown: ${thrown.name}`);
  if (typeof thrown !== "object" || thrown === null) return thrown;
  const refusal = refusalOf(thrown);
  return refusal === undefined ? thrown : withoutStack(`${refusal} was thrown`);
}

/** Its stack would lead here. */
function withoutStack(message: string): Error {
  const error: { stack?: string } & Error = new Error(message);
  delete error.stack;
  return error;
}

// ── copying and reading ────────────────────────────────────────────────────────────────────────

/** Up to this many bytes a loop is faster than a view and a call. */
const LOOP_BYTES = 96;

/** Copies `from[start, end)` to `to[offset …)`. */
export function copyBytes(from: Uint8Array, start: number, end: number, to: Uint8Array, offset: number): void {
  if (end - start > LOOP_BYTES) {
    to.set(from.subarray(start, end), offset);
    return;
  }
  for (let index = start; index < end; index += 1) to[offset + index - start] = from[index] as number;
}

/** Room for one value: msgpackr reads much faster from private memory that it has seen before. */
let scratch: Buffer = Buffer.allocUnsafeSlow(FIRST_BYTES);

/**
 * Decodes the value in `bytes[start, end)`, which may be shared memory that changes after the call.
 * The value holds no reference to `bytes`. Throws `ERR_VALUE_CORRUPT`, `ERR_VALUE_MEMORY`.
 */
export function decode(bytes: Uint8Array, start = 0, end: number = bytes.length): unknown {
  const length = end - start;
  try {
    if (length >= LONG_TEXT && bytes[start] === MARK) {
      const form = bytes[start + 1];
      // Long texts are read where they lie.
      const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      if (form === TABLE) return decodeTable(view, start, end);
      if (form === LATIN1_TEXT || form === UTF16_TEXT) {
        return textOfUnits(view, form === UTF16_TEXT, start + MARK_BYTES, end);
      }
    }
    const copy = scratchFor(length);
    copyBytes(bytes, start, end, copy, 0);
    return decodeCopy(copy, length);
  } catch (thrown) {
    if (isMillraceError(thrown)) throw thrown;
    if (isRefusal(thrown)) throw noMemory(length, thrown);
    throw codecError("ERR_VALUE_CORRUPT", `${length} bytes are not an encoded value`, { cause: thrown });
  }
}

function decodeTable(view: Buffer, start: number, end: number): unknown {
  const valueStart = start + TABLE_HEADER_BYTES;
  const valueBytes = view.readUInt32BE(valueStart - 4);
  const tableStart = valueStart + valueBytes;
  if (tableStart > end) throw new RangeError("a part of a value");
  const texts = readTable(view, tableStart, end);
  const copy = scratchFor(valueBytes);
  copyBytes(view, valueStart, tableStart, copy, 0);
  if (copy[0] !== MARK) return withTexts(packr.unpack(copy, valueBytes), texts);
  return fromGraph({ nodes: packr.unpack(copy, { start: 1, end: valueBytes }) as Node[], texts });
}

function scratchFor(length: number): Buffer {
  if (length <= scratch.length) return scratch;
  if (length > KEPT_BYTES_MAX) return Buffer.allocUnsafeSlow(length);
  scratch = Buffer.allocUnsafeSlow(Math.min(length * 2, KEPT_BYTES_MAX));
  return scratch;
}

function decodeCopy(copy: Buffer, length: number): unknown {
  const flatValue = length === 0 ? undefined : decodeFlat(copy, length);
  if (flatValue !== undefined) return flatValue;
  if (copy[0] !== MARK) return packr.unpack(copy, length);
  if (copy[1] === JSON_TEXT) return JSON.parse(copy.toString("utf8", MARK_BYTES, length)) as unknown;
  return fromGraph({ nodes: packr.unpack(copy, { start: 1, end: length }) as Node[], texts: [] });
}

/**
 * Lets go of the buffers that large values have left behind: the decoder's, the encoder's, and what
 * `encode` returned last.
 */
export function shrinkBuffers(): void {
  lastIs(flat, 0, 0);
  if (scratch.length > FIRST_BYTES) scratch = Buffer.allocUnsafeSlow(FIRST_BYTES);
  if (textBuffer.length > FIRST_BYTES) textBuffer = Buffer.allocUnsafeSlow(FIRST_BYTES);
  const packed = packr.pack(0, PACK_MODE) as Packed;
  if (packed.length > FIRST_BYTES) packr.useBuffer(Buffer.allocUnsafeSlow(FIRST_BYTES));
  // The decoder refers to what it has read last.
  packr.unpack(packr.pack(0));
}
