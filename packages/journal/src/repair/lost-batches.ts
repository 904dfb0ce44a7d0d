/**
 * Batches of LOST records, one record for each sequence that is given up.
 *
 * Where the log continues at a fixed offset, the batches fill the bytes up to it exactly. A batch
 * without a record takes one page; a batch with records takes as many as its last record is long.
 * The room that a lost batch had is always enough for as many LOST records, because they are the
 * smallest that there are.
 */
import { crc32 } from "@millrace/codec";
import { frameBytes } from "@millrace/shared-memory";
import {
  ALIGNMENT,
  BATCH_HEADER_BYTES,
  BATCH_REPAIRED,
  batchBytes,
  BatchSeal,
  RECORD_FIXED_BYTES,
  RECORD_TYPE,
  type SegmentHeader,
} from "../files/format.ts";

/** Bytes of a LOST record. */
const FRAME_BYTES: number = frameBytes(RECORD_FIXED_BYTES - 4);

/** A batch to be written: its pages and its records. */
export interface LostBatch {
  readonly pages: number;
  readonly records: number;
}

/** Where lost batches go, and what they say. */
export interface LostPlace {
  readonly header: SegmentHeader;
  readonly offset: number;
  readonly firstSequence: number;
  /**
   * Chain value before the first batch; that which the batch behind the last one names, if there is
   * one.
   */
  readonly chain: number;
  readonly nextChain: number | undefined;
  readonly timeMs: number;
  /** Written into a record that has room for it. */
  readonly note: Buffer;
}

/**
 * Batches that fill `pages` pages and hold `records` records, at most `bodyBytesMax` bytes of
 * records each; undefined when the pages hold fewer. `first`: records of the first batch, where its
 * segment's header promises them.
 */
export function fillPages(
  pages: number,
  records: number,
  bodyBytesMax: number,
  first?: number,
): readonly LostBatch[] | undefined {
  const head = first === undefined ? [] : [{ pages: pagesOf(first * FRAME_BYTES), records: first }];
  const restPages = pages - (head[0]?.pages ?? 0);
  const restRecords = records - (first ?? 0);
  if (restPages < 0 || restRecords < 0) return undefined;
  const largest = pagesOf(wholeFrames(bodyBytesMax));
  // The largest batch may leave most of its last page empty: then one page less packs more densely.
  for (const unit of [largest, largest - 1]) {
    const rest = unit < 1 ? undefined : fillInUnits(restPages, restRecords, bodyBytesMax, unit);
    if (rest !== undefined) return [...head, ...rest];
  }
  return undefined;
}

/** The most records that `pages` pages hold. */
export function roomIn(pages: number, bodyBytesMax: number): number {
  const largest = pagesOf(wholeFrames(bodyBytesMax));
  const inUnits = (unit: number): number =>
    Math.floor(pages / unit) * capacity(unit, bodyBytesMax) + capacity(pages % unit, bodyBytesMax);
  return Math.max(inUnits(largest), largest > 1 ? inUnits(largest - 1) : 0);
}

/** Batches for `records` records where nothing follows: as few as there can be. */
export function asFewAsPossible(records: number, bodyBytesMax: number): LostBatch[] {
  const batches: LostBatch[] = [];
  const most = capacity(pagesOf(wholeFrames(bodyBytesMax)), bodyBytesMax);
  for (let left = records; left > 0; left -= most) {
    const count = Math.min(left, most);
    batches.push({ pages: pagesOf(count * FRAME_BYTES), records: count });
  }
  return batches;
}

function fillInUnits(
  pages: number,
  records: number,
  bodyBytesMax: number,
  unit: number,
): readonly LostBatch[] | undefined {
  const batches: LostBatch[] = [];
  let pagesLeft = pages;
  let recordsLeft = records;
  while (pagesLeft > 0) {
    const taken = recordsLeft === 0 ? 1 : Math.min(unit, pagesLeft);
    const count = Math.min(recordsLeft, capacity(taken, bodyBytesMax));
    batches.push({ pages: taken, records: count });
    pagesLeft -= taken;
    recordsLeft -= count;
  }
  return recordsLeft === 0 ? batches : undefined;
}

/** The most records of a batch on `pages` pages. */
function capacity(pages: number, bodyBytesMax: number): number {
  return pages === 0 ? 0 : Math.floor(bodyBytesOn(pages, bodyBytesMax) / FRAME_BYTES);
}

/** Bytes of the largest body that takes exactly `pages` pages. */
function bodyBytesOn(pages: number, bodyBytesMax: number): number {
  return Math.min(pages * ALIGNMENT - BATCH_HEADER_BYTES, wholeFrames(bodyBytesMax));
}

/** Frames begin at multiples of 8 bytes. */
function wholeFrames(bytes: number): number {
  return Math.floor(bytes / 8) * 8;
}

function pagesOf(bodyBytes: number): number {
  return batchBytes(bodyBytes) / ALIGNMENT;
}

/** The bytes of the batches, and the chain value behind them. */
export function encodeLost(
  batches: readonly LostBatch[],
  { header, offset, firstSequence, chain, nextChain, timeMs, note }: LostPlace,
): { readonly bytes: Buffer; readonly chain: number } {
  const pages = batches.reduce((sum, batch) => sum + batch.pages, 0);
  const bytes = Buffer.alloc(pages * ALIGNMENT);
  const seal = new BatchSeal(header.logId, header.segment, header.salt);
  let at = 0;
  let sequence = firstSequence;
  let last = chain;
  for (const [index, batch] of batches.entries()) {
    const body = lostRecords(batch, header.batchBytesMax, timeMs, note);
    const next = index === batches.length - 1 ? nextChain : undefined;
    body.copy(bytes, at + BATCH_HEADER_BYTES);
    last = seal.encode(
      bytes.subarray(at, at + BATCH_HEADER_BYTES),
      offset + at,
      {
        bodyCrc: crc32(body),
        bodyBytes: body.length,
        firstSequence: sequence,
        count: batch.records,
        flags: next === undefined ? 0 : BATCH_REPAIRED,
        durableSequence: sequence - 1,
        chain: last,
        timeMs,
      },
      next,
    );
    sequence += batch.records;
    at += batch.pages * ALIGNMENT;
  }
  return { bytes, chain: last };
}

/**
 * The body of a batch; its last record is as long as it takes to fill the pages, and holds the note
 * if that fits.
 */
function lostRecords({ pages, records }: LostBatch, bodyBytesMax: number, timeMs: number, note: Buffer): Buffer {
  if (records === 0) return Buffer.alloc(0);
  const body = Buffer.alloc(bodyBytesOn(pages, bodyBytesMax));
  for (let index = 0; index < records; index += 1) {
    const start = index * FRAME_BYTES;
    const length = index === records - 1 ? body.length - start - 4 : RECORD_FIXED_BYTES - 4;
    body.writeUInt32LE(length, start);
    body[start + 4] = RECORD_TYPE.lost;
    body.writeDoubleLE(timeMs, start + 16);
  }
  const payload = (records - 1) * FRAME_BYTES + RECORD_FIXED_BYTES;
  if (payload + note.length <= body.length) note.copy(body, payload);
  return body;
}
