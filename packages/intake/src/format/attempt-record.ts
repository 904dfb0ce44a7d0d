/**
 * ATTEMPT records: how one attempt to handle a record ended. They are written where the option
 * `record` of a handler is "outcomes", before the record that the end leads to (ACK, RETRY, DEAD).
 *
 *   0   u64 origin of the record, whose top byte is the version, 2
 *   8   u8 kind: 1 returned, 2 failed        9   u8 why it failed, see `REASON`; 0 when it returned
 *   10  u16 number of the attempt, from 1    12  u16 how often the record was redriven before
 *   14  u8 flags: 1 no attempt follows, 2 an error stands instead of a result that can't be
 *       recorded
 *   15  u8 bytes of the handler's name       16  f64 ms that the handler ran; NaN: nobody knows
 *   24  the name in UTF-8, then the result or the error, encoded
 */
import { readU64, writeU64 } from "@millrace/base";
import { decode } from "@millrace/codec";
import { intakeError } from "../errors.ts";
import { REASON, type ReasonName, reasonName } from "./state-records.ts";
import { newer, unknownVersion } from "./version.ts";

const VERSION = 2;
const VERSION_BYTE = 7;
const RETURNED = 1;
const FAILED = 2;
const IS_LAST = 1;
const IS_REFUSED = 2;
const KNOWN_FLAGS = 3;
const HEAD_BYTES = 24;
const COUNT_MAX = 0xffff;
/** With the longest name. */
export const ATTEMPT_HEAD_BYTES_MAX: number = HEAD_BYTES + 255;

export interface AttemptHead {
  readonly origin: number;
  /** The handler that had the record; a redrive may have chosen it. */
  readonly handler: string;
  /** Why it failed; undefined when the handler returned. */
  readonly reason: ReasonName | undefined;
  readonly attempt: number;
  readonly redriven: number;
  /** No attempt follows: the handler returned, or the record is dead. */
  readonly isLast: boolean;
  /** The handler returned what can't be recorded; an error that says why stands for it. */
  readonly isRefused: boolean;
  /** How long the handler ran, ms; undefined where its thread ended first. */
  readonly ranMs: number | undefined;
}

/** How an attempt ended. */
export interface AttemptEnd extends AttemptHead {
  /** The result or the error, encoded. */
  readonly bytes: Uint8Array;
}

export function encodeAttempt(end: AttemptEnd): Buffer {
  const name = Buffer.from(end.handler);
  const head = Buffer.alloc(HEAD_BYTES);
  writeU64(head, end.origin, 0);
  head[VERSION_BYTE] = VERSION;
  head[8] = end.reason === undefined ? RETURNED : FAILED;
  head[9] = end.reason === undefined ? 0 : REASON[end.reason];
  head.writeUInt16LE(Math.min(end.attempt, COUNT_MAX), 10);
  head.writeUInt16LE(Math.min(end.redriven, COUNT_MAX), 12);
  head[14] = (end.isLast ? IS_LAST : 0) | (end.isRefused ? IS_REFUSED : 0);
  head[15] = name.length;
  head.writeDoubleLE(end.ranMs ?? Number.NaN, 16);
  return Buffer.concat([head, name, end.bytes]);
}

/** Throws `ERR_JOURNAL_VERSION` for what a newer build wrote, and `ERR_RECORD_UNREADABLE`. */
export function decodeAttempt(payload: Buffer): AttemptEnd {
  const version = payload[VERSION_BYTE] ?? 0;
  if (version !== VERSION) throw unknownVersion("an ATTEMPT record", version, VERSION);
  const nameEnd = HEAD_BYTES + (payload[15] ?? 0);
  if (payload.length < nameEnd) {
    throw intakeError("ERR_RECORD_UNREADABLE", `an ATTEMPT record has ${payload.length} bytes`);
  }
  const [kind, flags] = [payload[8] as number, payload[14] as number];
  if ((kind !== RETURNED && kind !== FAILED) || (flags & ~KNOWN_FLAGS) !== 0) {
    throw newer(`an ATTEMPT record has the unknown kind ${kind} or flags ${flags}`, { kind, flags });
  }
  const origin = Buffer.from(payload.subarray(0, 8));
  origin[VERSION_BYTE] = 0;
  const ranMs = payload.readDoubleLE(16);
  return {
    origin: readU64(origin, 0),
    handler: payload.toString("utf8", HEAD_BYTES, nameEnd),
    reason: kind === RETURNED ? undefined : reasonName(payload[9] as number),
    attempt: payload.readUInt16LE(10),
    redriven: payload.readUInt16LE(12),
    isLast: (flags & IS_LAST) !== 0,
    isRefused: (flags & IS_REFUSED) !== 0,
    ranMs: Number.isNaN(ranMs) ? undefined : ranMs,
    bytes: payload.subarray(nameEnd),
  };
}

/** The value that the handler returned or threw, or the error that stands for its result. */
export function valueOf({ bytes }: AttemptEnd): unknown {
  return decode(Buffer.from(bytes));
}
