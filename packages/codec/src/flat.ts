/**
 * A short cut for the most frequent values: *flat* objects, with few members that are numbers,
 * booleans, null or short text.
 *
 * The bytes are ordinary MessagePack, which msgpackr reads as well. The way there is shorter: one
 * pass decides and writes, where isPlain and msgpackr make two; a table of known keys saves
 * decoding them (docs/adr/0012-flat-objects.md). Writer and reader give up at the first part that
 * they don't know, and the value goes the long way.
 *
 *   0x80 | members, then per member a key and a value:
 *   key      0xA0 | length, ASCII
 *   value    0x00–0x7F  the number itself
 *            0xD2       32-bit integer, big-endian
 *            0xCB       64-bit float, big-endian
 *            0xA0 | length, ASCII
 *            0xC0 null, 0xC2 false, 0xC3 true
 */
/** The most members that the first byte of a MessagePack map can count. */
const MEMBERS_MAX = 15;
/**
 * The longest text that the first byte of a string can count. A loop over that few characters is
 * faster than a call that leaves JavaScript.
 */
const TEXT_MAX = 31;
const ASCII_MAX = 0x7f;

const MAP = 0x80;
const TEXT = 0xa0;
const NULL = 0xc0;
const FALSE = 0xc2;
const TRUE = 0xc3;
const FLOAT_64 = 0xcb;
const INT_32 = 0xd2;

/** Longest encoding: every key and every value a text of full length. */
export const FLAT_BYTES_MAX: number = 1 + MEMBERS_MAX * 2 * (1 + TEXT_MAX);

/** The value isn't flat. No encoding has this length. */
export const NOT_FLAT = -1;

const float = new DataView(new ArrayBuffer(8));

/**
 * Calls of `encodeFlat`: a getter among the members may encode something itself, into the same
 * bytes.
 */
let calls = 0;

/**
 * Writes a flat object to the start of `into`, which has `FLAT_BYTES_MAX` bytes, and returns the
 * length, or `NOT_FLAT`.
 */
export function encodeFlat(value: object, into: Uint8Array): number {
  if (Object.getPrototypeOf(value) !== Object.prototype || Array.isArray(value)) return NOT_FLAT;
  calls += 1;
  const call = calls;
  let members = 0;
  let at = 1;
  for (const key in value) {
    if (members === MEMBERS_MAX || isSpecial(key) || !Object.hasOwn(value, key)) return NOT_FLAT;
    members += 1;
    at = writeText(key, into, at);
    if (at === NOT_FLAT) return NOT_FLAT;
    at = writeMember((value as Record<string, unknown>)[key], into, at);
    if (at === NOT_FLAT) return NOT_FLAT;
  }
  into[0] = MAP | members;
  return call === calls ? at : NOT_FLAT;
}

/** Keys that msgpackr treats specially. */
function isSpecial(key: string): boolean {
  return key === "__proto__" || key === "constructor";
}

function writeMember(member: unknown, into: Uint8Array, at: number): number {
  switch (typeof member) {
    case "number":
      return writeNumber(member, into, at);
    case "string":
      return writeText(member, into, at);
    case "boolean":
      into[at] = member ? TRUE : FALSE;
      return at + 1;
    default:
      if (member !== null) return NOT_FLAT;
      into[at] = NULL;
      return at + 1;
  }
}

function writeText(text: string, into: Uint8Array, at: number): number {
  const { length } = text;
  if (length > TEXT_MAX) return NOT_FLAT;
  into[at] = TEXT | length;
  for (let index = 0; index < length; index += 1) {
    const unit = text.charCodeAt(index);
    if (unit > ASCII_MAX) return NOT_FLAT;
    into[at + 1 + index] = unit;
  }
  return at + 1 + length;
}

function writeNumber(number: number, into: Uint8Array, at: number): number {
  const integer = number | 0;
  if (integer !== number) {
    float.setFloat64(0, number);
    into[at] = FLOAT_64;
    writeWord(float.getInt32(0), into, at + 1);
    writeWord(float.getInt32(4), into, at + 5);
    return at + 9;
  }
  if (integer === 0 && Object.is(number, -0)) return NOT_FLAT;
  if (integer >= 0 && integer < MAP) {
    into[at] = integer;
    return at + 1;
  }
  into[at] = INT_32;
  writeWord(integer, into, at + 1);
  return at + 5;
}

function writeWord(word: number, into: Uint8Array, at: number): void {
  into[at] = word >> 24;
  into[at + 1] = word >> 16;
  into[at + 2] = word >> 8;
  into[at + 3] = word;
}

// ── reading ─────────────────────────────────────────────────────────────────────────────────────

/** Keys read lately, by a hash of their bytes. A power of two. */
const KEYS = 1024;
const keys: string[] = new Array<string>(KEYS).fill("");

/** How far `readMember` has read. */
let position = 0;

/** Stands for a member that isn't flat. */
const UNKNOWN: unique symbol = Symbol("unknown");

/**
 * The flat object in `bytes[0, end)`; undefined when the bytes are another value or have another
 * form than `encodeFlat` gives. `bytes` mustn't change meanwhile.
 */
export function decodeFlat(bytes: Buffer, end: number): object | undefined {
  const first = bytes[0] as number;
  if (first >> 4 !== MAP >> 4) return undefined;
  const value: Record<string, unknown> = {};
  position = 1;
  for (let members = first & MEMBERS_MAX; members > 0; members -= 1) {
    const key = readKey(bytes, end);
    if (key === undefined) return undefined;
    const member = readMember(bytes, end);
    if (member === UNKNOWN) return undefined;
    value[key] = member;
  }
  return position === end ? value : undefined;
}

function readKey(bytes: Buffer, end: number): string | undefined {
  const start = position + 1;
  const length = lengthOfText(bytes, end);
  if (length < 0) return undefined;
  let hash = length;
  for (let at = start; at < position; at += 1) hash = (Math.imul(hash, 31) + (bytes[at] as number)) | 0;
  const place = (hash ^ (hash >>> 10)) & (KEYS - 1);
  const known = keys[place] as string;
  if (isText(known, bytes, start, length)) return known;
  const key = textOf(bytes, start, length);
  // A key that every object has can be more than data: `__proto__`, and setters that a program
  // added.
  if (key === undefined || key in Object.prototype) return undefined;
  keys[place] = asPropertyName(key);
  return key;
}

/** The text as V8 interns it for property names; any other copy costs a look-up at each use. */
function asPropertyName(key: string): string {
  return Object.keys({ [key]: 0 })[0] as string;
}

/** Steps over a text and returns its length, or -1 when there is none or only a part of one. */
function lengthOfText(bytes: Buffer, end: number): number {
  if (position >= end) return -1;
  const first = bytes[position] as number;
  if (first >> 5 !== TEXT >> 5) return -1;
  const length = first & TEXT_MAX;
  position += 1 + length;
  return position <= end ? length : -1;
}

function isText(text: string, bytes: Buffer, start: number, length: number): boolean {
  if (text.length !== length) return false;
  for (let index = 0; index < length; index += 1) {
    if (text.charCodeAt(index) !== bytes[start + index]) return false;
  }
  return true;
}

/** The text; undefined when it isn't ASCII. */
function textOf(bytes: Buffer, start: number, length: number): string | undefined {
  for (let at = start; at < start + length; at += 1) {
    if ((bytes[at] as number) > ASCII_MAX) return undefined;
  }
  const end = start + length;
  if (length > LOOP_MAX) return bytes.toString("latin1", start, end);
  let text = "";
  let at = start;
  for (; at + 4 <= end; at += 4) {
    text += String.fromCharCode(
      bytes[at] as number,
      bytes[at + 1] as number,
      bytes[at + 2] as number,
      bytes[at + 3] as number,
    );
  }
  for (; at < end; at += 1) text += String.fromCharCode(bytes[at] as number);
  return text;
}

/**
 * Up to this many characters, adding four at a time is faster than a call that leaves JavaScript.
 */
const LOOP_MAX = 14;

function readMember(bytes: Buffer, end: number): unknown {
  if (position >= end) return UNKNOWN;
  const first = bytes[position] as number;
  if (first < MAP) {
    position += 1;
    return first;
  }
  switch (first) {
    case NULL:
      position += 1;
      return null;
    case FALSE:
      position += 1;
      return false;
    case TRUE:
      position += 1;
      return true;
    case INT_32:
      position += 5;
      return position <= end ? readWord(bytes, position - 4) : UNKNOWN;
    case FLOAT_64:
      position += 9;
      if (position > end) return UNKNOWN;
      float.setInt32(0, readWord(bytes, position - 8));
      float.setInt32(4, readWord(bytes, position - 4));
      return float.getFloat64(0);
    default: {
      const start = position + 1;
      const length = lengthOfText(bytes, end);
      return length < 0 ? UNKNOWN : (textOf(bytes, start, length) ?? UNKNOWN);
    }
  }
}

function readWord(bytes: Buffer, at: number): number {
  return (
    ((bytes[at] as number) << 24) |
    ((bytes[at + 1] as number) << 16) |
    ((bytes[at + 2] as number) << 8) |
    (bytes[at + 3] as number)
  );
}
