/**
 * The header of a journal record as the intake writes it, and as a handler's context gets it.
 *
 * Journal header, version 1, for a record without terms of its own:
 *
 *   0  u8 version (1)   1  u8 length n of the handler's name   2  the name, UTF-8
 *   2 + n  the publisher's headers, encoded by the codec, if there are any
 *
 * Version 2, for a record with terms: between the name and the headers stand
 *
 *   u16 mask, then for each set bit, in this order:
 *     1   ordered            nothing: the record's key in the journal is the order key
 *     2   idempotency        u8 length, the key; u32 CRC and u32 bytes of the payload
 *     4   producer           u8 length, the id in UTF-8; f64 the producer's sequence
 *     8   not before         f64 ms since 1970
 *     16  expires            f64 ms since 1970
 *     32  keeps its result   nothing
 *     64  trace context      u8 length, the text of trace-context.ts in ASCII; of a replay that of
 *                            the record that it replays
 *     128 replay             f64 the sequence that is replayed
 *     256 scheduled          u8 length, the schedule's name in UTF-8; f64 the due time; f64 missed
 *     512 fingerprint        u32 CRC of the payload, of a record with a producer
 *     1024 steady            f64 ms since 1970 by a clock that nobody sets: when a record with an
 *                            idempotency key was published, where its own time says otherwise
 *
 * A task header never reaches the disk; `TaskHeaderWriter` is its definition.
 */
import { decode, encode } from "@millrace/codec";
import type { Scheduled } from "./schedule.ts";
import { newer, unknownVersion } from "./version.ts";

const PLAIN_VERSION = 1;
const TERMS_VERSION = 2;
/** Of a text whose length is written in one byte. */
const TEXT_BYTES_MAX = 255;
export const IDEMPOTENCY_KEY_BYTES_MAX = 255;
export const PRODUCER_ID_BYTES_MAX = 255;

const ORDERED = 1;
const IDEMPOTENT = 2;
const PRODUCED = 4;
const NOT_BEFORE = 8;
const EXPIRES = 16;
const KEEPS_RESULT = 32;
const TRACED = 64;
const REPLAYED = 128;
const SCHEDULED = 256;
const FINGERPRINT = 512;
const STEADY = 1024;
const KNOWN_MASK = 2047;

/** A publisher's options beyond handler, priority, payload and headers. */
export interface Terms {
  /** Records with the same key, handler and priority run one after the other. */
  readonly isOrdered?: boolean | undefined;
  readonly idempotency?: Idempotency | undefined;
  readonly producer?: ProducerTerm | undefined;
  /** Ms since 1970. */
  readonly notBeforeMs?: number | undefined;
  readonly expiresAtMs?: number | undefined;
  readonly keepsResult?: boolean | undefined;
  /** As `packTrace` makes it. */
  readonly trace?: string | undefined;
  readonly replayOf?: number | undefined;
  readonly scheduled?: Scheduled | undefined;
}

export interface Idempotency {
  readonly key: Uint8Array;
  /** CRC-32 and length of the encoded payload: what the key was first used for. */
  readonly payloadCrc: number;
  readonly payloadBytes: number;
  /**
   * When it was published, ms since 1970, by a clock that nobody sets; undefined where the record's
   * time says the same.
   */
  readonly steadyMs?: number | undefined;
}

export interface ProducerTerm {
  readonly id: string;
  readonly sequence: number;
  /** CRC-32 of the encoded payload: shows later whether the source has changed. */
  readonly payloadCrc?: number | undefined;
}

const NO_TERMS: Terms = Object.freeze({});

/**
 * Where headers are put together: one allocation per header instead of one per field. All terms
 * with their longest texts take less.
 */
const scratch: Buffer = Buffer.allocUnsafeSlow(2048);

/** The header for records to `handler` without terms; the same bytes serve for every record. */
export function encodeHandler(handler: string): Uint8Array {
  const end = writeText(handler, scratch.writeUInt8(PLAIN_VERSION, 0), "handler's name");
  return Buffer.from(scratch.subarray(0, end));
}

/** `handlerHeader` with the publisher's headers behind it. */
export function withHeaders(handlerHeader: Uint8Array, headers: object): Uint8Array {
  return Buffer.concat([handlerHeader, encode(headers)]);
}

/** A header with terms, and with the publisher's headers if there are any. */
export function encodeTerms(handler: string, terms: Terms, headers?: object): Uint8Array {
  const { idempotency, producer, notBeforeMs, expiresAtMs, trace, replayOf, scheduled } = terms;
  let at = scratch.writeUInt8(TERMS_VERSION, 0);
  at = writeText(handler, at, "handler's name");
  at = scratch.writeUInt16LE(maskOf(terms), at);
  if (idempotency !== undefined) {
    at = scratch.writeUInt8(idempotency.key.length, at);
    scratch.set(idempotency.key, at);
    at = scratch.writeUInt32LE(idempotency.payloadCrc >>> 0, at + idempotency.key.length);
    at = scratch.writeUInt32LE(idempotency.payloadBytes, at);
  }
  if (producer !== undefined)
    at = scratch.writeDoubleLE(producer.sequence, writeText(producer.id, at, "producer's id"));
  if (notBeforeMs !== undefined) at = scratch.writeDoubleLE(notBeforeMs, at);
  if (expiresAtMs !== undefined) at = scratch.writeDoubleLE(expiresAtMs, at);
  if (trace !== undefined) at = writeText(trace, at, "trace context", "latin1");
  if (replayOf !== undefined) at = scratch.writeDoubleLE(replayOf, at);
  if (scheduled !== undefined) {
    at = scratch.writeDoubleLE(scheduled.dueMs, writeText(scheduled.name, at, "schedule's name"));
    at = scratch.writeDoubleLE(scheduled.missed, at);
  }
  if (producer?.payloadCrc !== undefined) at = scratch.writeUInt32LE(producer.payloadCrc >>> 0, at);
  if (idempotency?.steadyMs !== undefined) at = scratch.writeDoubleLE(idempotency.steadyMs, at);
  const written = scratch.subarray(0, at);
  return headers === undefined ? Buffer.from(written) : Buffer.concat([written, encode(headers)]);
}

/** A text with its length in a byte before it; where it ends. */
function writeText(text: string, at: number, what: string, encoding: "utf8" | "latin1" = "utf8"): number {
  const bytes = scratch.write(text, at + 1, encoding);
  if (bytes > TEXT_BYTES_MAX) throw new RangeError(`a ${what} has at most ${TEXT_BYTES_MAX} bytes`);
  scratch[at] = bytes;
  return at + 1 + bytes;
}

function maskOf(terms: Terms): number {
  return (
    (terms.isOrdered === true ? ORDERED : 0) |
    (terms.idempotency === undefined ? 0 : IDEMPOTENT) |
    (terms.producer === undefined ? 0 : PRODUCED) |
    (terms.notBeforeMs === undefined ? 0 : NOT_BEFORE) |
    (terms.expiresAtMs === undefined ? 0 : EXPIRES) |
    (terms.keepsResult === true ? KEEPS_RESULT : 0) |
    (terms.trace === undefined ? 0 : TRACED) |
    (terms.replayOf === undefined ? 0 : REPLAYED) |
    (terms.scheduled === undefined ? 0 : SCHEDULED) |
    (terms.producer?.payloadCrc === undefined ? 0 : FINGERPRINT) |
    (terms.idempotency?.steadyMs === undefined ? 0 : STEADY)
  );
}

/**
 * A short text in bytes that was read last: comparing with it costs less than to make a text of the
 * bytes and to look that up.
 */
class LastBytes {
  readonly #bytes = Buffer.allocUnsafeSlow(TEXT_BYTES_MAX);
  #length = -1;

  /** Whether `from[start, end)` are the bytes that were set. */
  isAt(from: Buffer, start: number, end: number): boolean {
    if (end - start !== this.#length) return false;
    const bytes = this.#bytes;
    for (let index = 0; start + index < end; index += 1) if (bytes[index] !== from[start + index]) return false;
    return true;
  }

  /** At most `TEXT_BYTES_MAX` bytes. */
  set(from: Buffer, start: number, end: number): void {
    this.#length = from.copy(this.#bytes, 0, start, end);
  }
}

/**
 * Reads journal headers; remembers the numbers of handlers, since a few names come again and again.
 */
export class HeaderParser {
  readonly #numbers: ReadonlyMap<string, number>;
  /** Names by their bytes in Latin-1, which is a cheap text to look up. */
  readonly #known = new Map<string, number>();
  readonly #names: string[];
  /** The name that was read last, and its number. */
  readonly #last = new LastBytes();
  #lastNumber = 0;

  constructor(handlerNames: readonly string[]) {
    this.#names = [...handlerNames];
    this.#numbers = new Map(handlerNames.map((name, number) => [name, number]));
  }

  /**
   * The handler's number. Names that no handler has now get numbers behind those of the handlers.
   * Throws `ERR_RECORD_UNREADABLE` and `ERR_JOURNAL_VERSION`.
   */
  handler(header: Buffer): number {
    const end = nameEnd(header);
    // Most records go to the handler of the one before.
    if (this.#last.isAt(header, 2, end)) return this.#lastNumber;
    const name = header.toString("latin1", 2, end);
    const known = this.#known.get(name) ?? this.#learn(header, name);
    this.#last.set(header, 2, end);
    this.#lastNumber = known;
    return known;
  }

  /** The number of a name that is read for the first time; `name`: in Latin-1. */
  #learn(header: Buffer, name: string): number {
    const text = handlerName(header);
    let number = this.#numbers.get(text) ?? this.#names.indexOf(text);
    if (number < 0) number = this.#names.push(text) - 1;
    this.#known.set(name, number);
    return number;
  }

  /** The number of a name, known by now or not. */
  numberOf(name: string): number {
    return this.handler(Buffer.from(encodeHandler(name)));
  }

  nameOf(number: number): string {
    return this.#names[number] as string;
  }
}

function nameEnd(header: Buffer): number {
  const version = header[0];
  if (version !== PLAIN_VERSION && version !== TERMS_VERSION) {
    throw unknownVersion("a record's header", version ?? 0, TERMS_VERSION);
  }
  return 2 + (header[1] as number);
}

/** The handler's name in a journal header. */
export function handlerName(header: Buffer): string {
  return header.toString("utf8", 2, nameEnd(header));
}

export interface ParsedTerms extends Terms {
  /** Where the publisher's headers begin. */
  readonly end: number;
}

/** Whether a header has terms; reading them costs more than most records need. */
export function hasTerms(header: Buffer): boolean {
  return header[0] === TERMS_VERSION;
}

/** Whether the publisher of a record with this header asks if it is the first one. */
export function isJudged(header: Buffer): boolean {
  return hasTerms(header) && (header.readUInt16LE(nameEnd(header)) & (IDEMPOTENT | PRODUCED)) !== 0;
}

/** Whether a record with this header has an idempotency key. */
export function isIdempotent(header: Buffer): boolean {
  return hasTerms(header) && (header.readUInt16LE(nameEnd(header)) & IDEMPOTENT) !== 0;
}

/** As `termsOf`, for a record that was judged: without what only its judgement needs. */
export function deliveryTerms(header: Buffer): Terms {
  if (!hasTerms(header)) return NO_TERMS;
  const isJudgedOnly = (header.readUInt16LE(nameEnd(header)) & ~(IDEMPOTENT | PRODUCED | FINGERPRINT | STEADY)) === 0;
  return isJudgedOnly ? NO_TERMS : termsOf(header);
}

function maskIn(header: Buffer, at: number): number {
  const mask = header.readUInt16LE(at);
  if ((mask & ~KNOWN_MASK) !== 0) throw newer(`a record's header has unknown terms: ${mask}`, { mask });
  return mask;
}

/** Where the publisher's headers begin, behind the terms. */
function termsEnd(header: Buffer): number {
  let at = nameEnd(header);
  if (!hasTerms(header)) return at;
  const mask = maskIn(header, at);
  at += 2;
  if ((mask & IDEMPOTENT) !== 0) at += 1 + (header[at] as number) + 8;
  if ((mask & PRODUCED) !== 0) at += 1 + (header[at] as number) + 8;
  if ((mask & NOT_BEFORE) !== 0) at += 8;
  if ((mask & EXPIRES) !== 0) at += 8;
  if ((mask & TRACED) !== 0) at += 1 + (header[at] as number);
  if ((mask & REPLAYED) !== 0) at += 8;
  if ((mask & SCHEDULED) !== 0) at += 1 + (header[at] as number) + 16;
  if ((mask & FINGERPRINT) !== 0) at += 4;
  if ((mask & STEADY) !== 0) at += 8;
  return at;
}

/** The producer's id that was read last. */
const lastIdBytes = new LastBytes();
let lastId = "";

/** The terms that every record of a resumable source has, if it has no others. */
function producerTerms(header: Buffer, at: number): ParsedTerms {
  const idEnd = at + 1 + (header[at] as number);
  const isLast = lastIdBytes.isAt(header, at + 1, idEnd);
  // The same text again needs no new hash when it is looked up.
  const id = isLast ? lastId : header.toString("utf8", at + 1, idEnd);
  if (!isLast) {
    lastIdBytes.set(header, at + 1, idEnd);
    lastId = id;
  }
  const producer = { id, sequence: header.readDoubleLE(idEnd), payloadCrc: header.readUInt32LE(idEnd + 8) };
  return { isOrdered: false, producer, end: idEnd + 12 };
}

/** The terms in a journal header. Throws `ERR_RECORD_UNREADABLE` and `ERR_JOURNAL_VERSION`. */
export function termsOf(header: Buffer): ParsedTerms {
  let at = nameEnd(header);
  if (!hasTerms(header)) return { end: at };
  const mask = maskIn(header, at);
  at += 2;
  if (mask === (PRODUCED | FINGERPRINT)) return producerTerms(header, at);
  const bytes = (): Buffer => {
    const start = at + 1;
    at = start + (header[at] as number);
    return header.subarray(start, at);
  };
  const number = (): number => {
    at += 8;
    return header.readDoubleLE(at - 8);
  };
  let idempotency: Idempotency | undefined;
  if ((mask & IDEMPOTENT) !== 0) {
    const key = bytes();
    idempotency = { key, payloadCrc: header.readUInt32LE(at), payloadBytes: header.readUInt32LE(at + 4) };
    at += 8;
  }
  let producer: ProducerTerm | undefined =
    (mask & PRODUCED) === 0 ? undefined : { id: bytes().toString(), sequence: number() };
  const notBeforeMs = (mask & NOT_BEFORE) === 0 ? undefined : number();
  const expiresAtMs = (mask & EXPIRES) === 0 ? undefined : number();
  const trace = (mask & TRACED) === 0 ? undefined : bytes().toString("latin1");
  const replayOf = (mask & REPLAYED) === 0 ? undefined : number();
  const scheduled =
    (mask & SCHEDULED) === 0 ? undefined : { name: bytes().toString(), dueMs: number(), missed: number() };
  if ((mask & FINGERPRINT) !== 0) {
    if (producer !== undefined) producer = { ...producer, payloadCrc: header.readUInt32LE(at) };
    at += 4;
  }
  if ((mask & STEADY) !== 0) {
    const steadyMs = number();
    if (idempotency !== undefined) idempotency = { ...idempotency, steadyMs };
  }
  return {
    isOrdered: (mask & ORDERED) !== 0,
    idempotency,
    producer,
    notBeforeMs,
    expiresAtMs,
    keepsResult: (mask & KEEPS_RESULT) !== 0,
    trace,
    replayOf,
    scheduled,
    end: at,
  };
}

/** The publisher's headers in a journal header, still encoded; empty without. */
export function encodedHeaders(header: Buffer): Buffer {
  return header.subarray(termsEnd(header));
}

/** The publisher's headers in a journal header; undefined without. */
export function publisherHeaders(header: Buffer): unknown {
  const encoded = encodedHeaders(header);
  return encoded.length === 0 ? undefined : decode(encoded);
}
