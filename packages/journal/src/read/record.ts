/** A record as an object, out of the batch that a cursor walks. */
import { markAsUntransferable } from "node:worker_threads";
import { decode } from "@millrace/codec";
import { alignUp } from "@millrace/shared-memory";
import { RECORD_HEADER_VALUE, RECORD_VALUE } from "../files/format.ts";
import type { RecordCursor } from "../files/records.ts";

/** A record as it was appended. The bytes are copies of its own. */
export interface JournalRecord {
  readonly sequence: number;
  /** The sequence that the record was acknowledged with: another one when it was copied forward. */
  readonly origin: number;
  readonly type: number;
  readonly priority: number;
  /** When it was appended, ms since 1970. */
  readonly timeMs: number;
  readonly header: Buffer;
  readonly key: Buffer;
  readonly payload: Buffer;
  /** The headers as they were given; undefined without. Throws `ERR_VALUE_CORRUPT`. */
  readonly headers: unknown;
  /** The payload as it was appended: the value, or the bytes. Throws `ERR_VALUE_CORRUPT`. */
  readonly value: unknown;
  /** Whether it belongs to one atomic group with the next record. */
  readonly continues: boolean;
  /** Bits of the format: whether payload and header are encoded values. */
  readonly flags: number;
}

const NO_BYTES: Buffer = Buffer.alloc(0);

class Stored implements JournalRecord {
  readonly sequence: number;
  readonly origin: number;
  readonly type: number;
  readonly priority: number;
  readonly timeMs: number;
  readonly header: Buffer;
  readonly key: Buffer;
  readonly payload: Buffer;
  readonly continues: boolean;
  /** RECORD_VALUE, RECORD_HEADER_VALUE. */
  readonly flags: number;

  /** `bytes` begin `shift` bytes into what `cursor` walks, and end with the record. */
  constructor(cursor: RecordCursor, bytes: Buffer, shift: number) {
    const headerStart = cursor.headerStart - shift;
    const keyStart = cursor.keyStart - shift;
    const payloadStart = cursor.payloadStart - shift;
    this.sequence = cursor.sequence;
    this.origin = cursor.origin;
    this.type = cursor.type;
    this.priority = cursor.priority;
    this.timeMs = cursor.timeMs;
    this.header = headerStart === keyStart ? NO_BYTES : bytes.subarray(headerStart, keyStart);
    this.key = keyStart === payloadStart ? NO_BYTES : bytes.subarray(keyStart, payloadStart);
    this.payload = payloadStart === 0 ? bytes : bytes.subarray(payloadStart);
    this.continues = cursor.continues;
    this.flags = cursor.flags;
  }

  get headers(): unknown {
    if (this.header.length === 0) return undefined;
    return (this.flags & RECORD_HEADER_VALUE) === 0 ? this.header : decode(this.header);
  }

  get value(): unknown {
    return (this.flags & RECORD_VALUE) === 0 ? this.payload : decode(this.payload);
  }
}

/** A copy of the record that `cursor` stands on; one copy for all parts. */
export function recordAt(cursor: RecordCursor): JournalRecord {
  const { headerStart, payloadEnd } = cursor;
  const bytes = recordRoom(payloadEnd - headerStart);
  cursor.body.copy(bytes, 0, headerStart, payloadEnd);
  return new Stored(cursor, bytes, headerStart);
}

/** The record that `cursor` stands on, whose bytes nobody else has: they end with the record. */
export function recordIn(cursor: RecordCursor): JournalRecord {
  return new Stored(cursor, cursor.body, 0);
}

/**
 * `Buffer.allocUnsafe` takes what has up to 4 KiB out of a pool of 8 KiB. Records between these
 * sizes come out of a pool of ours: to allocate and collect 4 KiB takes longer than to fill them.
 */
const POOL_BYTES: number = 2 ** 15;
const POOLED_BYTES_LEAST = 2048;
const POOLED_BYTES_MAX = 8192;
let pool: Buffer = NO_BYTES;
let pooled = 0;

/** Memory for a record's bytes, not zeroed. Small ones share an ArrayBuffer, as Node's do. */
export function recordRoom(bytes: number): Buffer {
  if (bytes < POOLED_BYTES_LEAST || bytes > POOLED_BYTES_MAX) return Buffer.allocUnsafe(bytes);
  if (pooled + bytes > pool.length) {
    pool = Buffer.allocUnsafeSlow(POOL_BYTES);
    // To transfer one record's bytes to another thread would take those of its neighbours along.
    markAsUntransferable(pool.buffer);
    pooled = 0;
  }
  const room = pool.subarray(pooled, pooled + bytes);
  pooled += alignUp(bytes, 8);
  return room;
}

/** Bytes of neighbours that are copied at once, where each of them takes some KiB. */
const RUN_BYTES: number = 2 ** 16;

/** Records in order: the same as `recordAt`, with one copy for a run of them. */
export class RecordRun {
  #body: Buffer = NO_BYTES;
  #copy: Buffer = NO_BYTES;
  /** The part of the body that was copied. */
  #from = 0;
  #to = 0;

  at(cursor: RecordCursor): JournalRecord {
    const { body, headerStart, payloadEnd } = cursor;
    const bytes = payloadEnd - headerStart;
    if (bytes < POOLED_BYTES_LEAST || bytes > POOLED_BYTES_MAX) return recordAt(cursor);
    if (body !== this.#body || headerStart < this.#from || payloadEnd > this.#to) {
      this.#body = body;
      this.#from = headerStart;
      this.#to = Math.min(body.length, headerStart + RUN_BYTES);
      this.#copy = Buffer.allocUnsafeSlow(this.#to - headerStart);
      markAsUntransferable(this.#copy.buffer);
      body.copy(this.#copy, 0, headerStart, this.#to);
    }
    const start = headerStart - this.#from;
    return new Stored(cursor, this.#copy.subarray(start, start + bytes), headerStart);
  }
}
