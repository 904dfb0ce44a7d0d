/** A record as an object, out of the batch that a cursor walks. */
import { decode } from "@millrace/codec";
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

  /** One copy for all parts. */
  constructor(cursor: RecordCursor) {
    const { headerStart, keyStart, payloadStart, payloadEnd } = cursor;
    const bytes = Buffer.allocUnsafe(payloadEnd - headerStart);
    cursor.body.copy(bytes, 0, headerStart, payloadEnd);
    const headerBytes = keyStart - headerStart;
    const keyEnd = payloadStart - headerStart;
    this.sequence = cursor.sequence;
    this.origin = cursor.origin;
    this.type = cursor.type;
    this.priority = cursor.priority;
    this.timeMs = cursor.timeMs;
    this.header = headerBytes === 0 ? NO_BYTES : bytes.subarray(0, headerBytes);
    this.key = keyEnd === headerBytes ? NO_BYTES : bytes.subarray(headerBytes, keyEnd);
    this.payload = keyEnd === 0 ? bytes : bytes.subarray(keyEnd);
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

/** A copy of the record that `cursor` stands on. */
export function recordAt(cursor: RecordCursor): JournalRecord {
  return new Stored(cursor);
}
