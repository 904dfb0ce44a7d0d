/** One JSON value as a record: checked, and with its large numbers as they were asked for. */
import { randomBytes } from "node:crypto";
import type { Carry } from "./carry.ts";
import { JsonText, MISTAKE, textOf } from "@millrace/codec";
import type { BigNumbers, RecordSink } from "./splitter.ts";

const ENCODING_HINT = "; --encoding names another encoding";
const NUMBERS_HINT = "--big-numbers keeps it";

/** The fault of a record, and its place in the bytes. */
export interface Mistake {
  readonly at: number;
  readonly problem: string;
}

export class JsonRecords {
  readonly text: JsonText = new JsonText();
  readonly #carry: Carry;
  readonly #sink: RecordSink;
  readonly #bigNumbers: BigNumbers;

  constructor(carry: Carry, sink: RecordSink, bigNumbers: BigNumbers) {
    this.#carry = carry;
    this.#sink = sink;
    this.#bigNumbers = bigNumbers;
  }

  /** The mistake that `scan` has found. */
  mistake(result: number, end: number): Mistake {
    if (result === MISTAKE) return { at: this.text.at, problem: this.text.problem };
    return { at: end, problem: "it ends within a value" };
  }

  /**
   * Hands on the value that `scan` has found in `[start, end)`, unless it isn't UTF-8 or would be
   * altered.
   */
  accept(number: number, start: number, end: number): Mistake | undefined {
    const { bytes } = this.#carry;
    const invalid = this.#carry.firstInvalid(start, end);
    if (invalid >= 0) return notUtf8(bytes, invalid);
    const place = (): ReturnType<Carry["placeAt"]> => this.#carry.placeAt(start);
    const { inexact } = this.text;
    if (inexact.length === 0) {
      this.#sink.record(number, bytes, start, end, place);
      return undefined;
    }
    const wrong = this.#firstRefused(bytes);
    if (wrong !== undefined) return wrong;
    if (this.#bigNumbers === "bigint") {
      this.#sink.value(number, withBigInts(quoted(bytes, start, end, inexact, MARK)), place);
    } else {
      const text = Buffer.from(quoted(bytes, start, end, inexact, ""));
      this.#sink.record(number, text, 0, text.length, place);
    }
    return undefined;
  }

  #firstRefused(bytes: Buffer): Mistake | undefined {
    const { inexact } = this.text;
    if (this.#bigNumbers === "text") return undefined;
    for (let index = 0; index < inexact.length; index += 2) {
      const [from, to] = [inexact[index] as number, inexact[index + 1] as number];
      const text = textOf(bytes, from, to);
      if (this.#bigNumbers === "bigint" && /^-?\d+$/.test(text)) continue;
      return { at: from, problem: `${shortened(text)} would be altered as a number; ${NUMBERS_HINT}` };
    }
    return undefined;
  }
}

export function notUtf8(bytes: Buffer, at: number): Mistake {
  const byte = (bytes[at] as number).toString(16).padStart(2, "0").toUpperCase();
  return { at, problem: `the byte 0x${byte} isn't UTF-8${ENCODING_HINT}` };
}

function shortened(text: string): string {
  return text.length <= 40 ? text : `${text.slice(0, 37)}…`;
}

/** The JSON text with these numbers as texts that begin with `mark`. */
function quoted(bytes: Buffer, start: number, end: number, numbers: readonly number[], mark: string): string {
  let text = "";
  let done = start;
  for (let index = 0; index < numbers.length; index += 2) {
    const [from, to] = [numbers[index] as number, numbers[index + 1] as number];
    text += `${bytes.toString("utf8", done, from)}"${mark}${bytes.toString("latin1", from, to)}"`;
    done = to;
  }
  return text + bytes.toString("utf8", done, end);
}

/** No input knows it. */
const MARK: string = randomBytes(16).toString("hex");

function withBigInts(text: string): unknown {
  return JSON.parse(text, (_key, value: unknown) => {
    return typeof value === "string" && value.startsWith(MARK) ? BigInt(value.slice(MARK.length)) : value;
  }) as unknown;
}
