/**
 * Makes a damaged log readable again, after its owner has said which records may be lost.
 *
 * Every gap is filled with LOST records, one for each sequence, so that all other records keep
 * theirs. Nothing else of the log changes: the last batch in a gap names the chain value that the
 * batch behind it expects (flag 4 of the format). A gap over several segments is filled where there
 * is room: first in front of the batch that follows it, then behind the readable batches before it,
 * where the file may grow. Segments in between become empty ones. When `marks` is lost, and with it
 * the knowledge of where the log begins, it is written again for the first segment that is there.
 *
 * The state if the power goes right after a step. The damaged segment is copied to quarantine and
 * synced: nothing has changed. The repaired one is written to a temporary file and synced: nothing
 * has changed. It takes the segment's name: that segment is repaired. The next segment follows.
 */
import { randomBytes } from "node:crypto";
import { crc32 } from "@millrace/codec";
import { journalError } from "../errors.ts";
import {
  ALIGNMENT,
  BATCH_HEADER_BYTES,
  BATCH_RECOVERED,
  BATCH_REPAIRED,
  batchBytes,
  BatchSeal,
  encodeSegmentHeader,
  KIND,
  SEGMENT_HEADER_BYTES,
  type SegmentEnd,
  type SegmentHeader,
  segmentName,
} from "../files/format.ts";
import { checkpointFiles, readCheckpointPages, readCheckpoints, writeCheckpoint } from "../files/checkpoint.ts";
import { MARKS_NAME, writeMarks } from "../files/marks.ts";
import { readHeader, segmentIds } from "../files/segments.ts";
import { readFully, replaceFile, type Storage } from "../storage/storage.ts";
import type { Gap, GapEnd, OldCopy } from "./gap.ts";
import { LogParts } from "./log-parts.ts";
import { asFewAsPossible, encodeLost, fillPages, type LostBatch, roomIn } from "./lost-batches.ts";
import { type Survey, surveyLog } from "./survey.ts";

export interface RepairSummary {
  readonly gaps: readonly Gap[];
  /** Records that were given up. */
  readonly lost: number;
  /** Copies of the segments as they were, and the note of what was done. */
  readonly quarantined: readonly string[];
}

const QUARANTINE = "quarantine";
/** Largest file that a repair makes; one gap may hold more sequences than a segment can. */
const FILE_BYTES_MAX: number = 2 ** 31;

/**
 * The first gap that is not within the sequences from `first` to `last`; undefined when all are.
 */
export function gapOutside(survey: Survey, first: number, last: number): Gap | undefined {
  return survey.gaps.find(
    (gap) => gap.lastSequence >= gap.firstSequence && (gap.firstSequence < first || gap.lastSequence > last),
  );
}

/**
 * Fills every gap. The caller holds the directory's lock and has made sure that the loss is
 * accepted. Throws `ERR_JOURNAL_DAMAGED` for a log that can't be repaired.
 */
export function repairLog(storage: Storage, nowMs: number): RepairSummary {
  const { gaps } = surveyLog(storage);
  if (gaps.length === 0) return { gaps, lost: 0, quarantined: [] };
  const quarantined = new Repair(storage, nowMs).run(gaps);
  const lost = gaps.reduce((sum, gap) => sum + lostIn(gap), 0);
  const note = `${QUARANTINE}/repair-${nowMs}.json`;
  const told = gaps.map(({ file, offset, reason, firstSequence, lastSequence }) => {
    return { file, offset, reason, firstSequence, lastSequence };
  });
  const report = { repairedAtMs: nowMs, lost, gaps: told, quarantined };
  replaceFile(storage, note, Buffer.from(`${JSON.stringify(report, undefined, 2)}\n`));
  storage.syncDirectory(QUARANTINE);
  return { gaps, lost, quarantined: [...quarantined, note] };
}

function lostIn({ firstSequence, lastSequence }: Gap): number {
  return Math.max(0, lastSequence - firstSequence + 1);
}

/** A segment while it is repaired. */
interface Draft {
  readonly header: SegmentHeader;
  bytes: Buffer;
}

class Repair {
  readonly #storage: Storage;
  readonly #nowMs: number;
  readonly #parts: LogParts;
  readonly #quarantined: string[] = [];
  readonly #drafts = new Map<number, Draft>();

  constructor(storage: Storage, nowMs: number) {
    this.#storage = storage;
    this.#nowMs = nowMs;
    this.#parts = new LogParts(storage);
  }

  /** Returns the names of the copies in quarantine. */
  run(gaps: readonly Gap[]): readonly string[] {
    this.#storage.makeDirectory(QUARANTINE);
    const inSegments = gaps.filter(({ file }) => file !== MARKS_NAME);
    for (const gap of inSegments) {
      this.#writeBefore(gap.before.segment);
      this.#fill(gap);
    }
    this.#writeBefore(Number.POSITIVE_INFINITY);
    if (inSegments.length < gaps.length) renewMarks(this.#storage, this.#renewCheckpoint());
    return this.#quarantined;
  }

  /**
   * Where the front of the log is gone and no checkpoint is left that says what it said, an empty
   * one takes its place: from here on the log alone tells. Returns its generation; 0 when it isn't
   * needed.
   */
  #renewCheckpoint(): number {
    const storage = this.#storage;
    const { logId, baseSequence } = firstHeader(storage);
    if (baseSequence === 1 || readCheckpoints(storage, logId).some(({ from }) => from >= baseSequence)) return 0;
    for (const name of checkpointFiles(storage)) this.#keepFile(name, readWhole(storage, name));
    const newest = Math.max(this.#parts.marks?.checkpoint ?? 0, readCheckpointPages(storage)[0]?.generation ?? 0);
    const told = { from: baseSequence, timeMs: this.#nowMs, bytes: Buffer.alloc(0) };
    // In both files: what is left of an older one isn't taken for it.
    writeCheckpoint(storage, logId, { ...told, generation: newest + 1 });
    writeCheckpoint(storage, logId, { ...told, generation: newest + 2 });
    return newest + 2;
  }

  #fill(gap: Gap): void {
    const { before, after } = gap;
    if (after === undefined) this.#fillToEnd(gap);
    else if (before.segment === after.segment) this.#fillWithin(gap, after);
    else this.#fillAcross(gap, after);
  }

  /** A gap between two places of one segment. */
  #fillWithin(gap: Gap, after: GapEnd): void {
    const { before, copy } = gap;
    const draft = this.#draft(before.segment);
    const { header } = draft;
    if (copy !== undefined) {
      put(draft, before.endOffset, repeatedBatch(header, before, after, copy));
      return;
    }
    const isFirst = before.endOffset === SEGMENT_HEADER_BYTES && header.kind === KIND.recovered;
    const promised = isFirst ? header.recovered.last - header.recovered.first + 1 : undefined;
    const pages = (after.offset - before.endOffset) / ALIGNMENT;
    const batches = fillPages(pages, lostIn(gap), header.batchBytesMax, promised);
    if (batches === undefined) throw unrepairable(gap.file, "a gap is too small for its records");
    this.#put(draft, batches, gap, before, gap.firstSequence, after.chain);
  }

  /**
   * A gap from one segment, or the beginning of the log, into a later one that has no valid header.
   */
  #fillAcross(gap: Gap, after: GapEnd): void {
    const { before, hollow } = gap;
    const salt = after.salt ?? randomBytes(8);
    const isFirst = before.endOffset === 0;
    const template = this.#parts.headerFor(after.segment, salt, 1, after.offset);
    const pages = (after.offset - SEGMENT_HEADER_BYTES) / ALIGNMENT;
    const inside = Math.min(lostIn(gap), roomIn(pages, template.batchBytesMax));
    const outside = lostIn(gap) - inside;
    let end = isFirst ? before : this.#extend(gap, outside);
    for (const segment of hollow) {
      // A log that begins with the gap has no batch to write behind.
      const records = isFirst && segment === hollow[0] ? outside : 0;
      end = this.#create(gap, segment, end, records);
    }
    if (end.lastSequence + inside + 1 !== after.nextSequence)
      throw unrepairable(gap.file, "records between it and the segment before are missing");
    const batches = fillPages(pages, inside, template.batchBytesMax);
    if (batches === undefined) throw unrepairable(gap.file, "a gap is too small for its records");
    const bytes = this.#bytesOf(after.segment);
    const header = {
      ...this.#parts.headerFor(after.segment, salt, end.lastSequence + 1, Math.max(bytes.length, after.offset)),
      kind: isFirst && hollow.length === 0 ? KIND.first : KIND.rolled,
      previous: end,
      chain: pages === 0 ? after.chain : 0,
    };
    const draft = { header, bytes };
    this.#drafts.set(after.segment, draft);
    put(draft, 0, encodeSegmentHeader(header).bytes);
    const start = { segment: after.segment, endOffset: SEGMENT_HEADER_BYTES, lastSequence: end.lastSequence, chain: 0 };
    this.#put(draft, batches, gap, start, end.lastSequence + 1, after.chain);
    // The end that the next header names is the end of the file's use.
    if (after.salt === undefined) draft.bytes = draft.bytes.subarray(0, after.offset);
  }

  /** A gap with nothing behind it. */
  #fillToEnd(gap: Gap): void {
    if (gap.before.endOffset > 0) {
      let end = this.#extend(gap, lostIn(gap));
      for (const segment of gap.hollow) end = this.#create(gap, segment, end, 0);
      return;
    }
    // Nothing is readable. Sequences that are known to have been durable become LOST records;
    // without any the log begins anew.
    for (const id of this.#parts.ids) {
      this.#keep(id, this.#bytesOf(id));
      if (id !== this.#parts.first || lostIn(gap) === 0) this.#storage.remove(segmentName(id));
    }
    this.#storage.syncDirectory();
    if (lostIn(gap) > 0) this.#create(gap, this.#parts.first, gap.before, lostIn(gap));
  }

  /**
   * Writes records behind the readable part of a segment, and cuts off the bytes that lay there.
   * Returns its new end.
   */
  #extend(gap: Gap, records: number): SegmentEnd {
    const { before } = gap;
    if (records === 0) return before;
    const draft = this.#draft(before.segment);
    draft.bytes = draft.bytes.subarray(0, before.endOffset);
    return this.#append(draft, gap, before, records);
  }

  /** Makes a segment of which nothing is readable, with or without records. Returns its end. */
  #create(gap: Gap, segment: number, previous: SegmentEnd, records: number): SegmentEnd {
    const base = previous.lastSequence + 1;
    const { chain: _, ...like } = this.#parts.headerFor(segment, randomBytes(8), base, SEGMENT_HEADER_BYTES);
    const kind = previous.endOffset === 0 ? KIND.first : KIND.rolled;
    const fields = { ...like, createdMs: this.#nowMs, kind, previous, flags: 0 };
    const { bytes, chain } = encodeSegmentHeader(fields);
    if (this.#parts.ids.includes(segment)) this.#keep(segment, this.#bytesOf(segment));
    const draft = { header: { ...fields, chain }, bytes };
    this.#drafts.set(segment, draft);
    const start = { segment, endOffset: SEGMENT_HEADER_BYTES, lastSequence: previous.lastSequence, chain };
    return this.#append(draft, gap, start, records);
  }

  #append(draft: Draft, gap: Gap, end: SegmentEnd, records: number): SegmentEnd {
    const { header } = draft;
    const isPromised = end.endOffset === SEGMENT_HEADER_BYTES && header.kind === KIND.recovered;
    const promised = isPromised ? header.recovered.last - header.recovered.first + 1 : 0;
    const batches = [promised, records - promised].flatMap((count) => asFewAsPossible(count, header.batchBytesMax));
    const chain = this.#put(draft, batches, gap, end, end.lastSequence + 1, undefined);
    const pages = batches.reduce((sum, batch) => sum + batch.pages, 0);
    return {
      segment: end.segment,
      endOffset: end.endOffset + pages * ALIGNMENT,
      lastSequence: end.lastSequence + records,
      chain,
    };
  }

  /** Writes lost batches at a place; returns the chain value behind them. */
  #put(
    draft: Draft,
    batches: readonly LostBatch[],
    gap: Gap,
    { endOffset: offset, chain }: SegmentEnd,
    firstSequence: number,
    nextChain: number | undefined,
  ): number {
    const pages = batches.reduce((sum, batch) => sum + batch.pages, 0);
    if (offset + pages * ALIGNMENT > FILE_BYTES_MAX)
      throw unrepairable(gap.file, `${lostIn(gap)} records are more than a segment can stand for`);
    const { header } = draft;
    const note = Buffer.from(
      JSON.stringify({ lost: [gap.firstSequence, gap.lastSequence], reason: gap.reason, repairedAtMs: this.#nowMs }),
    );
    const place = { header, offset, firstSequence, chain, nextChain, timeMs: this.#nowMs, note };
    const lost = encodeLost(batches, place);
    put(draft, offset, lost.bytes);
    return lost.chain;
  }

  /** A segment with a header, valid or rebuilt before. */
  #draft(segment: number): Draft {
    const known = this.#drafts.get(segment);
    if (known !== undefined) return known;
    const header = this.#parts.header(segment) ?? readHeader(this.#storage, segmentName(segment));
    if (header === undefined) throw unrepairable(segmentName(segment), "it has no header");
    const draft = { header, bytes: this.#bytesOf(segment) };
    this.#drafts.set(segment, draft);
    return draft;
  }

  #bytesOf(segment: number): Buffer {
    return this.#parts.ids.includes(segment) ? readWhole(this.#storage, segmentName(segment)) : Buffer.alloc(0);
  }

  /** Writes the drafts of the segments before `segment`, in order. */
  #writeBefore(segment: number): void {
    for (const [id, { bytes }] of [...this.#drafts].toSorted(([left], [right]) => left - right)) {
      if (id >= segment) break;
      this.#drafts.delete(id);
      const name = segmentName(id);
      if (this.#parts.ids.includes(id)) this.#keep(id, this.#bytesOf(id));
      replaceFile(this.#storage, `${name}.tmp`, bytes);
      this.#storage.rename(`${name}.tmp`, name);
      this.#storage.syncDirectory();
    }
  }

  /** Copies a segment as it was to quarantine, once. */
  #keep(segment: number, bytes: Buffer): void {
    this.#keepFile(segmentName(segment), bytes);
  }

  #keepFile(name: string, bytes: Buffer): void {
    const copy = `${QUARANTINE}/${name}-before-repair-${this.#nowMs}`;
    if (this.#quarantined.includes(copy)) return;
    replaceFile(this.#storage, copy, bytes);
    this.#storage.syncDirectory(QUARANTINE);
    this.#quarantined.push(copy);
  }
}

/** Writes bytes into a draft, which grows for them. */
function put(draft: Draft, offset: number, bytes: Buffer): void {
  if (draft.bytes.length < offset + bytes.length) {
    const grown = Buffer.alloc(offset + bytes.length);
    draft.bytes.copy(grown);
    draft.bytes = grown;
  }
  bytes.copy(draft.bytes, offset);
}

/** The batch that an opening had repeated, for its place at the beginning of the segment. */
function repeatedBatch(
  header: SegmentHeader,
  before: SegmentEnd,
  after: GapEnd,
  { header: batch, body }: OldCopy,
): Buffer {
  const bytes = Buffer.alloc(batchBytes(body.length));
  const seal = new BatchSeal(header.logId, header.segment, header.salt);
  body.copy(bytes, BATCH_HEADER_BYTES);
  const chained = { ...batch, bodyCrc: crc32(body), chain: before.chain, flags: BATCH_RECOVERED | BATCH_REPAIRED };
  seal.encode(bytes.subarray(0, BATCH_HEADER_BYTES), before.endOffset, chained, after.chain);
  return bytes;
}

/**
 * Marks for a log that begins with the first segment that is there; on both pages, as when segments
 * are given up.
 */
function renewMarks(storage: Storage, checkpoint: number): void {
  const { logId, segment, baseSequence } = firstHeader(storage);
  const marks = { logId, durableSequence: baseSequence - 1, firstSegment: segment, firstSequence: baseSequence };
  writeMarks(storage, { ...marks, checkpoint, generation: 1 });
  writeMarks(storage, { ...marks, checkpoint, generation: 2 });
}

function firstHeader(storage: Storage): SegmentHeader {
  const [first] = segmentIds(storage);
  const header = first === undefined ? undefined : readHeader(storage, segmentName(first));
  if (header === undefined) throw unrepairable(MARKS_NAME, "there is no segment with a valid header");
  return header;
}

function readWhole(storage: Storage, name: string): Buffer {
  const file = storage.open(name, "read");
  try {
    const bytes = Buffer.alloc(file.size());
    readFully(file, bytes, bytes.length, 0);
    return bytes;
  } finally {
    file.close();
  }
}

function unrepairable(file: string, why: string): Error {
  return journalError("ERR_JOURNAL_DAMAGED", `${file} can't be repaired: ${why}`, { details: { file } });
}
