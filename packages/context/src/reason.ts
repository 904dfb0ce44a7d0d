/**
 * Why a context was cancelled, as words in its place in shared memory, for the other threads.
 *
 * There is room for REASON_WORDS. Parts that don't fit are left out, first the details, then the
 * end of the message, and the message says so. Stacks don't travel: they would fill the room. They
 * would show the canceller, which the message ought to name.
 */
import { isMillraceError, MillraceError } from "@millrace/base";
import { REASON_WORDS } from "@millrace/atomics-sync/kernel";
import { decode, encode } from "@millrace/codec";

/**
 * Name, message, code, cure, details; a code without a cure is somebody else's error with a code.
 */
type Parts = [name: string, message: Text, code: string | undefined, cure: string | undefined, details: unknown];

/** Text; a message that had to be cut as UTF-8, which takes less room than the codec's forms. */
type Text = string | Uint8Array;

/** The bytes in whole words, behind a word that says how many bytes they are. */
const ROOM_BYTES: number = (REASON_WORDS - 1) * Int32Array.BYTES_PER_ELEMENT;

export function reasonToWords(reason: Error): Int32Array {
  const bytes = fitting(partsOf(reason));
  const words = new Int32Array(1 + Math.ceil(bytes.length / Int32Array.BYTES_PER_ELEMENT));
  words[0] = bytes.length;
  new Uint8Array(words.buffer).set(bytes, Int32Array.BYTES_PER_ELEMENT);
  return words;
}

export function reasonFromWords(words: Int32Array): Error {
  const start = Int32Array.BYTES_PER_ELEMENT;
  const parts = decode(new Uint8Array(words.buffer), start, start + (words[0] as number)) as Parts;
  const [name, text, code, cure, details] = parts;
  const message = typeof text === "string" ? text : Buffer.from(text).toString();
  if (code !== undefined && cure !== undefined) {
    return new MillraceError(code, message, cure, { details: details as Record<string, unknown> });
  }
  const error = new Error(message);
  if (error.name !== name) Object.defineProperty(error, "name", { value: name, configurable: true, writable: true });
  return code === undefined ? error : Object.assign(error, { code });
}

function partsOf(reason: Error): Parts {
  if (isMillraceError(reason)) return [reason.name, reason.message, reason.code, reason.cure, reason.details];
  const { code } = reason as { code?: unknown };
  return [reason.name, reason.message, typeof code === "string" ? code : undefined, undefined, undefined];
}

function fitting(parts: Parts): Uint8Array {
  const whole = encoded(parts);
  if (whole !== undefined && whole.length <= ROOM_BYTES) return whole;
  const [name, , code, cure, details] = parts;
  const message = parts[1] as string;
  const rest: Parts = [name.slice(0, 40), "", code?.slice(0, 40), cure?.slice(0, 100), undefined];
  // Characters take at most 3 bytes of UTF-8 per code unit.
  for (let length = message.length; ; length = Math.min(length - 1, Math.floor(length * 0.9))) {
    const cut = length === message.length ? message : `${message.slice(0, length)}… (${message.length} characters)`;
    const isWithout = details !== undefined && code !== undefined;
    rest[1] = Buffer.from(isWithout ? `${cut} (its details were left out)` : cut);
    const bytes = encode(rest);
    if (bytes.length <= ROOM_BYTES) return bytes;
  }
}

/** Undefined when the details can't travel. */
function encoded(parts: Parts): Uint8Array | undefined {
  try {
    return encode(parts);
  } catch (thrown) {
    if (isMillraceError(thrown, "ERR_VALUE_UNSUPPORTED")) return undefined;
    throw thrown;
  }
}
