/**
 * RESULT records, which become durable with the ACK of the record whose handler returned:
 *
 *   0   u64 origin of that record, whose top byte is the version, 2
 *   8   u8 kind: 1 a result, 2 an error instead of it       9   7 bytes zero
 *   16  f64 kept until then, ms since 1970
 *   24  the value, encoded
 */
import { readU64, writeU64 } from "@millrace/base";
import { decode } from "@millrace/codec";
import { intakeError } from "../errors.ts";

const VERSION = 2;
const VERSION_BYTE = 7;
const RESULT = 1;
const ERROR = 2;
export const RESULT_HEAD_BYTES = 24;

/** A handler's result, encoded, or why it can't be kept. */
export interface EncodedResult {
  readonly isOk: boolean;
  readonly bytes: Uint8Array;
}

export interface ResultHead {
  readonly origin: number;
  readonly untilMs: number;
}

export function encodeResult({ origin, untilMs }: ResultHead, { isOk, bytes }: EncodedResult): Buffer {
  const payload = Buffer.alloc(RESULT_HEAD_BYTES + bytes.length);
  writeU64(payload, origin, 0);
  payload[VERSION_BYTE] = VERSION;
  payload[8] = isOk ? RESULT : ERROR;
  payload.writeDoubleLE(untilMs, 16);
  payload.set(bytes, RESULT_HEAD_BYTES);
  return payload;
}

/** Throws `ERR_RECORD_UNREADABLE`. */
export function decodeResultHead(payload: Buffer): ResultHead {
  const isKnown = payload.length >= RESULT_HEAD_BYTES && payload[VERSION_BYTE] === VERSION;
  if (!isKnown || (payload[8] !== RESULT && payload[8] !== ERROR)) {
    const found = `version ${payload[VERSION_BYTE]}, kind ${payload[8]} and ${payload.length} bytes`;
    throw intakeError("ERR_RECORD_UNREADABLE", `a RESULT record has ${found}`);
  }
  const head = Buffer.from(payload.subarray(0, 8));
  head[VERSION_BYTE] = 0;
  return { origin: readU64(head, 0), untilMs: payload.readDoubleLE(16) };
}

/** The handler's result; throws the error that stands in its place. */
export function resultIn(payload: Buffer): unknown {
  decodeResultHead(payload);
  const value = decode(payload, RESULT_HEAD_BYTES);
  if (payload[8] === ERROR) throw value;
  return value;
}
