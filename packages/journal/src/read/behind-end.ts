/**
 * Looks behind the last valid batch of a segment: there is nothing, a torn batch, or a batch that
 * proves damage.
 */
import {
  ALIGNMENT,
  BATCH_HEADER_BYTES,
  type BatchHeader,
  batchBytes,
  batchSalt,
  BatchSeal,
  SEGMENT_REUSED,
  type SegmentHeader,
} from "../files/format.ts";
import { readFully, type StorageFile } from "../storage/storage.ts";

/** Read at once while looking for a batch or for zeros; a multiple of the alignment. */
const SEARCH_BYTES: number = 2 ** 20;
const ZEROS: Buffer = Buffer.alloc(ALIGNMENT);

export interface Torn {
  /** Bytes behind the last valid batch, up to the last that isn't zero. */
  readonly torn: Buffer;
  /**
   * There are bytes that may be of an earlier life of the file, or of a batch whose header never
   * arrived.
   */
  readonly isTornUnknown: boolean;
}

/** A batch header and where it lies; nothing is known of the batch's body. */
export interface PlacedBatch {
  readonly offset: number;
  readonly header: BatchHeader;
  readonly salt: Buffer;
}

/**
 * The first valid batch header at or after `from`, whatever its sequence and chain. `anySalt`: for
 * a segment whose own header is lost.
 */
export function firstBatch(
  file: StorageFile,
  seal: BatchSeal,
  from: number,
  anySalt: boolean,
): PlacedBatch | undefined {
  const size = file.size();
  const window = Buffer.allocUnsafeSlow(Math.max(0, Math.min(SEARCH_BYTES, size - from)));
  for (let start = from; start < size; start += window.length) {
    const bytes = window.subarray(0, readFully(file, window, window.length, start));
    for (let at = 0; at < bytes.length; at += ALIGNMENT) {
      const header = seal.decode(bytes, at, start + at, anySalt);
      if (header !== undefined) return { offset: start + at, header, salt: batchSalt(bytes, at) };
    }
  }
  return undefined;
}

/**
 * The bytes of a batch that was never finished, from `start`, where the valid batches end. In a
 * reused file they can't be told from leftovers, unless at least the batch's header arrived.
 */
export function readTorn(file: StorageFile, header: SegmentHeader, start: number): Torn {
  if ((header.flags & SEGMENT_REUSED) === 0)
    return { torn: readUntilZeros(file, start, file.size()), isTornUnknown: false };
  const page = Buffer.alloc(BATCH_HEADER_BYTES);
  const isThere = readFully(file, page, BATCH_HEADER_BYTES, start) === BATCH_HEADER_BYTES;
  const seal = new BatchSeal(header.logId, header.segment, header.salt);
  const batch = isThere ? seal.decode(page, 0, start) : undefined;
  if (batch === undefined) return { torn: Buffer.alloc(0), isTornUnknown: page.some((byte) => byte !== 0) };
  return {
    torn: readUntilZeros(file, start, Math.min(file.size(), start + batchBytes(batch.bodyBytes))),
    isTornUnknown: false,
  };
}

/**
 * Bytes from `start` up to the last before `stop` that isn't zero. Mostly there are none, in a
 * large file.
 */
function readUntilZeros(file: StorageFile, start: number, stop: number): Buffer {
  const window = Buffer.allocUnsafeSlow(Math.max(0, Math.min(SEARCH_BYTES, stop - start)));
  let end = start;
  for (let at = start; at < stop; at += window.length) {
    const read = readFully(file, window, Math.min(window.length, stop - at), at);
    const used = usedBytes(window.subarray(0, read));
    if (used > 0) end = at + used;
  }
  const bytes = Buffer.alloc(end - start);
  readFully(file, bytes, bytes.length, start);
  return bytes;
}

/** Number of bytes up to the last one that isn't zero. */
function usedBytes(bytes: Buffer): number {
  let end = bytes.length;
  while (end >= ZEROS.length && ZEROS.compare(bytes, end - ZEROS.length, end) === 0) end -= ZEROS.length;
  while (end > 0 && bytes[end - 1] === 0) end -= 1;
  return end;
}
