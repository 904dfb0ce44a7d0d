/**
 * Looks through a log that may be damaged and tells every piece that is missing, instead of stopping at the first. For tools only: an
 * opening refuses all of this (scan.ts).
 */
import {
  ALIGNMENT,
  type BatchHeader,
  BatchSeal,
  BATCH_HEADER_BYTES,
  KIND,
  SEGMENT_HEADER_BYTES,
  SEGMENT_REPAIRED,
  type SegmentEnd,
  type SegmentHeader,
  segmentName,
} from "../files/format.ts";
import { MARKS_NAME, readMarks } from "../files/marks.ts";
import { readHeader, segmentIds } from "../files/segments.ts";
import { SegmentReader } from "../read/segment-reader.ts";
import { readFully, type Storage } from "../storage/storage.ts";

/** The end of what is valid somewhere in a segment, and where its last batch begins: that may have been written again into the next. */
export type Position = SegmentEnd & { readonly beforeLast?: SegmentEnd | undefined };

/** A piece of the log that can't be read. */
export interface Gap {
  readonly file: string;
  readonly segment: number;
  readonly reason: string;
  /** Where it begins and ends in the file; the end is undefined when nothing follows. */
  readonly offset: number;
  readonly endOffset: number | undefined;
  /** Sequences that are lost; none when `lastSequence` is below `firstSequence`. */
  readonly firstSequence: number;
  readonly lastSequence: number;
  /** Chain value before it, and the one that what follows names. */
  readonly chain: number;
  readonly nextChain: number | undefined;
  /** The segment's header; undefined when that is what is missing. */
  readonly header: SegmentHeader | undefined;
  /** With the header: where the segment before ends. */
  readonly previous: Position;
}

export interface Survey {
  readonly firstSequence: number;
  readonly lastSequence: number;
  readonly gaps: readonly Gap[];
  readonly segments: number;
}

/** Called for every batch that can be read, in order. */
export type SurveyVisitor = (segment: SegmentHeader, batch: BatchHeader, body: Buffer) => void;

export function surveyLog(storage: Storage, visit: SurveyVisitor = () => {}): Survey {
  const marks = readMarks(storage);
  const ids = segmentIds(storage).filter((id) => id >= (marks?.firstSegment ?? 0));
  const first = Math.min(marks?.firstSegment ?? ids[0] ?? 1, ids[0] ?? Number.MAX_SAFE_INTEGER);
  const headers = new Map<number, SegmentHeader>();
  for (const id of ids) {
    const header = readHeader(storage, segmentName(id));
    if (header !== undefined) headers.set(id, header);
  }
  const gaps: Gap[] = [];
  const opening = headers.get(first);
  if (marks === undefined && opening !== undefined) gaps.push(...lostBeginning(opening));
  const firstSequence = headers.get(first)?.baseSequence ?? marks?.firstSequence ?? 1;
  let end: Position = { segment: first - 1, endOffset: 0, lastSequence: firstSequence - 1, chain: 0 };
  const last = ids.at(-1) ?? first - 1;
  for (let id = first; id <= last; id += 1) {
    const successor = headers.get(id + 1);
    const header = headers.get(id);
    if (header === undefined) {
      const gap = headerGap(storage, id, end, successor, id === last);
      if (gap === undefined) continue;
      gaps.push(gap);
      const rebuilt = rebuiltHeader(storage, gap, headers.get(id - 1) ?? successor);
      if (rebuilt === undefined) {
        end = successor?.previous ?? end;
        continue;
      }
      end = surveySegment(storage, rebuilt, successor, marks?.durableSequence ?? 0, id === last, gaps, visit);
      continue;
    }
    end = surveySegment(storage, header, successor, marks?.durableSequence ?? 0, id === last, gaps, visit);
  }
  return { firstSequence, lastSequence: end.lastSequence, gaps, segments: ids.length };
}

/** Without marks nobody knows whether the segments before the first one were given up, or are lost. */
function lostBeginning({ kind, segment, baseSequence, previous }: SegmentHeader): Gap[] {
  if (kind === KIND.first || previous.segment === 0) return [];
  const reason = `the segments before ${segmentName(segment)} are missing, and marks, which would say whether they were given up, is lost`;
  const place = { file: MARKS_NAME, segment, offset: 0, endOffset: undefined, chain: 0, nextChain: undefined };
  return [{ ...place, reason, firstSequence: 1, lastSequence: baseSequence - 1, header: undefined, previous }];
}

/** A segment without a header: with the place of its first batch in `header` if that is there. */
function headerGap(
  storage: Storage,
  segment: number,
  end: Position,
  successor: SegmentHeader | undefined,
  isLast: boolean,
): Gap | undefined {
  const file = segmentName(segment);
  const isThere = storage.list().includes(file);
  const batch = isThere ? firstBatchOf(storage, file) : undefined;
  const { beforeLast } = end;
  const previous = batch !== undefined && beforeLast?.lastSequence === batch.firstSequence - 1 ? beforeLast : end;
  // The newest segment without a header or any batch is unfinished, which an opening sets aside.
  if (isLast && batch === undefined) return undefined;
  return {
    file,
    segment,
    reason: isThere ? "the segment's header is invalid" : "the segment is missing",
    offset: 0,
    endOffset: batch === undefined ? successor?.previous.endOffset : SEGMENT_HEADER_BYTES,
    firstSequence: previous.lastSequence + 1,
    lastSequence:
      batch === undefined ? (successor?.previous.lastSequence ?? previous.lastSequence) : batch.firstSequence - 1,
    chain: 0,
    nextChain: batch === undefined ? successor?.previous.chain : batch.chain,
    header: undefined,
    previous,
  };
}

interface FirstBatch {
  readonly firstSequence: number;
  readonly chain: number;
}

/** What the bytes of the first batch say; its checksum needs the log's id, which the caller checks by reading on. */
function firstBatchOf(storage: Storage, file: string): FirstBatch | undefined {
  const opened = storage.open(file, "read");
  try {
    const bytes = Buffer.alloc(BATCH_HEADER_BYTES);
    if (readFully(opened, bytes, bytes.length, SEGMENT_HEADER_BYTES) < bytes.length) return undefined;
    if (bytes.toString("latin1", 0, 4) !== "MRB1") return undefined;
    return { firstSequence: bytes.readUInt32LE(16) + bytes.readUInt32LE(20) * 2 ** 32, chain: bytes.readUInt32LE(48) };
  } finally {
    opened.close();
  }
}

/** A header to read on with, and for a repair to write: salt and first sequence are in the first batch, the rest in a neighbour. */
export function rebuiltHeader(
  storage: Storage,
  gap: Gap,
  neighbour: SegmentHeader | undefined,
): SegmentHeader | undefined {
  if (neighbour === undefined || gap.endOffset !== SEGMENT_HEADER_BYTES || gap.nextChain === undefined)
    return undefined;
  const opened = storage.open(gap.file, "read");
  try {
    const bytes = Buffer.alloc(BATCH_HEADER_BYTES);
    readFully(opened, bytes, bytes.length, SEGMENT_HEADER_BYTES);
    const salt = Buffer.from(bytes.subarray(32, 40));
    const seal = new BatchSeal(neighbour.logId, gap.segment, salt);
    if (seal.decode(bytes, 0, SEGMENT_HEADER_BYTES) === undefined) return undefined;
    return {
      ...neighbour,
      segment: gap.segment,
      salt,
      baseSequence: gap.lastSequence + 1,
      segmentBytes: opened.size(),
      kind: KIND.rolled,
      previous: gap.previous,
      recovered: { first: 0, last: 0 },
      flags: SEGMENT_REPAIRED,
      chain: gap.nextChain,
    };
  } finally {
    opened.close();
  }
}

function surveySegment(
  storage: Storage,
  header: SegmentHeader,
  successor: SegmentHeader | undefined,
  durable: number,
  isLast: boolean,
  gaps: Gap[],
  visit: SurveyVisitor,
): Position {
  const file = segmentName(header.segment);
  const opened = storage.open(file, "read");
  const reader = new SegmentReader(opened, header);
  const seal = new BatchSeal(header.logId, header.segment, header.salt);
  const stop = successor?.previous.endOffset ?? Number.POSITIVE_INFINITY;
  let beforeLast: Position | undefined;
  try {
    // Ends: every turn reads a batch, or moves on behind a gap, or is the last.
    for (;;) {
      let before = reader.end;
      while (reader.position.offset < stop && reader.next()) {
        beforeLast = before;
        before = reader.end;
        visit(header, reader.batch as BatchHeader, reader.body);
      }
      const { offset, nextSequence, chain } = reader.position;
      const here = reader.end;
      if (offset >= stop) return successor?.previous ?? here;
      const gap = {
        file,
        segment: header.segment,
        reason: reader.reason,
        offset,
        firstSequence: nextSequence,
        chain,
        header,
        previous: here,
      };
      const later = nextValid(reader, seal, opened.size(), Math.min(stop, opened.size()), nextSequence);
      if (later !== undefined) {
        gaps.push({ ...gap, endOffset: later.offset, lastSequence: later.firstSequence - 1, nextChain: later.chain });
        continue;
      }
      if (successor !== undefined) {
        const { endOffset, lastSequence, chain: nextChain } = successor.previous;
        gaps.push({ ...gap, endOffset, lastSequence, nextChain });
        return successor.previous;
      }
      // Of a segment that doesn't know its end, the next one tells what is missing.
      if (durable < nextSequence || !isLast) return { ...here, beforeLast };
      gaps.push({
        ...gap,
        endOffset: undefined,
        lastSequence: Math.max(durable, nextSequence - 1),
        nextChain: undefined,
      });
      return { ...here, lastSequence: Math.max(durable, nextSequence - 1) };
    }
  } finally {
    reader.close();
  }
}

/** The next batch behind a gap whose header and body are valid; `reader` stands in front of it then. */
function nextValid(
  reader: SegmentReader,
  seal: BatchSeal,
  size: number,
  stop: number,
  atLeast: number,
): { readonly offset: number; readonly firstSequence: number; readonly chain: number } | undefined {
  for (let offset = reader.position.offset + ALIGNMENT; offset < Math.min(stop, size); offset += ALIGNMENT) {
    const batch = reader.peekAt(seal, offset);
    if (batch === undefined || batch.firstSequence < atLeast) continue;
    if (!reader.startAt(offset, batch.firstSequence)) continue;
    return { offset, firstSequence: batch.firstSequence, chain: batch.chain };
  }
  return undefined;
}
