/**
 * A record of the log, wherever its bytes lie: in a ring, in a batch that was read, or in a copy.
 */
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

/** A record with bytes of its own, which stay when the ring or the batch goes on. */
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

  constructor(record: LogRecord) {
    this.sequence = record.sequence;
    this.origin = record.origin;
    this.replaces = record.replaces;
    this.type = record.type;
    this.priority = record.priority;
    this.timeMs = record.timeMs;
    this.flags = record.flags;
    this.continues = record.continues;
    const header = record.header();
    const key = record.key();
    const payload = record.payload();
    this.#keyStart = header.length;
    this.#payloadStart = header.length + key.length;
    this.#bytes = Buffer.allocUnsafe(this.#payloadStart + payload.length);
    this.#bytes.set(header, 0);
    this.#bytes.set(key, this.#keyStart);
    this.#bytes.set(payload, this.#payloadStart);
  }

  /** Bytes that it keeps. */
  get bytes(): number {
    return this.#bytes.length;
  }

  header(): Buffer {
    return this.#bytes.subarray(0, this.#keyStart);
  }

  key(): Buffer {
    return this.#bytes.subarray(this.#keyStart, this.#payloadStart);
  }

  payload(): Buffer {
    return this.#bytes.subarray(this.#payloadStart);
  }
}
