/**
 * Whether a journal is an intake's: any program may write records and checkpoints of its own into
 * one.
 */
import { messageOf } from "@millrace/base";
import { RECORD_TYPE } from "@millrace/journal";
import type { LogRecord } from "../format/log-record.ts";
import { encodedHeaders, handlerName, hasTerms } from "../format/record-header.ts";
import { decodeAttempt } from "../format/attempt-record.ts";
import { decodeResultHead } from "../format/result-record.ts";
import {
  ackRanges,
  decodeControl,
  decodeExpire,
  decodeFate,
  decodeLease,
  decodeRedrive,
} from "../format/state-records.ts";
import { ENTRY_BYTES } from "./dedupe-window.ts";

const RANGE_BYTES = 12;

/** Why no intake can have written the record; undefined when one can. */
export function foreignRecord(record: LogRecord): string | undefined {
  const payload = record.payload();
  switch (record.type) {
    case RECORD_TYPE.data:
      return foreignHeader(record.header());
    case RECORD_TYPE.ack:
      return isAck(record) ? undefined : "it has the type of an ACK record and names no earlier records";
    case RECORD_TYPE.retry:
    case RECORD_TYPE.dead:
      return isFate(record) ? undefined : "it has the type of a RETRY or DEAD record and names no earlier record";
    case RECORD_TYPE.lost:
      return undefined;
    case RECORD_TYPE.lease:
      return unreadable(() => decodeLease(payload));
    case RECORD_TYPE.redrive:
      return unreadable(() => decodeRedrive(payload));
    case RECORD_TYPE.expire:
      return unreadable(() => decodeExpire(payload));
    case RECORD_TYPE.control:
      return unreadable(() => decodeControl(payload));
    case RECORD_TYPE.attempt:
      return unreadable(() => decodeAttempt(payload));
    case RECORD_TYPE.result:
      return unreadable(() => decodeResultHead(payload));
    case RECORD_TYPE.window:
      return payload.length % ENTRY_BYTES === 0 ? undefined : "it has the type of a WINDOW record and other bytes";
    default:
      return `it has the type ${record.type}, which no intake writes`;
  }
}

function unreadable(read: () => unknown): string | undefined {
  try {
    read();
    return undefined;
  } catch (thrown) {
    return messageOf(thrown);
  }
}

function foreignHeader(header: Buffer): string | undefined {
  if (header.length === 0) return "it names no handler";
  try {
    const name = handlerName(header);
    if (hasTerms(header)) return name === "" ? "it names no handler" : undefined;
    const length = header.length - encodedHeaders(header).length - 2;
    return length > 0 && Buffer.byteLength(name) === length ? undefined : "it names no handler";
  } catch (thrown) {
    return messageOf(thrown);
  }
}

/** Ranges of records before this one. */
function isAck(record: LogRecord): boolean {
  const payload = record.payload();
  if (payload.length === 0 || payload.length % RANGE_BYTES !== 0) return false;
  try {
    const ranges = ackRanges(payload);
    return ranges.ranges > 0 && ranges.range(0)[0] >= 1 && ranges.range(ranges.ranges - 1)[1] < record.sequence;
  } catch {
    return false;
  }
}

function isFate(record: LogRecord): boolean {
  const payload = record.payload();
  if (payload.length < 8) return false;
  try {
    const { origin } = decodeFate(payload);
    return origin >= 1 && origin < record.sequence;
  } catch {
    return false;
  }
}
