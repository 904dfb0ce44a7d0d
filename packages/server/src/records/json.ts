/** JSON out of bytes, as `JSON.parse` reads it: mistakes have a place, and nothing is altered. */
import { isUtf8 } from "node:buffer";
import { INCOMPLETE, JsonText, MISTAKE, spaceEnd, textOf } from "@millrace/codec";
import { serverError } from "../errors.ts";

const text = new JsonText();
/** Of a number in a message. */
const SHOWN_MAX = 40;

function malformed(position: number, problem: string): Error {
  return serverError("ERR_REQUEST_MALFORMED", `at byte ${position}: ${problem}`, { details: { position } });
}

/**
 * The value in `[start, end)`, with spaces around it. Throws `ERR_REQUEST_MALFORMED` whose
 * `details.position` counts from `start`.
 */
export function readJson(bytes: Buffer, start = 0, end: number = bytes.length): unknown {
  const from = spaceEnd(bytes, start, end);
  if (from === end) throw malformed(from - start, "a value is expected, but there is none");
  const to = text.scan(bytes, from, end);
  if (to === MISTAKE) throw malformed(text.at - start, text.problem);
  if (to === INCOMPLETE) throw malformed(end - start, "it ends within a value");
  const behind = spaceEnd(bytes, to, end);
  if (behind !== end) throw malformed(behind - start, "there is more behind the value");
  const [inexactFrom, inexactTo] = text.inexact;
  if (inexactFrom !== undefined && inexactTo !== undefined) {
    const shown = textOf(bytes, inexactFrom, Math.min(inexactTo, inexactFrom + SHOWN_MAX));
    throw malformed(inexactFrom - start, `${shown} would be altered as a number; send it as a text`);
  }
  const value = bytes.subarray(from, to);
  if (!isUtf8(value)) throw malformed(from - start, "it isn't UTF-8");
  return JSON.parse(value.toString("utf8")) as unknown;
}
