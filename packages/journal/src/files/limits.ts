/** Sizes of a journal, each with its reason, and the relations between them. */
import { baseError } from "@millrace/base";
import { frameBytes } from "@millrace/shared-memory";
import { ALIGNMENT, batchBytes, SEGMENT_HEADER_BYTES } from "./format.ts";

export interface JournalLimits {
  /** Bytes of a record with header, key and payload. */
  readonly recordBytesMax: number;
  /** Bytes of all records in one batch, and of one atomic group. */
  readonly batchBytesMax: number;
  /** Bytes of a full-grown segment. */
  readonly segmentBytesMax: number;
  /**
   * Bytes of the first segment of an opening, no more than `segmentBytesMax`; every segment that is
   * filled is followed by one twice as large. Default `SEGMENT_BYTES_FIRST`.
   */
  readonly segmentBytesFirst?: number;
}

/** Most records in one batch. It bounds the work between two syncs; a group never spans batches. */
export const BATCH_RECORDS_MAX = 65536;
export const GROUP_RECORDS_MAX: number = BATCH_RECORDS_MAX;

/** Keys and headers have 16-bit lengths. */
export const KEY_BYTES_MAX: number = 2 ** 16 - 1;
export const HEADER_BYTES_MAX: number = 2 ** 16 - 1;

/** Small, so that an opening is quick and a small journal stays small. */
export const SEGMENT_BYTES_FIRST: number = 8 * 2 ** 20;

/** Throws `ERR_INVALID_OPTION` when the sizes don't fit each other. */
export function checkLimits(limits: JournalLimits, ringBytes: number): void {
  const { recordBytesMax, batchBytesMax, segmentBytesMax, segmentBytesFirst = SEGMENT_BYTES_FIRST } = limits;
  const frame = frameBytes(recordBytesMax);
  const relations: [boolean, string, string][] = [
    [frame <= batchBytesMax, "batchBytesMax", `at least ${frame}, for a record of recordBytesMax`],
    [frame * 2 <= ringBytes, "ringBytes", `at least ${frame * 2}, for two records of recordBytesMax`],
    [
      segmentBytesFor(batchBytesMax) <= segmentBytesMax,
      "segmentBytesMax",
      `at least ${segmentBytesFor(batchBytesMax)}, for a batch`,
    ],
    [segmentBytesMax % ALIGNMENT === 0, "segmentBytesMax", `a multiple of ${ALIGNMENT}`],
    [segmentBytesFirst % ALIGNMENT === 0, "segmentBytesFirst", `a multiple of ${ALIGNMENT}`],
  ];
  for (const [holds, name, allowed] of relations) {
    if (!holds) {
      throw baseError("ERR_INVALID_OPTION", `Journal: option "${name}" must be ${allowed}`, {
        details: { name, allowed },
      });
    }
  }
}

/**
 * Bytes that the next segment should have: the first one of an opening when `current` is 0, or the
 * one after a segment that should have had `current` bytes. It takes a batch of `needed` bytes.
 */
export function nextSegmentBytes(limits: JournalLimits, current: number, needed: number): number {
  const { segmentBytesFirst = SEGMENT_BYTES_FIRST, segmentBytesMax } = limits;
  const grown = current === 0 ? segmentBytesFirst : current * 2;
  return Math.max(Math.min(grown, segmentBytesMax), leastSegmentBytes(limits, needed));
}

/** Bytes that the next segment must have, if the disk has no room for more. */
export function leastSegmentBytes(limits: JournalLimits, needed: number): number {
  return segmentBytesFor(Math.max(needed, limits.batchBytesMax));
}

/** Bytes of the reserve: a small segment's. */
export function reserveBytes(limits: JournalLimits): number {
  return nextSegmentBytes(limits, 0, 0);
}

/** Bytes of a segment with room for its header, one batch, and a clean end. */
export function segmentBytesFor(bodyBytes: number): number {
  return SEGMENT_HEADER_BYTES + batchBytes(bodyBytes) + batchBytes(0);
}
