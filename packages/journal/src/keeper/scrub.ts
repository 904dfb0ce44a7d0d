/** Reads a segment whole, in steps, and compares it with what its successor says about it. */
import { type BatchHeader, segmentName, segmentOfName } from "../files/format.ts";
import { keyIndexName, readIndex, writeKeyIndex } from "../read/key-index.ts";
import { BatchList, KeyList } from "../read/places.ts";
import { readHeader } from "../files/segments.ts";
import { SegmentReader } from "../read/segment-reader.ts";
import type { Storage } from "../storage/storage.ts";

/** Acknowledged data that can't be read any more. */
export interface DamageReport {
  readonly file: string;
  readonly offset: number;
  readonly reason: string;
  readonly firstSequence: number;
  readonly lastSequence: number;
}

/** Read in one step. */
const STEP_BYTES = 1 << 20;

/**
 * The first damage in a segment that has a successor; undefined when the segment is sound, or was
 * given up meanwhile. A sound segment gets its index on the way.
 */
export function* scrubSegment(storage: Storage, name: string): Generator<void, DamageReport | undefined> {
  if (!storage.list().includes(name)) return undefined;
  const header = readHeader(storage, name);
  const successor = readHeader(storage, segmentName((segmentOfName(name) as number) + 1));
  if (header === undefined || successor === undefined) return undefined;
  const end = successor.previous;
  const reader = new SegmentReader(storage.open(name, "read"), header);
  const batches = new BatchList(header.baseSequence);
  const keys = new KeyList(header.baseSequence);
  try {
    let stepEnd = STEP_BYTES;
    while (reader.position.offset < end.endOffset) {
      if (!reader.next()) break;
      const { firstSequence } = reader.batch as BatchHeader;
      batches.add(firstSequence, reader.batchOffset);
      keys.add(reader.body, firstSequence);
      if (reader.position.offset < stepEnd) continue;
      stepEnd = reader.position.offset + STEP_BYTES;
      yield;
    }
    const { offset, nextSequence, chain } = reader.position;
    if (offset === end.endOffset && nextSequence === end.lastSequence + 1 && chain === end.chain) {
      if (readIndex(storage, header) !== undefined) return undefined;
      try {
        writeKeyIndex(storage, header, batches, keys);
      } finally {
        // The segment may have been given up meanwhile: then its index would stay for ever.
        const names = storage.list();
        const index = keyIndexName(header.segment);
        if (!names.includes(name) && names.includes(index)) storage.remove(index);
      }
      return undefined;
    }
    // The file may have become a spare meanwhile.
    if (!storage.list().includes(name)) return undefined;
    const { reason } = reader;
    return { file: name, offset, reason, firstSequence: nextSequence, lastSequence: end.lastSequence };
  } finally {
    reader.close();
  }
}
