/**
 * The records that the intake writes about records: which are finished, which are dead.
 *
 * ACK   payload: pairs of u64 first sequence and u32 count; each range of sequences is finished.
 * DEAD  payload: u64 sequence, then the last error, encoded by the codec; the sequence is finished, as a failure.
 */
import { readU64, writeU64 } from "@millrace/base";
import { decode, encodeThrown } from "@millrace/codec";
import type { RangeSet } from "./range-set.ts";

const RANGE_BYTES = 12;
/** Some 48 KiB: enough to say that everything in the task table is finished. */
const RANGES_MAX = 4096;

/** How many ranges an ACK payload of `bytesMax` bytes takes. */
export function rangesIn(bytesMax: number): number {
  return Math.min(RANGES_MAX, Math.floor(bytesMax / RANGE_BYTES));
}

/** An ACK payload of up to `rangesMax` ranges of `finished`, beginning with the range `from`. */
export function encodeAck(finished: RangeSet, from: number, rangesMax: number): Buffer {
  const count = Math.min(finished.ranges - from, rangesMax);
  const payload = Buffer.alloc(count * RANGE_BYTES);
  for (let index = 0; index < count; index += 1) {
    const [first, last] = finished.range(from + index);
    writeU64(payload, first, index * RANGE_BYTES);
    payload.writeUInt32LE(last - first + 1, index * RANGE_BYTES + 8);
  }
  return payload;
}

/** Adds the ranges of an ACK payload to `finished`. */
export function decodeAck(payload: Buffer, finished: RangeSet): void {
  for (let offset = 0; offset + RANGE_BYTES <= payload.length; offset += RANGE_BYTES) {
    const first = readU64(payload, offset);
    finished.addRange(first, first + payload.readUInt32LE(offset + 8) - 1);
  }
}

/**
 * A DEAD payload of at most `bytesMax` bytes. Of an error that is larger it holds what fits, the closest
 * parts first; `details.omitted` tells what was left out.
 */
export function encodeDead(sequence: number, error: unknown, bytesMax: number): Buffer {
  const head = Buffer.alloc(8);
  writeU64(head, sequence, 0);
  return Buffer.concat([head, encodeThrown(error, bytesMax - head.length)]);
}

export function deadSequence(payload: Buffer): number {
  return readU64(payload, 0);
}

export function deadError(payload: Buffer): unknown {
  return decode(payload, 8);
}
