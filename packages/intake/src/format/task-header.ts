/**
 * What the delivery thread tells a handler about its record, in the header of the task:
 *
 *   0   f64 sequence      8   f64 time of publishing, ms since 1970     16  f64 attempt, from 1
 *   24  16 bytes id of the log
 *   40  u16 flags: 1 the record keeps its result, 2 a key follows, 4 it is a replay
 *   42  u16 bytes of the key        44  u16 bytes of the schedule, 0 without        46  u16 zero
 *   48  f64 the replayed sequence
 *   56  the key; of a schedule f64 due time, f64 missed and its name; the publisher's headers, encoded
 */
import { decode } from "@millrace/codec";
import type { Scheduled } from "./schedule.ts";

const KEEPS_RESULT = 1;
const HAS_KEY = 2;
const IS_REPLAY = 4;
const FIXED_BYTES = 56;
const SCHEDULE_BYTES = 16;
const NO_BYTES = new Uint8Array(0);

export interface TaskFacts {
  readonly sequence: number;
  readonly timeMs: number;
  readonly attempt: number;
  readonly keepsResult: boolean;
  /** The order key; empty without. */
  readonly key: Uint8Array;
  /** 0 when it is no replay. */
  readonly replayOf: number;
  /** Undefined without a schedule. */
  readonly scheduled: Scheduled | undefined;
  /** The publisher's headers, encoded. */
  readonly headers: Uint8Array;
}

/** Writes task headers into one buffer that is used again for each. */
export class TaskHeaderWriter {
  readonly #logId: Uint8Array;
  #bytes: Buffer = Buffer.alloc(256);

  constructor(logId: Uint8Array) {
    this.#logId = logId;
  }

  write({ sequence, timeMs, attempt, keepsResult, key, replayOf, scheduled, headers }: TaskFacts): Uint8Array {
    const name = scheduled === undefined ? NO_BYTES : Buffer.from(scheduled.name);
    const scheduleBytes = scheduled === undefined ? 0 : SCHEDULE_BYTES + name.length;
    const headersStart = FIXED_BYTES + key.length + scheduleBytes;
    const length = headersStart + headers.length;
    if (length > this.#bytes.length) this.#bytes = Buffer.alloc(length * 2);
    const bytes = this.#bytes;
    bytes.writeDoubleLE(sequence, 0);
    bytes.writeDoubleLE(timeMs, 8);
    bytes.writeDoubleLE(attempt, 16);
    bytes.set(this.#logId, 24);
    const flags = (keepsResult ? KEEPS_RESULT : 0) | (key.length > 0 ? HAS_KEY : 0) | (replayOf > 0 ? IS_REPLAY : 0);
    bytes.writeUInt16LE(flags, 40);
    bytes.writeUInt16LE(key.length, 42);
    bytes.writeUInt16LE(scheduleBytes, 44);
    bytes.writeUInt16LE(0, 46);
    bytes.writeDoubleLE(replayOf, 48);
    bytes.set(key, FIXED_BYTES);
    if (scheduled !== undefined) {
      const start = FIXED_BYTES + key.length;
      bytes.writeDoubleLE(scheduled.dueMs, start);
      bytes.writeDoubleLE(scheduled.missed, start + 8);
      bytes.set(name, start + SCHEDULE_BYTES);
    }
    bytes.set(headers, headersStart);
    return bytes.subarray(0, length);
  }
}

/** Reads a task header on the thread that runs the handler. */
export class TaskHeader {
  readonly #bytes: Buffer;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  get sequence(): number {
    return this.#bytes.readDoubleLE(0);
  }

  get timeMs(): number {
    return this.#bytes.readDoubleLE(8);
  }

  get attempt(): number {
    return this.#bytes.readDoubleLE(16);
  }

  /** The id of the log in hex, and the sequence. */
  get id(): string {
    return `${this.#bytes.toString("hex", 24, 40)}-${this.sequence}`;
  }

  get keepsResult(): boolean {
    return (this.#flags & KEEPS_RESULT) !== 0;
  }

  /** Undefined without. */
  get key(): string | undefined {
    if ((this.#flags & HAS_KEY) === 0) return undefined;
    return this.#bytes.toString("utf8", FIXED_BYTES, FIXED_BYTES + this.#keyBytes);
  }

  get replayOf(): number | undefined {
    return (this.#flags & IS_REPLAY) === 0 ? undefined : this.#bytes.readDoubleLE(48);
  }

  /** Undefined without a schedule. */
  get scheduled(): Scheduled | undefined {
    const bytes = this.#scheduleBytes;
    if (bytes === 0) return undefined;
    const start = FIXED_BYTES + this.#keyBytes;
    const name = this.#bytes.toString("utf8", start + SCHEDULE_BYTES, start + bytes);
    return { name, dueMs: this.#bytes.readDoubleLE(start), missed: this.#bytes.readDoubleLE(start + 8) };
  }

  get headers(): unknown {
    const start = FIXED_BYTES + this.#keyBytes + this.#scheduleBytes;
    return start === this.#bytes.length ? undefined : decode(this.#bytes, start);
  }

  get #flags(): number {
    return this.#bytes.readUInt16LE(40);
  }

  get #keyBytes(): number {
    return this.#bytes.readUInt16LE(42);
  }

  get #scheduleBytes(): number {
    return this.#bytes.readUInt16LE(44);
  }
}

/** The key and the publisher's headers of a task header that was written. */
export function partsOfTaskHeader(bytes: Uint8Array): { readonly key: Uint8Array; readonly headers: Uint8Array } {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const keyEnd = FIXED_BYTES + view.readUInt16LE(42);
  const key = keyEnd === FIXED_BYTES ? NO_BYTES : bytes.subarray(FIXED_BYTES, keyEnd);
  return { key, headers: bytes.subarray(keyEnd + view.readUInt16LE(44)) };
}
