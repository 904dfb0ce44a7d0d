/**
 * The header of a task, in which the delivery thread describes the record to its handler:
 *
 *   0   u8 flags: 1 the submitter wants the result (`TaskHooks`), 2 a key follows, 4 it is a replay,
 *       8 the submitter wants the time that the handler runs
 *   1   u8 zero       2   u16 bytes of the key       4   u32 bytes that its result may take
 *   8   f64 sequence  16  f64 time of publishing, ms since 1970   24  f64 attempt, from 1
 *   32  16 bytes id of the log        48  f64 the replayed sequence
 *   56  u32 bytes that a record may take      60  u32 bytes of a group
 *   64  u16 bytes of the schedule, 0 without  66  u16 how often it was redriven
 *   68  u16 bytes of the trace context        70  u16 bytes of the last attempt's span
 *   72  the key; of a schedule f64 due time, f64 missed and its name; the trace context and the last
 *       attempt's span, in ASCII; the publisher's headers, encoded
 */
import { copyBytes, decode } from "@millrace/codec";
import type { WANTS_RESULT, WANTS_TIME } from "@millrace/scheduler";
import { ATTEMPT_HEAD_BYTES_MAX } from "./attempt-record.ts";
import { RESULT_HEAD_BYTES } from "./result-record.ts";
import type { Scheduled } from "./schedule.ts";

const KEEPS_RESULT = 1 satisfies typeof WANTS_RESULT;
const HAS_KEY = 2;
const IS_REPLAY = 4;
const RECORDS = 8 satisfies typeof WANTS_TIME;
const FIXED_BYTES = 72;
const SCHEDULE_BYTES = 16;
const NO_BYTES = new Uint8Array(0);

/** Limits of the records that a handler publishes together with the end of its own. */
export interface StageLimits {
  /** Header, key and payload of one record. */
  readonly recordBytesMax: number;
  /** All of them, each with `STAGED_RECORD_BYTES` more. */
  readonly groupBytesMax: number;
}

/** Most bytes of a record in a group beside header, key and payload. */
export const STAGED_RECORD_BYTES = 64;

/** Room for what stands instead of a result that can't be kept. */
export const REFUSAL_BYTES_MAX = 1024;
/** The head of a RESULT record, and what it takes in its group. */
const RESULT_ROOM: number = RESULT_HEAD_BYTES + STAGED_RECORD_BYTES;

export interface TaskFacts {
  readonly sequence: number;
  readonly timeMs: number;
  readonly attempt: number;
  /** How often it was redriven. */
  readonly redriven: number;
  /** Bytes of a result that is kept or recorded; 0 when none is. */
  readonly resultBytesMax: number;
  /** How the attempt ends is recorded. */
  readonly isRecorded: boolean;
  /** The order key; empty without. */
  readonly key: Uint8Array;
  /** 0 when it is no replay. */
  readonly replayOf: number;
  /** Undefined without a schedule. */
  readonly scheduled: Scheduled | undefined;
  /** As the record keeps it (trace-context.ts); empty without. */
  readonly trace: string;
  /** The `traceparent` of the attempt before that failed; empty without. */
  readonly lastSpan: string;
  /** The publisher's headers, encoded. */
  readonly headers: Uint8Array;
}

/** Writes task headers into one buffer that is used again for each. */
export class TaskHeaderWriter {
  readonly #logId: Uint8Array;
  readonly #limits: StageLimits;
  #bytes: Buffer = Buffer.alloc(0);
  #view: DataView = new DataView(this.#bytes.buffer);
  /** The last header: most are as long as the one before, and a view takes longer than a field. */
  #written: Buffer = this.#bytes;

  constructor(logId: Uint8Array, limits: StageLimits) {
    this.#logId = logId;
    this.#limits = limits;
    this.#room(256);
  }

  #room(bytes: number): void {
    this.#bytes = Buffer.alloc(bytes);
    this.#view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset, bytes);
    this.#bytes.set(this.#logId, 32);
    this.#written = this.#bytes;
  }

  write({
    sequence,
    timeMs,
    attempt,
    redriven,
    resultBytesMax,
    isRecorded,
    key,
    replayOf,
    scheduled,
    trace,
    lastSpan,
    headers,
  }: TaskFacts): Uint8Array {
    const name = scheduled === undefined ? NO_BYTES : Buffer.from(scheduled.name);
    const scheduleBytes = scheduled === undefined ? 0 : SCHEDULE_BYTES + name.length;
    const traceStart = FIXED_BYTES + key.length + scheduleBytes;
    const headersStart = traceStart + trace.length + lastSpan.length;
    const length = headersStart + headers.length;
    if (length > this.#bytes.length) this.#room(length * 2);
    const bytes = this.#bytes;
    const { recordBytesMax, groupBytesMax } = this.#limits;
    // Half of the group is left for what the handler publishes.
    const headBytes = isRecorded ? ATTEMPT_HEAD_BYTES_MAX : RESULT_HEAD_BYTES;
    const resultMax = Math.min(resultBytesMax, recordBytesMax - headBytes, groupBytesMax >> 1);
    const resultRoom = resultMax === 0 ? 0 : Math.max(resultMax, REFUSAL_BYTES_MAX) + RESULT_ROOM;
    bytes[0] =
      (resultMax > 0 ? KEEPS_RESULT : 0) |
      (key.length > 0 ? HAS_KEY : 0) |
      (replayOf > 0 ? IS_REPLAY : 0) |
      (isRecorded ? RECORDS : 0);
    bytes[1] = 0;
    // A view takes half of the time of a `Buffer`'s methods.
    const view = this.#view;
    view.setUint16(2, key.length, true);
    view.setUint32(4, resultMax, true);
    view.setFloat64(8, sequence, true);
    view.setFloat64(16, timeMs, true);
    view.setFloat64(24, attempt, true);
    view.setFloat64(48, replayOf, true);
    view.setUint32(56, recordBytesMax, true);
    view.setUint32(60, groupBytesMax - resultRoom, true);
    view.setUint16(64, scheduleBytes, true);
    view.setUint16(66, Math.min(redriven, 0xffff), true);
    view.setUint16(68, trace.length, true);
    view.setUint16(70, lastSpan.length, true);
    if (key.length > 0) bytes.set(key, FIXED_BYTES);
    if (scheduled !== undefined) {
      const start = FIXED_BYTES + key.length;
      bytes.writeDoubleLE(scheduled.dueMs, start);
      bytes.writeDoubleLE(scheduled.missed, start + 8);
      bytes.set(name, start + SCHEDULE_BYTES);
    }
    if (trace !== "") bytes.write(trace, traceStart, "latin1");
    if (lastSpan !== "") bytes.write(lastSpan, traceStart + trace.length, "latin1");
    if (headers.length > 0) copyBytes(headers, 0, headers.length, bytes, headersStart);
    if (this.#written.length !== length) this.#written = bytes.subarray(0, length);
    return this.#written;
  }
}

/** Reads a task header on the thread that runs the handler. */
export class TaskHeader {
  readonly #bytes: Buffer;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  get sequence(): number {
    return this.#bytes.readDoubleLE(8);
  }

  get timeMs(): number {
    return this.#bytes.readDoubleLE(16);
  }

  get attempt(): number {
    return this.#bytes.readDoubleLE(24);
  }

  get redriven(): number {
    return this.#bytes.readUInt16LE(66);
  }

  /** The id of the log in hex, and the sequence. */
  get id(): string {
    return `${this.#bytes.toString("hex", 32, 48)}-${this.sequence}`;
  }

  /** Whether it is recorded how the attempt ends. */
  get isRecorded(): boolean {
    return ((this.#bytes[0] as number) & RECORDS) !== 0;
  }

  /** 0 when no result is kept or recorded. */
  get resultBytesMax(): number {
    return this.#bytes.readUInt32LE(4);
  }

  get stageLimits(): StageLimits {
    return { recordBytesMax: this.#bytes.readUInt32LE(56), groupBytesMax: this.#bytes.readUInt32LE(60) };
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

  /** As the record keeps it; undefined without. */
  get trace(): string | undefined {
    const start = FIXED_BYTES + this.#keyBytes + this.#scheduleBytes;
    const end = start + this.#bytes.readUInt16LE(68);
    return start === end ? undefined : this.#bytes.toString("latin1", start, end);
  }

  /** The `traceparent` of the attempt before; undefined without. */
  get lastSpan(): string | undefined {
    const start = FIXED_BYTES + this.#keyBytes + this.#scheduleBytes + this.#bytes.readUInt16LE(68);
    const end = start + this.#bytes.readUInt16LE(70);
    return start === end ? undefined : this.#bytes.toString("latin1", start, end);
  }

  get headers(): unknown {
    const start = FIXED_BYTES + this.#keyBytes + this.#scheduleBytes + tracesBytes(this.#bytes);
    return start === this.#bytes.length ? undefined : decode(this.#bytes, start);
  }

  get #flags(): number {
    return this.#bytes[0] as number;
  }

  get #keyBytes(): number {
    return this.#bytes.readUInt16LE(2);
  }

  get #scheduleBytes(): number {
    return this.#bytes.readUInt16LE(64);
  }
}

function tracesBytes(bytes: Buffer): number {
  return bytes.readUInt16LE(68) + bytes.readUInt16LE(70);
}

/** The key and the publisher's headers of a task header that was written. */
export function partsOfTaskHeader(bytes: Uint8Array): { readonly key: Uint8Array; readonly headers: Uint8Array } {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const keyEnd = FIXED_BYTES + view.readUInt16LE(2);
  const key = keyEnd === FIXED_BYTES ? NO_BYTES : bytes.subarray(FIXED_BYTES, keyEnd);
  return { key, headers: bytes.subarray(keyEnd + view.readUInt16LE(64) + tracesBytes(view)) };
}
