/**
 * What the intake writes into the header of a journal record, and what it hands to a handler's context.
 *
 * Journal header: u8 version (1), u8 length of the handler's name, the name in UTF-8, then the publisher's headers, encoded by the
 * codec, if there are any.
 *
 * Task header (never on disk): f64 sequence, f64 time of publishing, f64 attempt, then the same encoded headers.
 */
import { decode, encode } from "@millrace/codec";
import { intakeError } from "./errors.ts";

const VERSION = 1;
const NAME_BYTES_MAX = 255;
const TASK_FIXED_BYTES = 24;

/** The header for records to `handler` without headers of the publisher; the same bytes serve for every record. */
export function encodeHandler(handler: string): Uint8Array {
  const name = Buffer.from(handler);
  if (name.length > NAME_BYTES_MAX) throw new RangeError(`a handler's name has at most ${NAME_BYTES_MAX} bytes`);
  return Buffer.concat([Buffer.of(VERSION, name.length), name]);
}

/** `handlerHeader` with the publisher's headers behind it. */
export function withHeaders(handlerHeader: Uint8Array, headers: object): Uint8Array {
  return Buffer.concat([handlerHeader, encode(headers)]);
}

/** Reads journal headers; remembers the numbers of handlers, since the same few names come again and again. */
export class HeaderParser {
  readonly #numbers: ReadonlyMap<string, number>;
  /** Names by their bytes in Latin-1, which is a cheap text to look up. */
  readonly #known = new Map<string, number>();

  constructor(handlerNames: readonly string[]) {
    this.#numbers = new Map(handlerNames.map((name, number) => [name, number]));
  }

  /** The handler's number; -1 when no handler has that name now. Throws `ERR_RECORD_UNREADABLE`. */
  handler(header: Buffer): number {
    const name = header.toString("latin1", 2, headersStart(header));
    const known = this.#known.get(name);
    if (known !== undefined) return known;
    const number = this.#numbers.get(handlerName(header)) ?? -1;
    this.#known.set(name, number);
    return number;
  }
}

/** The handler's name in a journal header. */
export function handlerName(header: Buffer): string {
  return header.toString("utf8", 2, headersStart(header));
}

/** The publisher's headers in a journal header, still encoded; empty without. */
export function encodedHeaders(header: Buffer): Buffer {
  return header.subarray(headersStart(header));
}

/** The publisher's headers in a journal header; undefined without. */
export function publisherHeaders(header: Buffer): unknown {
  const encoded = encodedHeaders(header);
  return encoded.length === 0 ? undefined : decode(encoded);
}

function headersStart(header: Buffer): number {
  if (header[0] !== VERSION) {
    throw intakeError("ERR_RECORD_UNREADABLE", `a record's header has version ${header[0]}; known is ${VERSION}`);
  }
  return 2 + (header[1] as number);
}

/** Writes task headers into one buffer that is used again for each. */
export class TaskHeaderWriter {
  #bytes: Buffer = Buffer.alloc(256);

  write(sequence: number, timeMs: number, attempt: number, headers: Uint8Array): Uint8Array {
    const length = TASK_FIXED_BYTES + headers.length;
    if (length > this.#bytes.length) this.#bytes = Buffer.alloc(length * 2);
    this.#bytes.writeDoubleLE(sequence, 0);
    this.#bytes.writeDoubleLE(timeMs, 8);
    this.#bytes.writeDoubleLE(attempt, 16);
    this.#bytes.set(headers, TASK_FIXED_BYTES);
    return this.#bytes.subarray(0, length);
  }
}

/** The publisher's headers in a task header, still encoded. */
export function encodedHeadersOfTask(taskHeader: Uint8Array): Uint8Array {
  return taskHeader.subarray(TASK_FIXED_BYTES);
}

/** What a handler learns about the record that it handles: `context.record`. */
export interface DeliveredRecord {
  /** The record's place in the journal: unique, the same at every delivery. */
  readonly sequence: number;
  readonly publishedAtMs: number;
  /** 1 for the first delivery since the process started. */
  readonly attempt: number;
  /** What the publisher passed as `headers`. */
  readonly headers: unknown;
}

/** Reads a task header; the scheduler's machines load this module for it. */
export function readHeader(bytes: Uint8Array): DeliveredRecord {
  const header = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  return {
    sequence: header.readDoubleLE(0),
    publishedAtMs: header.readDoubleLE(8),
    attempt: header.readDoubleLE(16),
    headers: header.length === TASK_FIXED_BYTES ? undefined : decode(header, TASK_FIXED_BYTES),
  };
}
