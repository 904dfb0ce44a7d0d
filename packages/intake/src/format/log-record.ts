/**
 * A record of the log, wherever its bytes lie: in a ring, in a batch that was read, or in a copy.
 */
import { RecordCursor } from "@millrace/journal/kernel";

export interface LogRecord {
  /** The place: the sequence of this very record. */
  readonly sequence: number;
  /** The sequence that the record was acknowledged with: another one when it was copied forward. */
  readonly origin: number;
  /** The place that this copy replaces; 0 for a record that was never copied. */
  readonly replaces: number;
  readonly type: number;
  readonly priority: number;
  readonly timeMs: number;
  readonly flags: number;
  readonly continues: boolean;
  header(): Buffer;
  key(): Buffer;
  payload(): Buffer;
}

const NO_BYTES: Buffer = Buffer.alloc(0);

/**
 * A record with bytes of its own, which stay when the ring or the batch goes on. Each view of them
 * is made once: it costs as much as reading what it shows.
 */
export class KeptRecord implements LogRecord {
  readonly sequence: number;
  readonly origin: number;
  readonly replaces: number;
  readonly type: number;
  readonly priority: number;
  readonly timeMs: number;
  readonly flags: number;
  readonly continues: boolean;
  readonly #bytes: Buffer;
  readonly #keyStart: number;
  readonly #payloadStart: number;
  #header: Buffer | undefined;

  constructor(record: LogRecord) {
    this.sequence = record.sequence;
    this.origin = record.origin;
    this.replaces = record.replaces;
    this.type = record.type;
    this.priority = record.priority;
    this.timeMs = record.timeMs;
    this.flags = record.flags;
    this.continues = record.continues;
    if (record instanceof RecordCursor) {
      const parts = record.parts();
      this.#keyStart = record.keyStart - record.headerStart;
      this.#payloadStart = record.payloadStart - record.headerStart;
      this.#bytes = Buffer.allocUnsafe(parts.length);
      this.#bytes.set(parts, 0);
      return;
    }
    const header = record.header();
    const key = record.key();
    this.#keyStart = header.length;
    this.#payloadStart = header.length + key.length;
    this.#bytes = Buffer.concat([header, key, record.payload()]);
  }

  /** The record, if its bytes are its own; otherwise with a copy of them. */
  static of(record: LogRecord): KeptRecord {
    return record instanceof KeptRecord ? record : new KeptRecord(record);
  }

  /** Bytes that it keeps. */
  get bytes(): number {
    return this.#bytes.length;
  }

  header(): Buffer {
    this.#header ??= this.#bytes.subarray(0, this.#keyStart);
    return this.#header;
  }

  key(): Buffer {
    if (this.#keyStart === this.#payloadStart) return NO_BYTES;
    return this.#bytes.subarray(this.#keyStart, this.#payloadStart);
  }

  payload(): Buffer {
    return this.#bytes.subarray(this.#payloadStart);
  }
}
