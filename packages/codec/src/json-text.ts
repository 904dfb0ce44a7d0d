/**
 * Reads over one JSON value in bytes: where it ends, whether it is JSON, and whether a double holds
 * each of its numbers.
 *
 * It builds nothing: another thread, which handles the record, parses it. This thread only has to
 * know that the parse will succeed and alter nothing. It takes what `JSON.parse` takes
 * (test/cli/ingest-formats.test.ts compares them), but no values nested deeper than `DEPTH_MAX`.
 * The bytes are UTF-8 already.
 */

/** Values may be nested so deep; others recurse over what we let through. */
export const DEPTH_MAX = 1000;

/** Results of `scan` instead of an end. */
export const MISTAKE = -1;
export const INCOMPLETE = -2;

/** A double keeps every number of at most this many digits. */
const DIGITS_SAFE = 15;

const QUOTE = 0x22;
const COMMA = 0x2c;
const MINUS = 0x2d;
const PLUS = 0x2b;
const DOT = 0x2e;
const ZERO = 0x30;
const NINE = 0x39;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

const TRUE = Buffer.from("true");
const FALSE = Buffer.from("false");
const NULL = Buffer.from("null");

function isJsonSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

export class JsonText {
  /** Where the mistake is, and what it is; after `MISTAKE`. */
  at = 0;
  problem = "";
  /** Starts and ends of numbers that a double doesn't hold; after an end. */
  readonly inexact: number[] = [];
  readonly #isObject = new Uint8Array(DEPTH_MAX);

  /**
   * Reads the value that begins at `from`, at the latest up to `end`. Returns where it ends,
   * `MISTAKE`, or `INCOMPLETE` when the bytes end within it. A number may go on behind `end`.
   */
  scan(bytes: Uint8Array, from: number, end: number): number {
    this.inexact.length = 0;
    let depth = 0;
    let at = from;
    // Ends: each turn reads one value, or opens one.
    for (;;) {
      at = spaceEnd(bytes, at, end);
      if (at >= end) return INCOMPLETE;
      const byte = bytes[at] as number;
      if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) {
        if (depth === DEPTH_MAX) return this.#mistake(at, `values are nested deeper than ${DEPTH_MAX}`);
        const isObject = byte === OPEN_OBJECT;
        this.#isObject[depth] = isObject ? 1 : 0;
        depth += 1;
        at = spaceEnd(bytes, at + 1, end);
        if (at >= end) return INCOMPLETE;
        if (bytes[at] === (isObject ? CLOSE_OBJECT : CLOSE_ARRAY)) {
          depth -= 1;
          at += 1;
        } else if (!isObject) continue;
        else {
          at = this.#key(bytes, at, end);
          if (at < 0) return at;
          continue;
        }
      } else {
        at = this.#scalar(bytes, at, end, byte);
        if (at < 0) return at;
      }
      // Behind a value: what closes, until another value follows.
      for (;;) {
        if (depth === 0) return at;
        at = spaceEnd(bytes, at, end);
        if (at >= end) return INCOMPLETE;
        const next = bytes[at] as number;
        const isObject = this.#isObject[depth - 1] === 1;
        if (next === COMMA) {
          at += 1;
          if (!isObject) break;
          at = this.#key(bytes, at, end);
          if (at < 0) return at;
          break;
        }
        if (next !== (isObject ? CLOSE_OBJECT : CLOSE_ARRAY)) {
          return this.#unexpected(bytes, at, isObject ? '"," or "}"' : '"," or "]"');
        }
        depth -= 1;
        at += 1;
      }
    }
  }

  /** A key with its colon. */
  #key(bytes: Uint8Array, from: number, end: number): number {
    let at = spaceEnd(bytes, from, end);
    if (at >= end) return INCOMPLETE;
    if (bytes[at] !== QUOTE) return this.#unexpected(bytes, at, "a key in double quotes");
    at = this.#text(bytes, at + 1, end);
    if (at < 0) return at;
    at = spaceEnd(bytes, at, end);
    if (at >= end) return INCOMPLETE;
    return bytes[at] === COLON ? at + 1 : this.#unexpected(bytes, at, '":"');
  }

  #scalar(bytes: Uint8Array, at: number, end: number, byte: number): number {
    if (byte === QUOTE) return this.#text(bytes, at + 1, end);
    if (byte === MINUS || (byte >= ZERO && byte <= NINE)) return this.#number(bytes, at, end);
    if (byte === TRUE[0]) return this.#word(bytes, at, end, TRUE);
    if (byte === FALSE[0]) return this.#word(bytes, at, end, FALSE);
    if (byte === NULL[0]) return this.#word(bytes, at, end, NULL);
    return this.#unexpected(bytes, at, "a value");
  }

  #word(bytes: Uint8Array, from: number, end: number, word: Uint8Array): number {
    for (let index = 0; index < word.length; index += 1) {
      const at = from + index;
      if (at >= end) return INCOMPLETE;
      if (bytes[at] !== word[index]) return this.#unexpected(bytes, at, "a value");
    }
    return from + word.length;
  }

  /** Behind the opening quote. */
  #text(bytes: Uint8Array, from: number, end: number): number {
    for (let at = from; at < end; at += 1) {
      const byte = bytes[at] as number;
      if (byte === QUOTE) return at + 1;
      if (byte < 0x20) return this.#mistake(at, `a text has the control character ${hex(byte)}`);
      if (byte !== BACKSLASH) continue;
      at += 1;
      if (at >= end) return INCOMPLETE;
      const escaped = bytes[at] as number;
      if (escaped === 0x75) {
        for (let digit = 0; digit < 4; digit += 1) {
          at += 1;
          if (at >= end) return INCOMPLETE;
          if (!isHexDigit(bytes[at] as number)) return this.#unexpected(bytes, at, "a hexadecimal digit");
        }
      } else if (!ESCAPES.has(escaped)) return this.#mistake(at, `no escape sequence: \\${shown(escaped)}`);
    }
    return INCOMPLETE;
  }

  #number(bytes: Uint8Array, from: number, end: number): number {
    let at = from;
    if (bytes[at] === MINUS) at += 1;
    if (at >= end) return INCOMPLETE;
    const first = bytes[at] as number;
    if (!(first >= ZERO && first <= NINE)) return this.#unexpected(bytes, at, "a digit");
    at += 1;
    if (first !== ZERO) at = digitsEnd(bytes, at, end);
    let isInteger = true;
    if (at < end && bytes[at] === DOT) {
      isInteger = false;
      const digits = at + 1;
      at = digitsEnd(bytes, digits, end);
      if (at === digits) return at >= end ? INCOMPLETE : this.#unexpected(bytes, at, "a digit");
    }
    const hasExponent = at < end && ((bytes[at] as number) | 0x20) === 0x65;
    if (hasExponent) {
      at += 1;
      if (at < end && (bytes[at] === PLUS || bytes[at] === MINUS)) at += 1;
      const digits = at;
      at = digitsEnd(bytes, digits, end);
      if (at === digits) return at >= end ? INCOMPLETE : this.#unexpected(bytes, at, "a digit");
    }
    if ((at - from > DIGITS_SAFE || hasExponent) && !isExact(textOf(bytes, from, at), isInteger && !hasExponent)) {
      this.inexact.push(from, at);
    }
    return at;
  }

  #unexpected(bytes: Uint8Array, at: number, wanted: string): number {
    return this.#mistake(at, `${wanted} is expected, not ${shown(bytes[at] as number)}`);
  }

  #mistake(at: number, problem: string): number {
    this.at = at;
    this.problem = problem;
    return MISTAKE;
  }
}

const ESCAPES: ReadonlySet<number> = new Set(Buffer.from('"\\/bfnrt'));

export function spaceEnd(bytes: Uint8Array, from: number, end: number): number {
  let at = from;
  while (at < end && isJsonSpace(bytes[at])) at += 1;
  return at;
}

function digitsEnd(bytes: Uint8Array, from: number, end: number): number {
  let at = from;
  while (at < end && (bytes[at] as number) >= ZERO && (bytes[at] as number) <= NINE) at += 1;
  return at;
}

function isHexDigit(byte: number): boolean {
  return (byte >= ZERO && byte <= NINE) || ((byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x66);
}

/** A byte as a message has it. */
export function shown(byte: number): string {
  return byte > 0x20 && byte < 0x7f ? `"${String.fromCharCode(byte)}"` : `the byte ${hex(byte)}`;
}

function hex(byte: number): string {
  return `0x${byte.toString(16).padStart(2, "0").toUpperCase()}`;
}

export function textOf(bytes: Uint8Array, from: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + from, end - from).toString("latin1");
}

/**
 * Whether a double holds the number as it is written. A whole number must be one that doubles hold
 * with its neighbours. Any other must come back from the double with as many digits as it has.
 */
export function isExact(text: string, isInteger: boolean): boolean {
  const value = Number(text);
  if (isInteger) return Number.isSafeInteger(value);
  // In most cases a number that another program has written from a double comes back unchanged.
  if (String(value) === text) return true;
  if (!Number.isFinite(value)) return false;
  const { digits, exponent } = decimal(text);
  if (digits === "") return true;
  if (digits.length > PRECISION_MAX || value === 0) return false;
  const held = decimal(Math.abs(value) > Number.MAX_SAFE_INTEGER ? String(value) : value.toPrecision(digits.length));
  return held.digits === digits && held.exponent === exponent;
}

/**
 * The most that `toPrecision` takes. No double needs as many digits to be told from its neighbours.
 */
const PRECISION_MAX = 100;

/** The digits without zeros at both ends, and the power of ten of the point before them. */
function decimal(text: string): { readonly digits: string; readonly exponent: number } {
  const [mantissa = "", power = "0"] = text.replace(/^-/, "").toLowerCase().split("e");
  const [whole = "", fraction = ""] = mantissa.split(".");
  const all = whole + fraction;
  const leading = all.length - all.replace(/^0+/, "").length;
  return { digits: all.slice(leading).replace(/0+$/, ""), exponent: Number(power) + whole.length - leading };
}
