/** Passes over a JSON value that isn't to be read, or can't be: by its brackets and texts alone. */

/** The bytes end within the value. */
export const INSIDE = -2;
/** The brackets don't fit. */
const MISFIT = -1;

const QUOTE = 0x22;
const COMMA = 0x2c;
const BACKSLASH = 0x5c;
const NEWLINE = 0x0a;
/** The code of a closing bracket is two behind that of the opening one. */
const CLOSES = 2;

export class JsonSkip {
  /** The closing brackets of the open ones. */
  readonly #closing: number[] = [];
  #isText = false;
  #isEscaped = false;

  /**
   * Takes the next bytes; returns the position of the comma or bracket behind the value, `INSIDE`
   * or `MISFIT`.
   */
  feed(bytes: Uint8Array, from: number, end: number): number {
    for (let at = from; at < end; at += 1) {
      const byte = bytes[at] as number;
      if (this.#isText) {
        // No text goes over a line end: the quote was a stray one.
        if (byte === NEWLINE) return MISFIT;
        if (this.#isEscaped) this.#isEscaped = false;
        else if (byte === BACKSLASH) this.#isEscaped = true;
        else if (byte === QUOTE) this.#isText = false;
      } else if (byte === QUOTE) this.#isText = true;
      else if (byte === 0x5b || byte === 0x7b) this.#closing.push(byte + CLOSES);
      else if (byte === 0x5d || byte === 0x7d) {
        if (this.#closing.length === 0) return byte === 0x5d ? at : MISFIT;
        if (this.#closing.pop() !== byte) return MISFIT;
      } else if (byte === COMMA && this.#closing.length === 0) return at;
    }
    return INSIDE;
  }
}
