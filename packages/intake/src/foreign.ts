/**
 * Whether a journal is an intake's: any program may write records and checkpoints of its own into
 * one.
 */
import { RECORD_TYPE } from "@millrace/journal";
import type { RecordCursor } from "@millrace/journal/kernel";
import { messageOf } from "@millrace/base";
import { encodedHeaders, handlerName } from "./record-header.ts";
import { RangeSet } from "./range-set.ts";
import { deadSequence, decodeAck } from "./state-records.ts";

const RANGE_BYTES = 12;

/** Why no intake can have written the record that the cursor stands on; undefined when one can. */
export function foreignRecord(cursor: RecordCursor): string | undefined {
  switch (cursor.type) {
    case RECORD_TYPE.data:
      return foreignHeader(cursor.header());
    case RECORD_TYPE.ack:
      return isAck(cursor) ? undefined : "it has the type of an ACK record and names no earlier records";
    case RECORD_TYPE.dead:
      return isDead(cursor) ? undefined : "it has the type of a DEAD record and names no earlier record";
    case RECORD_TYPE.lost:
      return undefined;
    default:
      return `it has the type ${cursor.type}, which no intake writes`;
  }
}

function foreignHeader(header: Buffer): string | undefined {
  if (header.length === 0) return "it names no handler";
  try {
    const name = handlerName(header);
    const length = header.length - encodedHeaders(header).length - 2;
    return length > 0 && Buffer.byteLength(name) === length ? undefined : "it names no handler";
  } catch (thrown) {
    return messageOf(thrown);
  }
}

/** Ranges of records before this one. */
function isAck(cursor: RecordCursor): boolean {
  const payload = cursor.payload();
  if (payload.length === 0 || payload.length % RANGE_BYTES !== 0) return false;
  const ranges = new RangeSet();
  try {
    decodeAck(payload, ranges);
  } catch {
    return false;
  }
  if (ranges.ranges === 0) return false;
  return ranges.range(0)[0] >= 1 && ranges.range(ranges.ranges - 1)[1] < cursor.sequence;
}

function isDead(cursor: RecordCursor): boolean {
  const payload = cursor.payload();
  if (payload.length < 8) return false;
  const sequence = deadSequence(payload);
  return sequence >= 1 && sequence < cursor.sequence;
}
