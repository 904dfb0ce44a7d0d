/**
 * Reads a log without changing anything, and tells a torn tail from damage.
 *
 * Batches are strictly serial, so a crash can tear only the last one, which was never acknowledged.
 * Hence:
 *
 *   an invalid batch in any segment but the last                          damage
 *   an invalid batch in the last segment, a valid one somewhere behind it damage: the writer began
 *                                                                         the later one only after
 *                                                                         the earlier was durable
 *   the valid batches end before what `marks` or a checkpoint knows to    damage
 *   be durable
 *   `marks` name a checkpoint, and none can be read                       damage
 *   a file of another log                                                 damage
 *   the first segment isn't the one that `marks` names                    damage
 *   an invalid batch in the last segment otherwise                        a torn tail
 *   only zeros, or leftovers in a reused file                             the end
 *   a newest segment without header and without any batch                 unfinished, so ignored
 *   a newest segment that an opening began by repeating the last batch    unfinished, so ignored:
 *   of the segment before, without that batch                             the batch is still in
 *                                                                         its old place
 *
 * Segments that `marks` knows to be durable as a whole can be judged by their headers alone, which
 * makes an opening fast: each names the end, the last sequence and the last checksum of the one
 * before. Their bodies are then checked in the background (scrub.ts).
 *
 * One case can't be told apart: a bit that flips in the very last batch, before any later batch, a
 * clean end or a witness (witnesses.ts) has named it, looks like a torn tail.
 */
import {
  ALIGNMENT,
  BATCH_CLEAN_END,
  type BatchHeader,
  BatchSeal,
  KIND,
  SEGMENT_HEADER_BYTES,
  type SegmentEnd,
  type SegmentHeader,
  segmentName,
} from "../files/format.ts";
import type { Marks } from "../files/marks.ts";
import { withFile } from "../files/segments.ts";
import type { Storage, StorageFile } from "../storage/storage.ts";
import { firstBatch, readTorn, type Torn } from "./behind-end.ts";
import { damaged } from "./damage.ts";
import { findSegments, type Found } from "./found-segments.ts";
import { lookAgain } from "./look-again.ts";
import { SegmentReader } from "./segment-reader.ts";
import { checkCheckpoints, readWitnesses, type Witnesses } from "./witnesses.ts";

/** A batch, copied. */
export interface BatchCopy {
  readonly header: BatchHeader;
  readonly body: Buffer;
}

/** The content of one segment. */
export interface SegmentScan {
  readonly name: string;
  readonly header: SegmentHeader;
  /**
   * Whether its batches were read; otherwise it was judged by its header and counts only records.
   */
  readonly isRead: boolean;
  readonly batches: number;
  readonly records: number;
  /** Bytes of all records. */
  readonly bytes: number;
  /** Where its valid batches end. */
  readonly end: SegmentEnd;
  /** Bytes of the file. */
  readonly fileBytes: number;
}

export interface LogScan extends Torn {
  readonly segments: readonly SegmentScan[];
  /** Files that an opening left unfinished. */
  readonly unfinished: readonly string[];
  /** Segments before the first that belongs to the log: given up, not yet deleted. */
  readonly givenUp: readonly string[];
  readonly marks: Marks | undefined;
  /** The last batch, if it isn't a clean end. */
  readonly tail: BatchCopy | undefined;
  /** Where the last batch begins, or the clean end. */
  readonly tailStart: SegmentEnd | undefined;
  /** Whether the log was closed properly. */
  readonly hasCleanEnd: boolean;
}

/** Called for every batch; the records are valid during the call. */
export type BatchVisitor = (segment: SegmentHeader, batch: BatchHeader, body: Buffer) => void;

export interface ScanOptions {
  /** Read every batch, also those that `marks` knows to be durable. Default true. */
  readonly everything?: boolean;
  /** Called for every batch that is read. */
  readonly visit?: BatchVisitor;
  /** Called before each look: what `visit` was given during an earlier look doesn't count. */
  readonly restart?: () => void;
  /**
   * The caller holds the directory's lock, so one look is enough to call it damage. Default false.
   */
  readonly isLocked?: boolean;
}

/**
 * Reads the log, also beside a process that writes to it. Throws `ERR_JOURNAL_DAMAGED`,
 * `ERR_JOURNAL_VERSION`, and `ERR_JOURNAL_STORAGE` when the log changes faster than it can be read.
 */
export function scanLog(storage: Storage, options: ScanOptions = {}): LogScan {
  const { restart, isLocked = false } = options;
  const look = (): LogScan => {
    restart?.();
    return scanOnce(storage, options);
  };
  return isLocked ? look() : lookAgain(look, () => "");
}

function scanOnce(storage: Storage, { everything = true, visit = () => {} }: ScanOptions): LogScan {
  const witnesses = readWitnesses(storage);
  const { marks } = witnesses;
  const { found, unfinished, givenUp } = findSegments(storage, witnesses);
  if (found[0] !== undefined) checkCheckpoints(storage, witnesses, found[0].header.baseSequence);
  const sealed = found.slice(0, -1).map((segment, index) => {
    const successor = (found[index + 1] as Found).header;
    const isKnown =
      !everything && successor.previous.lastSequence <= witnesses.durable && successor.kind !== KIND.recovered;
    const judged = isKnown ? judgeSealed(storage, segment, successor) : undefined;
    return judged ?? scanSealed(storage, segment, successor, visit);
  });
  const rest = { unfinished, givenUp, marks };
  const last = found.at(-1);
  if (last === undefined) {
    return {
      ...rest,
      segments: [],
      tail: undefined,
      tailStart: undefined,
      hasCleanEnd: true,
      torn: Buffer.alloc(0),
      isTornUnknown: false,
    };
  }
  const end = scanLast(storage, last, witnesses, visit);
  if (end !== undefined) return { ...rest, ...end, segments: [...sealed, end.segment] };
  const before = found.at(-2);
  if (before === undefined)
    throw damaged(last.name, SEGMENT_HEADER_BYTES, "the batch that an earlier opening repeated is gone");
  // Its batches were visited already; now it counts as the last, and keeps the batch that was to be
  // repeated.
  const older = scanLast(storage, before, witnesses, () => {}) as LastScan;
  if (older.segment.end.lastSequence !== last.header.recovered.last) {
    throw damaged(last.name, SEGMENT_HEADER_BYTES, "the batch that an earlier opening repeated is gone here and there");
  }
  return {
    ...rest,
    ...older,
    segments: [...sealed.slice(0, -1), older.segment],
    unfinished: [...unfinished, last.name],
  };
}

/**
 * A segment that has a successor, judged by what the successor says about it; undefined when only
 * its batches can tell: the file is shorter than that, which the zeros behind the last batch may
 * explain.
 */
function judgeSealed(storage: Storage, segment: Found, successor: SegmentHeader): SegmentScan | undefined {
  const { name, header } = segment;
  const end = successor.previous;
  const size = withFile(storage, name, (file) => file.size());
  if (size < end.endOffset || end.lastSequence < header.baseSequence - 1) return undefined;
  const records = end.lastSequence - header.baseSequence + 1;
  return { name, header, isRead: false, batches: 0, records, bytes: 0, end, fileBytes: size };
}

/**
 * Read at once in a segment that is read whole: several batches, since one that sticks out has to
 * be moved within the memory.
 */
const SCAN_BYTES: number = 2 ** 22;

/**
 * A segment that has a successor: valid up to the offset, sequence and chain that the successor
 * names.
 */
function scanSealed(storage: Storage, segment: Found, successor: SegmentHeader, visit: BatchVisitor): SegmentScan {
  const named = successor.previous;
  return withFile(storage, segment.name, (file) => {
    const reader = new SegmentReader(file, segment.header, SCAN_BYTES);
    const counts = new Counts();
    while (reader.position.offset < named.endOffset) {
      if (!reader.next()) throw damagedBatch(segment, reader, named.lastSequence);
      counts.add(reader, visit);
    }
    const { end } = reader;
    if (end.endOffset !== named.endOffset || end.lastSequence !== named.lastSequence || end.chain !== named.chain) {
      throw damaged(segment.name, end.endOffset, `${segmentName(successor.segment)} names another end of this segment`);
    }
    return { ...segment, isRead: true, ...counts.read(), end, fileBytes: file.size() };
  });
}

type LastScan = Pick<LogScan, "tail" | "tailStart" | "hasCleanEnd" | keyof Torn> & {
  readonly segment: SegmentScan;
};

/**
 * The last segment: valid up to the first invalid batch, unless that is damage. Undefined for an
 * unfinished one.
 */
function scanLast(storage: Storage, segment: Found, witnesses: Witnesses, visit: BatchVisitor): LastScan | undefined {
  return withFile(storage, segment.name, (file) => {
    const reader = new SegmentReader(file, segment.header, SCAN_BYTES);
    const counts = new Counts();
    let tail: BatchHeader | undefined;
    let tailStart: SegmentEnd | undefined;
    let { end } = reader;
    while (reader.next() || isReadableNow(segment, reader, file)) {
      if (tail === undefined) checkRepeated(segment, reader);
      counts.add(reader, visit);
      tail = reader.batch as BatchHeader;
      tailStart = end;
      ({ end } = reader);
    }
    if (tail === undefined && segment.header.kind === KIND.recovered) return undefined;
    refuseLoss(segment, reader, witnesses);
    const hasCleanEnd = tail !== undefined && (tail.flags & BATCH_CLEAN_END) !== 0;
    // Without a batch the segment's header is the witness: it was written when everything before it
    // was durable. A clean end proves that the batches before it were durable. Nothing proves that
    // the clean end itself is: the log continues in front of it.
    const kept = hasCleanEnd || tail === undefined ? undefined : copyBatch(segment, file, tail, tailStart);
    return {
      segment: { ...segment, isRead: true, ...counts.read(), end, fileBytes: file.size() },
      tail: kept,
      tailStart,
      hasCleanEnd,
      ...readTorn(file, segment.header, end.endOffset),
    };
  });
}

/**
 * The batch at `start`, read and checked once more: of all that were read only the last one is
 * kept.
 */
function copyBatch(
  segment: Found,
  file: StorageFile,
  { firstSequence, crc }: BatchHeader,
  start: SegmentEnd | undefined,
): BatchCopy {
  const offset = (start as SegmentEnd).endOffset;
  const reader = new SegmentReader(file, segment.header);
  const isThere = reader.startAt(offset, firstSequence) && reader.next();
  const header = reader.batch;
  if (!isThere || header?.crc !== crc)
    throw damaged(segment.name, offset, "the last batch reads differently each time");
  return { header, body: Buffer.from(reader.body) };
}

/** A segment that an opening began holds, first of all, the batch that its header promises. */
function checkRepeated({ name, header }: Found, reader: SegmentReader): void {
  if (header.kind !== KIND.recovered) return;
  const { firstSequence, count } = reader.batch as BatchHeader;
  if (firstSequence === header.recovered.first && firstSequence + count - 1 === header.recovered.last) return;
  throw damaged(name, SEGMENT_HEADER_BYTES, "the first batch isn't the one that the header promises");
}

class Counts {
  #batches = 0;
  #records = 0;
  #bytes = 0;

  add(reader: SegmentReader, visit: BatchVisitor): void {
    const batch = reader.batch as BatchHeader;
    this.#batches += 1;
    this.#records += batch.count;
    this.#bytes += batch.bodyBytes;
    visit(reader.header, batch, reader.body);
  }

  read(): { batches: number; records: number; bytes: number } {
    return { batches: this.#batches, records: this.#records, bytes: this.#bytes };
  }
}

/** Refuses a log that ends before the sequence that a witness knows to be durable. */
function refuseLoss(segment: Found, reader: SegmentReader, { durable, durableFile }: Witnesses): void {
  const { offset, nextSequence } = reader.position;
  if (durable < nextSequence) return;
  throw damaged(
    segment.name,
    offset,
    `${reader.reason}, but the file ${durableFile} says that everything up to sequence ${durable} was durable: acknowledged records from ${nextSequence} on are lost`,
    { firstSequence: nextSequence, lastSequence: durable },
  );
}

/**
 * Reads the batch at the reader's place once more if a valid batch lies behind it: then it must be
 * complete by now. If it is invalid still, it had been acknowledged, and is damaged.
 */
function isReadableNow(segment: Found, reader: SegmentReader, file: StorageFile): boolean {
  const { offset, nextSequence } = reader.position;
  const seal = new BatchSeal(segment.header.logId, segment.header.segment, segment.header.salt);
  const later = firstBatch(file, seal, offset + ALIGNMENT, false);
  if (later === undefined) return false;
  if (reader.next()) return true;
  // The records that were durable when the later batch was written. That batch itself may have been
  // acknowledged or not.
  const lastSequence = later.header.durableSequence;
  throw damaged(
    segment.name,
    offset,
    `${reader.reason}, but a valid batch follows at offset ${later.offset}: acknowledged records ${nextSequence} to at least ${lastSequence} are lost`,
    { firstSequence: nextSequence, lastSequence },
  );
}

function damagedBatch(segment: Found, reader: SegmentReader, lastSequence: number): Error {
  const { offset, nextSequence: firstSequence } = reader.position;
  return damaged(
    segment.name,
    offset,
    `${reader.reason}: acknowledged records ${firstSequence} to at most ${lastSequence} are lost`,
    { firstSequence, lastSequence },
  );
}
