/**
 * Makes a damaged log readable again, after somebody has said which records may be lost.
 *
 * Every gap is filled with LOST records, one for each sequence, so that all other records keep theirs. Nothing else of the log changes: a
 * batch that is put into a gap names the chain value that the batch behind it expects (flag 4 of the format). If marks is lost, and with it
 * the knowledge of where the log begins, it is written again for the first segment that is there.
 *
 * What each step promises if the power goes right after it: the damaged segment is copied to quarantine and synced: nothing has changed;
 * the repaired one is written to a temporary file and synced: likewise; it takes the segment's name: repaired; the next segment follows.
 */
import { randomBytes } from "node:crypto";
import { crc32 } from "@millrace/codec";
import { frameBytes } from "@millrace/shared-memory";
import { journalError } from "../errors.ts";
import {
  ALIGNMENT,
  BATCH_HEADER_BYTES,
  BATCH_REPAIRED,
  batchBytes,
  BatchSeal,
  encodeSegmentHeader,
  KIND,
  RECORD_FIXED_BYTES,
  RECORD_TYPE,
  SEGMENT_HEADER_BYTES,
  SEGMENT_REPAIRED,
  type SegmentHeader,
  segmentName,
} from "../files/format.ts";
import { MARKS_NAME, writeMarks } from "../files/marks.ts";
import { readHeader, segmentIds } from "../files/segments.ts";
import { readFully, replaceFile, type Storage } from "../storage/storage.ts";
import { type Gap, rebuiltHeader, type Survey, surveyLog } from "./survey.ts";

export interface RepairSummary {
  readonly gaps: readonly Gap[];
  /** Records that were given up. */
  readonly lost: number;
  /** Copies of the segments as they were, and the note of what was done. */
  readonly quarantined: readonly string[];
}

const QUARANTINE = "quarantine";

/** The first gap that is not within the sequences from `first` to `last`; undefined when all are. */
export function gapOutside(survey: Survey, first: number, last: number): Gap | undefined {
  return survey.gaps.find(
    (gap) => gap.lastSequence >= gap.firstSequence && (gap.firstSequence < first || gap.lastSequence > last),
  );
}

/** Fills every gap. The caller holds the directory's lock and has seen to it that the loss is accepted. Throws `ERR_JOURNAL_DAMAGED` for what
 * can't be repaired. */
export function repairLog(storage: Storage, nowMs: number): RepairSummary {
  const { gaps } = surveyLog(storage);
  const quarantined: string[] = [];
  if (gaps.length === 0) return { gaps, lost: 0, quarantined };
  storage.makeDirectory(QUARANTINE);
  const inSegments = gaps.filter(({ file }) => file !== MARKS_NAME);
  for (const segment of new Set(inSegments.map((gap) => gap.segment))) {
    const own = inSegments.filter((gap) => gap.segment === segment);
    const copy = repairSegment(storage, segment, own, nowMs);
    if (copy !== undefined) quarantined.push(copy);
  }
  if (inSegments.length < gaps.length) renewMarks(storage);
  const lost = gaps.reduce(
    (sum, { firstSequence, lastSequence }) => sum + Math.max(0, lastSequence - firstSequence + 1),
    0,
  );
  const note = `${QUARANTINE}/repair-${nowMs}.json`;
  const told = gaps.map(({ file, offset, reason, firstSequence, lastSequence }) => ({
    file,
    offset,
    reason,
    firstSequence,
    lastSequence,
  }));
  replaceFile(
    storage,
    note,
    Buffer.from(`${JSON.stringify({ repairedAtMs: nowMs, lost, gaps: told, quarantined }, undefined, 2)}\n`),
  );
  storage.syncDirectory(QUARANTINE);
  return { gaps, lost, quarantined: [...quarantined, note] };
}

/** Marks for a log that begins with the first segment that is there; on both pages, as when segments are given up. */
function renewMarks(storage: Storage): void {
  const [first] = segmentIds(storage);
  const header = first === undefined ? undefined : headerOf(storage, first);
  if (header === undefined) throw unrepairable(MARKS_NAME, "there is no segment with a valid header");
  const { logId, segment, baseSequence } = header;
  const marks = { logId, durableSequence: baseSequence - 1, firstSegment: segment, firstSequence: baseSequence };
  writeMarks(storage, { ...marks, generation: 1 });
  writeMarks(storage, { ...marks, generation: 2 });
}

function repairSegment(storage: Storage, segment: number, gaps: readonly Gap[], nowMs: number): string | undefined {
  const name = segmentName(segment);
  const isThere = storage.list().includes(name);
  let bytes = isThere ? readWhole(storage, name) : Buffer.alloc(0);
  const copy = isThere ? `${QUARANTINE}/${name}-before-repair-${nowMs}` : undefined;
  if (copy !== undefined) replaceFile(storage, copy, bytes);
  let header = gaps[0]?.header;
  for (const gap of gaps) {
    if (gap.header === undefined) [bytes, header] = withHeader(storage, gap, bytes, nowMs);
    else bytes = filled(bytes, gap.header, gap, nowMs);
  }
  if (header === undefined) throw unrepairable(name, "nothing is known of its neighbours");
  replaceFile(storage, `${name}.tmp`, bytes);
  storage.syncDirectory(QUARANTINE);
  storage.rename(`${name}.tmp`, name);
  storage.syncDirectory();
  return copy;
}

/** The segment with a header again; a segment that is gone becomes one that holds nothing but what stands for its records. */
function withHeader(storage: Storage, gap: Gap, bytes: Buffer, nowMs: number): [Buffer, SegmentHeader] {
  const before = gap.segment > 1 ? headerOf(storage, gap.segment - 1) : undefined;
  const after = headerOf(storage, gap.segment + 1);
  const neighbour = before ?? after;
  if (neighbour === undefined) throw unrepairable(gap.file, "nothing is known of its neighbours");
  const rebuilt = rebuiltHeader(storage, gap, neighbour);
  if (rebuilt !== undefined) {
    if (gap.lastSequence >= gap.firstSequence)
      throw unrepairable(gap.file, "records between it and the segment before are missing");
    encodeSegmentHeader(rebuilt).bytes.copy(bytes, 0);
    return [bytes, rebuilt];
  }
  if (gap.endOffset === undefined || gap.nextChain === undefined) throw unrepairable(gap.file, "it has no successor");
  const header: SegmentHeader = {
    ...neighbour,
    segment: gap.segment,
    salt: randomBytes(8),
    baseSequence: gap.firstSequence,
    segmentBytes: gap.endOffset,
    createdMs: nowMs,
    kind: gap.previous.endOffset === 0 ? KIND.first : KIND.rolled,
    previous: gap.previous,
    recovered: { first: 0, last: 0 },
    flags: SEGMENT_REPAIRED,
    chain: gap.endOffset === SEGMENT_HEADER_BYTES ? gap.nextChain : 0,
  };
  const whole = Buffer.alloc(gap.endOffset);
  encodeSegmentHeader(header).bytes.copy(whole);
  if (gap.endOffset === SEGMENT_HEADER_BYTES) return [whole, header];
  return [filled(whole, header, { ...gap, offset: SEGMENT_HEADER_BYTES, chain: 0 }, nowMs), header];
}

/** The segment with batches of LOST records in the place of a gap. */
function filled(bytes: Buffer, header: SegmentHeader, gap: Gap, nowMs: number): Buffer {
  const count = Math.max(0, gap.lastSequence - gap.firstSequence + 1);
  const frame = frameBytes(RECORD_FIXED_BYTES - 4);
  const end = gap.endOffset ?? gap.offset + batchBytes(count * frame);
  const whole = Buffer.alloc(Math.max(end, gap.endOffset === undefined ? end : bytes.length));
  bytes.copy(whole, 0, 0, Math.min(gap.offset, bytes.length));
  if (gap.endOffset !== undefined && end < bytes.length) bytes.copy(whole, end, end);
  const note = Buffer.from(
    JSON.stringify({ lost: [gap.firstSequence, gap.lastSequence], reason: gap.reason, repairedAtMs: nowMs }),
  );
  const seal = new BatchSeal(header.logId, header.segment, header.salt);
  const step = Math.floor((header.batchBytesMax + BATCH_HEADER_BYTES) / ALIGNMENT) * ALIGNMENT;
  const batches = Math.ceil((end - gap.offset) / step);
  let { offset, chain } = gap;
  let sequence = gap.firstSequence;
  for (let batch = 0; batch < batches; batch += 1) {
    const isLast = batch === batches - 1;
    const batchEnd = isLast ? end : offset + step;
    const records = isLast
      ? gap.lastSequence - sequence + 1
      : Math.min(Math.floor((step - BATCH_HEADER_BYTES) / frame), gap.lastSequence - sequence - (batches - batch - 2));
    const body = lostRecords(records, batchEnd - offset - BATCH_HEADER_BYTES, note, nowMs, gap.file);
    body.copy(whole, offset + BATCH_HEADER_BYTES);
    const nextChain = isLast ? gap.nextChain : undefined;
    chain = seal.encode(
      whole.subarray(offset, offset + BATCH_HEADER_BYTES),
      offset,
      {
        bodyCrc: crc32(body),
        bodyBytes: body.length,
        firstSequence: sequence,
        count: Math.max(0, records),
        flags: nextChain === undefined ? 0 : BATCH_REPAIRED,
        durableSequence: sequence - 1,
        chain,
        timeMs: nowMs,
      },
      nextChain,
    );
    sequence += Math.max(0, records);
    offset = batchEnd;
  }
  return whole;
}

/** `count` records that fill `bytes` exactly; the last one is as long as that takes, and holds the note if it fits. */
function lostRecords(count: number, bytes: number, note: Buffer, nowMs: number, file: string): Buffer {
  const frame = frameBytes(RECORD_FIXED_BYTES - 4);
  if (count <= 0) {
    if (bytes + BATCH_HEADER_BYTES > ALIGNMENT) throw unrepairable(file, "a gap without records is larger than a page");
    return Buffer.alloc(0);
  }
  if (count * frame > bytes) throw unrepairable(file, "a gap is too small for its records");
  const body = Buffer.alloc(bytes);
  for (let index = 0; index < count; index += 1) {
    const start = index * frame;
    const length = index === count - 1 ? bytes - start - 4 : RECORD_FIXED_BYTES - 4;
    body.writeUInt32LE(length, start);
    body[start + 4] = RECORD_TYPE.lost;
    body.writeDoubleLE(nowMs, start + 16);
  }
  const payload = (count - 1) * frame + RECORD_FIXED_BYTES;
  if (payload + note.length <= bytes) note.copy(body, payload);
  return body;
}

function headerOf(storage: Storage, segment: number): SegmentHeader | undefined {
  return storage.list().includes(segmentName(segment)) ? readHeader(storage, segmentName(segment)) : undefined;
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
