/**
 * Reads a log without changing anything, and tells a torn tail from damage.
 *
 * Batches are strictly serial, so a crash can tear only the last one, which nobody was told about. Hence:
 *
 *   an invalid batch in any segment but the last                          damage
 *   an invalid batch in the last segment, a valid one somewhere behind it damage: the later one was written only after the
 *                                                                         earlier one was durable
 *   the valid batches end before what `marks` knows to be durable         damage
 *   the first segment isn't the one that `marks` names                    damage
 *   an invalid batch in the last segment otherwise                        a torn tail
 *   only zeros, or leftovers in a reused file                             the end
 *   a newest segment without header and without any batch                 unfinished: as if it weren't there
 *   a newest segment that an opening began by repeating the last batch of
 *   the segment before, without that batch                                unfinished, likewise: the batch is still in its old place
 *
 * Segments that `marks` knows to be durable as a whole can be judged by their headers alone, which makes an opening fast: each names the
 * end, the last sequence and the last checksum of the one before. Their bodies are then checked in the background (scrub.ts).
 *
 * What can't be told apart: a bit that flips in the very last batch, before any later batch, a clean end or `marks` has witnessed
 * it, looks like a torn tail.
 */
import { journalError } from "../errors.ts";
import {
  ALIGNMENT,
  BATCH_CLEAN_END,
  BATCH_HEADER_BYTES,
  type BatchHeader,
  BatchSeal,
  batchBytes,
  KIND,
  SEGMENT_HEADER_BYTES,
  SEGMENT_REUSED,
  type SegmentHeader,
  segmentName,
  segmentOfName,
} from "../files/format.ts";
import { type Marks, readMarks } from "../files/marks.ts";
import { readHeader, withFile } from "../files/segments.ts";
import { SegmentReader } from "./segment-reader.ts";
import { readFully, type Storage, type StorageFile } from "../storage/storage.ts";

/** A batch, copied. */
export interface BatchCopy {
  readonly header: BatchHeader;
  readonly body: Buffer;
}

/** What one segment holds. */
export interface SegmentScan {
  readonly name: string;
  readonly header: SegmentHeader;
  /** Whether its batches were read; otherwise it was judged by its header and counts only records. */
  readonly isRead: boolean;
  readonly batches: number;
  readonly records: number;
  /** Bytes of all records. */
  readonly bytes: number;
  /** Where its valid batches end. */
  readonly end: SegmentHeader["previous"];
}

export interface LogScan {
  readonly segments: readonly SegmentScan[];
  /** Files that an opening left unfinished. */
  readonly unfinished: readonly string[];
  /** Segments before the first that belongs to the log: given up, not yet deleted. */
  readonly givenUp: readonly string[];
  readonly marks: Marks | undefined;
  /** The last batch, if it isn't a clean end. */
  readonly tail: BatchCopy | undefined;
  /** Where the last batch begins, or the clean end. */
  readonly tailStart: SegmentHeader["previous"] | undefined;
  /** Whether the log was closed properly. */
  readonly hasCleanEnd: boolean;
  /** Bytes behind the last valid batch, up to the last that isn't zero. */
  readonly torn: Buffer;
  /** Bytes lie there that may be leftovers of the file's earlier life, or of a batch whose header never arrived. */
  readonly isTornUnknown: boolean;
}

/** Called for every batch; the records are valid during the call. */
export type BatchVisitor = (segment: SegmentHeader, batch: BatchHeader, body: Buffer) => void;

export interface ScanOptions {
  /** Read every batch, also those that `marks` knows to be durable. Default true. */
  readonly everything?: boolean;
  /** Called for every batch that is read. */
  readonly visit?: BatchVisitor;
}

/** Throws `ERR_JOURNAL_DAMAGED`, `ERR_JOURNAL_VERSION`. */
export function scanLog(storage: Storage, options: ScanOptions = {}): LogScan {
  const { everything = true, visit = () => {} } = options;
  const unfinished: string[] = [];
  const marks = readMarks(storage);
  const { found, givenUp } = listSegments(storage, marks, unfinished);
  checkOrder(found);
  checkBeginning(found, marks);
  const durable = marks?.durableSequence ?? 0;
  const sealed = found.slice(0, -1).map((segment, index) => {
    const successor = (found[index + 1] as Found).header;
    const isKnown = !everything && successor.previous.lastSequence <= durable && successor.kind !== KIND.recovered;
    return isKnown ? judgeSealed(storage, segment, successor) : scanSealed(storage, segment, successor, visit);
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
  const end = scanLast(storage, last, durable, visit);
  if (end !== undefined) return { ...rest, ...end, segments: [...sealed, end.segment] };
  const before = found.at(-2);
  if (before === undefined)
    throw damaged(last.name, SEGMENT_HEADER_BYTES, "the batch that an earlier opening repeated is gone");
  // Its batches were visited already; now it counts as the last, and keeps the batch that was to be repeated.
  const older = scanLast(storage, before, durable, () => {}) as LastScan;
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

interface Found {
  readonly name: string;
  readonly header: SegmentHeader;
}

/** The segments that belong to the log, in order, and the names of those before. */
function listSegments(
  storage: Storage,
  marks: Marks | undefined,
  unfinished: string[],
): { readonly found: Found[]; readonly givenUp: string[] } {
  const all = storage
    .list()
    .filter((name) => segmentOfName(name) !== undefined)
    .toSorted();
  const first = marks?.firstSegment ?? 0;
  const givenUp = all.filter((name) => (segmentOfName(name) as number) < first);
  const names = all.slice(givenUp.length);
  const found: Found[] = [];
  for (const name of names) {
    const header = readHeader(storage, name);
    if (header !== undefined) {
      found.push({ name, header });
      continue;
    }
    const before = found.at(-1);
    if (name !== names.at(-1) || before === undefined || holdsBatches(storage, name, before.header)) {
      throw damaged(name, 0, "the segment's header is invalid");
    }
    unfinished.push(name);
  }
  return { found, givenUp };
}

/** Whether a segment without a valid header holds batches of the log that `before` belongs to. */
function holdsBatches(storage: Storage, name: string, before: SegmentHeader): boolean {
  const seal = new BatchSeal(before.logId, before.segment + 1, before.salt);
  return withFile(storage, name, (file) => firstBatch(file, seal, SEGMENT_HEADER_BYTES, true) !== undefined);
}

/** Read at once while looking for a batch or for zeros; a multiple of the alignment. */
const SEARCH_BYTES: number = 2 ** 20;
const ZEROS: Buffer = Buffer.alloc(ALIGNMENT);

/** The first valid batch header at or after `from`, whatever its sequence and chain. */
function firstBatch(
  file: StorageFile,
  seal: BatchSeal,
  from: number,
  anySalt: boolean,
): { readonly offset: number; readonly header: BatchHeader } | undefined {
  const size = file.size();
  const window = Buffer.allocUnsafeSlow(Math.max(0, Math.min(SEARCH_BYTES, size - from)));
  for (let start = from; start < size; start += window.length) {
    const bytes = window.subarray(0, readFully(file, window, window.length, start));
    for (let at = 0; at < bytes.length; at += ALIGNMENT) {
      const header = seal.decode(bytes, at, start + at, anySalt);
      if (header !== undefined) return { offset: start + at, header };
    }
  }
  return undefined;
}

function checkOrder(found: readonly Found[]): void {
  for (let index = 1; index < found.length; index += 1) {
    const before = found[index - 1] as Found;
    const { name, header } = found[index] as Found;
    if (!header.logId.equals(before.header.logId)) throw damaged(name, 0, "it belongs to another log");
    if (header.segment !== before.header.segment + 1 || header.previous.segment !== before.header.segment) {
      const missing = segmentName(before.header.segment + 1);
      throw damaged(missing, 0, `the segment between ${before.name} and ${name} is missing`);
    }
  }
}

/** Segments are only given up from the front, and `marks` says so before one of them is deleted. */
function checkBeginning(found: readonly Found[], marks: Marks | undefined): void {
  const first = found[0];
  if (first === undefined) {
    if (marks === undefined || marks.durableSequence === 0) return;
    throw damaged(segmentName(marks.firstSegment), 0, "every segment is missing", {
      firstSequence: marks.firstSequence,
      lastSequence: marks.durableSequence,
    });
  }
  const { name, header } = first;
  if (marks === undefined) {
    if (header.kind === KIND.first || header.previous.segment === 0) return;
    throw damaged(name, 0, "the segments before it are missing, and no file `marks` says that they were given up");
  }
  if (!header.logId.equals(marks.logId)) throw damaged("marks", 0, "it belongs to another log");
  if (header.segment !== marks.firstSegment) {
    throw damaged(segmentName(marks.firstSegment), 0, `the segments before ${name} are missing`, {
      firstSequence: marks.firstSequence,
      lastSequence: header.baseSequence - 1,
    });
  }
}

/** A segment that has a successor, by what the successor says about it. */
function judgeSealed(storage: Storage, segment: Found, successor: SegmentHeader): SegmentScan {
  const { name, header } = segment;
  const end = successor.previous;
  const size = withFile(storage, name, (file) => file.size());
  if (size < end.endOffset || end.lastSequence < header.baseSequence - 1) {
    throw damaged(name, size, `${segmentName(successor.segment)} says that it ends at offset ${end.endOffset}`, {
      firstSequence: header.baseSequence,
      lastSequence: end.lastSequence,
    });
  }
  const records = end.lastSequence - header.baseSequence + 1;
  return { name, header, isRead: false, batches: 0, records, bytes: 0, end };
}

/** Read at once in a segment that is read whole: several batches, since one that sticks out has to be moved within the memory. */
const SCAN_BYTES: number = 2 ** 22;

/** A segment that has a successor: valid up to the offset, sequence and chain that the successor names. */
function scanSealed(storage: Storage, segment: Found, successor: SegmentHeader, visit: BatchVisitor): SegmentScan {
  const named = successor.previous;
  return withFile(storage, segment.name, (file) => {
    const reader = new SegmentReader(file, segment.header, SCAN_BYTES);
    const counts = new Counts();
    while (reader.position.offset < named.endOffset) {
      if (!reader.next()) throw damagedBatch(segment, reader, named.lastSequence);
      counts.add(reader, visit);
    }
    const end = endOf(segment.header, reader);
    if (end.endOffset !== named.endOffset || end.lastSequence !== named.lastSequence || end.chain !== named.chain) {
      throw damaged(segment.name, end.endOffset, `${segmentName(successor.segment)} names another end of this segment`);
    }
    return { ...segment, isRead: true, ...counts.read(), end };
  });
}

type LastScan = Pick<LogScan, "tail" | "tailStart" | "hasCleanEnd" | "torn" | "isTornUnknown"> & {
  readonly segment: SegmentScan;
};

/** The last segment: valid up to the first invalid batch, unless that is damage. Undefined for an unfinished one. */
function scanLast(storage: Storage, segment: Found, durable: number, visit: BatchVisitor): LastScan | undefined {
  return withFile(storage, segment.name, (file) => {
    const reader = new SegmentReader(file, segment.header, SCAN_BYTES);
    const counts = new Counts();
    let tail: BatchHeader | undefined;
    let tailStart: SegmentHeader["previous"] | undefined;
    let end = endOf(segment.header, reader);
    while (reader.next()) {
      if (tail === undefined) checkRepeated(segment, reader);
      counts.add(reader, visit);
      tail = reader.batch as BatchHeader;
      tailStart = end;
      end = endOf(segment.header, reader);
    }
    refuseDamage(segment, reader, file);
    if (tail === undefined && segment.header.kind === KIND.recovered) return undefined;
    refuseLoss(segment, reader, durable);
    const hasCleanEnd = tail !== undefined && (tail.flags & BATCH_CLEAN_END) !== 0;
    // Without a batch the segment's header is the witness: it was written when everything before it was durable.
    // A clean end proves that what is before it was durable, but nothing proves that it is itself: the log goes on before it.
    const kept = hasCleanEnd || tail === undefined ? undefined : copyBatch(segment, file, tail, tailStart);
    return {
      segment: { ...segment, isRead: true, ...counts.read(), end },
      tail: kept,
      tailStart,
      hasCleanEnd,
      ...readTorn(file, segment.header, end.endOffset),
    };
  });
}

/** The batch at `start`, read and checked once more: of all that were read only the last one is kept. */
function copyBatch(
  segment: Found,
  file: StorageFile,
  { firstSequence, crc }: BatchHeader,
  start: SegmentHeader["previous"] | undefined,
): BatchCopy {
  const offset = (start as SegmentHeader["previous"]).endOffset;
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

function endOf(header: SegmentHeader, reader: SegmentReader): SegmentHeader["previous"] {
  const { offset, nextSequence, chain } = reader.position;
  return { segment: header.segment, endOffset: offset, lastSequence: nextSequence - 1, chain };
}

/** `marks` remembers that more was durable. */
function refuseLoss(segment: Found, reader: SegmentReader, durable: number): void {
  const { offset, nextSequence } = reader.position;
  if (durable < nextSequence) return;
  throw damaged(
    segment.name,
    offset,
    `${reader.reason}, but the file marks says that everything up to sequence ${durable} was durable: acknowledged records from ${nextSequence} on are lost`,
    { firstSequence: nextSequence, lastSequence: durable },
  );
}

/** A valid batch behind an invalid one: the invalid one had been acknowledged. */
function refuseDamage(segment: Found, reader: SegmentReader, file: StorageFile): void {
  const { offset, nextSequence } = reader.position;
  const seal = new BatchSeal(segment.header.logId, segment.header.segment, segment.header.salt);
  const later = firstBatch(file, seal, offset + ALIGNMENT, false);
  if (later === undefined) return;
  // What was durable when the later batch was written; that batch itself may have been acknowledged or not.
  const lastSequence = later.header.durableSequence;
  throw damaged(
    segment.name,
    offset,
    `${reader.reason}, but a valid batch follows at offset ${later.offset}: acknowledged records ${nextSequence} to at least ${lastSequence} are lost`,
    { firstSequence: nextSequence, lastSequence },
  );
}

/** What lies behind the end: bytes of a batch that was never finished. In a reused file they can't be told from leftovers, unless
 * at least the batch's header arrived. */
function readTorn(file: StorageFile, header: SegmentHeader, start: number): Pick<LogScan, "torn" | "isTornUnknown"> {
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

/** Bytes from `start` up to the last before `stop` that isn't zero. Mostly there are none, and a segment's space is large. */
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

/** Up to the last byte that isn't zero. */
function usedBytes(bytes: Buffer): number {
  let end = bytes.length;
  while (end >= ZEROS.length && ZEROS.compare(bytes, end - ZEROS.length, end) === 0) end -= ZEROS.length;
  while (end > 0 && bytes[end - 1] === 0) end -= 1;
  return end;
}

function damagedBatch(segment: Found, reader: SegmentReader, lastSequence: number): Error {
  const { offset, nextSequence } = reader.position;
  return damaged(
    segment.name,
    offset,
    `${reader.reason}: acknowledged records ${nextSequence} to at most ${lastSequence} are lost`,
    {
      firstSequence: nextSequence,
      lastSequence,
    },
  );
}

function damaged(file: string, offset: number, what: string, details: Record<string, unknown> = {}): Error {
  return journalError("ERR_JOURNAL_DAMAGED", `${file} at offset ${offset}: ${what}`, {
    details: { file, offset, ...details },
  });
}
