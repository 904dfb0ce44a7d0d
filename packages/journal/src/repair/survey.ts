/**
 * Reads a log that may be damaged, and lists each piece that is missing instead of stopping at the
 * first. For tools: an opening refuses a log with any of them (scan.ts).
 *
 * The survey walks the segments in order and notes where the readable log ends. A gap opens where
 * no valid batch follows, or where a segment is missing or has no valid header. It closes at the
 * next valid batch, or at the end that the header of a later segment names for the segment before
 * it. So a gap may span several segments.
 *
 * A process may write to the log meanwhile. A gap counts when two surveys in a row find it: a batch
 * that was being written, or a segment that was given up, is no gap the second time.
 */
import {
  ALIGNMENT,
  type BatchHeader,
  batchBytes,
  BatchSeal,
  KIND,
  SEGMENT_HEADER_BYTES,
  type SegmentEnd,
  type SegmentHeader,
  segmentName,
} from "../files/format.ts";
import { MARKS_NAME } from "../files/marks.ts";
import { withFile } from "../files/segments.ts";
import { firstBatch, type PlacedBatch } from "../read/behind-end.ts";
import { inOneGo, lookAgainInSteps } from "../read/look-again.ts";
import { SegmentReader } from "../read/segment-reader.ts";
import type { Storage, StorageFile } from "../storage/storage.ts";
import type { Gap, GapEnd, OldCopy } from "./gap.ts";
import { LogParts } from "./log-parts.ts";

export interface Survey {
  readonly firstSequence: number;
  readonly lastSequence: number;
  readonly gaps: readonly Gap[];
  readonly segments: number;
}

/** Called for every batch that can be read, in order. */
export type SurveyVisitor = (segment: SegmentHeader, batch: BatchHeader, body: Buffer) => void;

/**
 * Throws `ERR_JOURNAL_VERSION`, and `ERR_JOURNAL_DAMAGED` when the log changes too fast to be
 * surveyed.
 */
export function surveyLog(storage: Storage, visit?: SurveyVisitor): Survey {
  return inOneGo(surveyInSteps(storage, visit));
}

/** As `surveyLog`, with a pause behind every batch that is read. */
export function* surveyInSteps(storage: Storage, visit?: SurveyVisitor): Generator<void, Survey> {
  const survey = yield* lookAgainInSteps(
    () => new Surveyor(storage, () => {}).run(),
    ({ gaps }) => gaps.map(placeOf).join(),
  );
  if (visit === undefined) return survey;
  const known = new Set(survey.gaps.map(placeOf));
  // A segment may be given up meanwhile. The survey then begins anew and visits the others.
  let next = 0;
  const visitOnce: SurveyVisitor = (segment, batch, body) => {
    if (batch.firstSequence < next) return;
    next = batch.firstSequence + batch.count;
    visit(segment, batch, body);
  };
  const visited = yield* lookAgainInSteps(
    () => new Surveyor(storage, visitOnce).run(),
    () => "",
  );
  return { ...visited, gaps: visited.gaps.filter((gap) => known.has(placeOf(gap))) };
}

/** A log without gaps needs no second look. */
function placeOf({ file, offset, firstSequence }: Gap): string {
  return `${file}/${offset}/${firstSequence}`;
}

/** A gap whose end isn't known yet. */
interface OpenGap {
  readonly file: string;
  readonly segment: number;
  readonly offset: number;
  readonly reason: string;
}

class Surveyor {
  readonly #storage: Storage;
  readonly #parts: LogParts;
  readonly #visit: SurveyVisitor;
  readonly #gaps: Gap[] = [];
  /** The last segment to look at: not one that an opening has left unfinished. */
  readonly #last: number;
  #firstSequence: number | undefined;
  /** Where the readable log ends so far. */
  #here: SegmentEnd;
  /** Where its last batch begins, which an opening may have repeated in the next segment. */
  #beforeLast: SegmentEnd | undefined;
  #open: OpenGap | undefined;

  constructor(storage: Storage, visit: SurveyVisitor) {
    this.#storage = storage;
    this.#visit = visit;
    this.#parts = new LogParts(storage);
    const { first, marks } = this.#parts;
    this.#firstSequence =
      this.#parts.header(first)?.baseSequence ?? marks?.firstSequence ?? (first === 1 ? 1 : undefined);
    this.#here = { segment: first - 1, endOffset: 0, lastSequence: (this.#firstSequence ?? 1) - 1, chain: 0 };
    this.#last = this.#lastToSurvey();
  }

  *run(): Generator<void, Survey> {
    const { first, durable, ids } = this.#parts;
    for (let id = first; id <= this.#last; id += 1) yield* this.#segment(id);
    this.#end(durable);
    const firstSequence = this.#firstSequence ?? 1;
    const gaps = [...this.#missingBeginning(), ...this.#gaps];
    const lastSequence = Math.max(this.#here.lastSequence, ...gaps.map((gap) => gap.lastSequence));
    return { firstSequence, lastSequence, gaps, segments: ids.length };
  }

  /**
   * An opening that died leaves a newest segment without the batch that it was to repeat: that is
   * in its old place.
   */
  #lastToSurvey(): number {
    const { last } = this.#parts;
    const header = this.#parts.header(last);
    if (header?.kind !== KIND.recovered) return last;
    const seal = new BatchSeal(header.logId, header.segment, header.salt);
    if (this.#parts.durable > header.recovered.last) return last;
    const isEmpty = withFile(
      this.#storage,
      segmentName(last),
      (file) =>
        !new SegmentReader(file, header).next() &&
        firstBatch(file, seal, SEGMENT_HEADER_BYTES + ALIGNMENT, false) === undefined,
    );
    return isEmpty && this.#oldCopy(header) !== undefined ? last - 1 : last;
  }

  *#segment(id: number): Generator<void, void> {
    const header = this.#parts.header(id);
    const successor = id < this.#last ? this.#parts.header(id + 1) : undefined;
    if (header === undefined) yield* this.#headerless(id, successor);
    else {
      const start = {
        segment: id,
        endOffset: SEGMENT_HEADER_BYTES,
        lastSequence: header.baseSequence - 1,
        chain: header.chain,
      };
      this.#here = start;
      this.#beforeLast = undefined;
      yield* this.#read(header, undefined, successor);
      if (successor !== undefined && this.#open === undefined && !isSameEnd(this.#here, successor.previous))
        this.#doubt(start, successor.previous);
    }
    if (successor === undefined) return;
    const { endOffset: offset, lastSequence, chain } = successor.previous;
    if (this.#open !== undefined)
      this.#close({ segment: id, offset, nextSequence: lastSequence + 1, chain, salt: undefined });
    this.#here = successor.previous;
    this.#beforeLast = undefined;
  }

  *#headerless(id: number, successor: SegmentHeader | undefined): Generator<void, void> {
    const isThere = this.#parts.ids.includes(id);
    const file = segmentName(id);
    this.#open ??= {
      file,
      segment: id,
      offset: 0,
      reason: isThere ? "the segment's header is invalid" : "the segment is missing",
    };
    const found = this.#parts.firstBatchOf(id);
    if (found === undefined) return;
    const { batch, header } = found;
    this.#close({ ...endAt(id, batch), salt: batch.salt });
    yield* this.#read(header, batch, successor);
  }

  /**
   * Reads a segment from its beginning, or from a batch in it, to the end that its successor names
   * or to its own.
   */
  *#read(
    header: SegmentHeader,
    from: PlacedBatch | undefined,
    successor: SegmentHeader | undefined,
  ): Generator<void, void> {
    const file = this.#storage.open(segmentName(header.segment), "read");
    try {
      yield* this.#readFile(file, header, from, successor);
    } finally {
      file.close();
    }
  }

  *#readFile(
    file: StorageFile,
    header: SegmentHeader,
    from: PlacedBatch | undefined,
    successor: SegmentHeader | undefined,
  ): Generator<void, void> {
    const stop = successor?.previous.endOffset ?? Number.POSITIVE_INFINITY;
    const reader = new SegmentReader(file, header);
    if (from !== undefined) reader.startAt(from.offset, from.header.firstSequence);
    // Ends: each turn reads to the next gap and continues behind it, or is the last.
    for (;;) {
      while (reader.position.offset < stop && reader.next()) {
        this.#readable(reader);
        yield;
      }
      const { offset, nextSequence } = reader.position;
      if (offset >= stop) return;
      const later = laterBatch(file, header, offset, Math.min(stop, file.size()), nextSequence);
      // Everything before a valid batch is completely written by now: if it wasn't at the first
      // look, look once more.
      if (later !== undefined && reader.next()) {
        this.#readable(reader);
        continue;
      }
      this.#open = { file: segmentName(header.segment), segment: header.segment, offset, reason: reader.reason };
      const next = later === undefined ? this.#stopOf(successor) : endAt(header.segment, later);
      this.#restoreRepeated(header, next);
      if (next !== undefined && this.#open !== undefined) this.#close(next);
      if (later === undefined || !reader.startAt(later.offset, later.header.firstSequence)) return;
    }
  }

  #readable(reader: SegmentReader): void {
    this.#beforeLast = this.#here;
    this.#here = reader.end;
    this.#visit(reader.header, reader.batch as BatchHeader, reader.body);
  }

  #stopOf(successor: SegmentHeader | undefined): GapEnd | undefined {
    if (successor === undefined) return undefined;
    const { segment, endOffset: offset, lastSequence, chain } = successor.previous;
    return { segment, offset, nextSequence: lastSequence + 1, chain, salt: undefined };
  }

  /**
   * A repeated batch at the beginning of the gap is read at its old place, if it is intact there:
   * it isn't lost.
   */
  #restoreRepeated(header: SegmentHeader, end: GapEnd | undefined): void {
    const opened = this.#open as OpenGap;
    const isFirst = this.#here.endOffset === SEGMENT_HEADER_BYTES && header.kind === KIND.recovered;
    const copy = isFirst ? this.#oldCopy(header) : undefined;
    if (copy === undefined) return;
    const offset = SEGMENT_HEADER_BYTES + batchBytes(copy.header.bodyBytes);
    const nextSequence = header.recovered.last + 1;
    const isWhole = end?.offset === offset;
    if (end !== undefined && (end.offset < offset || end.nextSequence < nextSequence)) return;
    if (isWhole && end.nextSequence !== nextSequence) return;
    this.#visit(header, copy.header, copy.body);
    // The batch behind it names a chain value, unless the gap goes on: then any value will do.
    const chain = isWhole ? end.chain : copy.header.crc;
    this.#close({ segment: header.segment, offset, nextSequence, chain, salt: undefined }, copy);
    if (!isWhole) this.#open = { ...opened, offset };
  }

  /** The batch that an opening has repeated at the beginning of a segment, at its old place. */
  #oldCopy({ logId, previous, recovered }: SegmentHeader): OldCopy | undefined {
    const before = this.#parts.header(previous.segment) ?? this.#parts.firstBatchOf(previous.segment)?.header;
    if (before === undefined || !before.logId.equals(logId)) return undefined;
    return withFile(this.#storage, segmentName(previous.segment), (file) => {
      const reader = new SegmentReader(file, before);
      if (!reader.startAt(previous.endOffset, recovered.first) || !reader.next()) return undefined;
      if (reader.end.lastSequence !== recovered.last) return undefined;
      return { header: reader.batch as BatchHeader, body: Buffer.from(reader.body) };
    });
  }

  /**
   * A segment whose batches are valid, but don't lead to the end that the next header names: none
   * of them counts.
   */
  #doubt(start: SegmentEnd, named: SegmentEnd): void {
    while (this.#gaps.at(-1)?.segment === start.segment) this.#gaps.pop();
    const reason = `${segmentName(named.segment + 1)} names another end of this segment`;
    this.#open = { file: segmentName(start.segment), segment: start.segment, offset: start.endOffset, reason };
    this.#here = start;
  }

  #close(after: GapEnd, copy?: OldCopy): void {
    const { file, segment, offset, reason } = this.#open as OpenGap;
    this.#open = undefined;
    if (this.#firstSequence === undefined) {
      this.#firstSequence = after.nextSequence;
      this.#here = { ...this.#here, lastSequence: after.nextSequence - 1 };
    }
    const isRepeated = after.salt !== undefined && this.#beforeLast?.lastSequence === after.nextSequence - 1;
    const before = isRepeated ? (this.#beforeLast as SegmentEnd) : this.#here;
    this.#gaps.push({
      file,
      segment,
      offset,
      reason,
      firstSequence: copy === undefined ? before.lastSequence + 1 : after.nextSequence,
      lastSequence: after.nextSequence - 1,
      before,
      after,
      hollow: range(before.segment + 1, after.segment - 1),
      copy,
    });
    this.#here = {
      segment: after.segment,
      endOffset: after.offset,
      lastSequence: after.nextSequence - 1,
      chain: after.chain,
    };
    this.#beforeLast = undefined;
  }

  /**
   * Adds the sequences that are known to be durable and are missing, and hollow segments in front
   * of the last one.
   */
  #end(durable: number): void {
    const before = this.#here;
    // An opening sets a newest segment aside by itself when it holds nothing at all.
    const isUnfinished = this.#parts.header(this.#last) === undefined && !this.#parts.holdsBatch(this.#last);
    const hollow = range(before.segment + 1, isUnfinished ? this.#last - 1 : this.#last);
    const lastSequence = Math.max(durable, before.lastSequence, this.#promised());
    const isAllThere = lastSequence === before.lastSequence && hollow.length === 0;
    if (isAllThere && (before.endOffset > 0 || this.#parts.ids.length === 0)) return;
    const { first } = this.#parts;
    const nothing = { file: segmentName(first), segment: first, offset: 0, reason: "every segment is missing" };
    const opened = this.#open ?? nothing;
    this.#gaps.push({
      ...opened,
      firstSequence: before.lastSequence + 1,
      lastSequence,
      before,
      after: undefined,
      hollow,
      copy: undefined,
    });
  }

  /**
   * The last record of the batch that the newest segment was to repeat, when that is all that it
   * was to hold so far.
   */
  #promised(): number {
    const header = this.#parts.header(this.#here.segment);
    const isEmpty = this.#here.endOffset === SEGMENT_HEADER_BYTES;
    return isEmpty && header?.kind === KIND.recovered ? header.recovered.last : 0;
  }

  /**
   * A checkpoint that is lost; or without `marks`, when nothing tells whether the segments before
   * the first one were given up or are lost.
   */
  #missingBeginning(): Gap[] {
    const { first, marks, hasForeignMarks } = this.#parts;
    const header = this.#parts.header(first);
    const isFirst = first <= 1 || header?.kind === KIND.first || header?.previous.segment === 0;
    const firstSequence = this.#firstSequence ?? 1;
    let reason: string;
    let lastSequence = isFirst ? 0 : firstSequence - 1;
    if (this.#parts.ids.length === 0) return [];
    if (hasForeignMarks) reason = "it belongs to another log";
    else if (this.#parts.lacksCheckpoint(firstSequence)) {
      reason = "the checkpoint is lost, and with that what it said of the records before the log";
      lastSequence = firstSequence - 1;
    } else if (marks === undefined && !isFirst)
      reason = `the segments before ${segmentName(first)} are missing, and marks, which would say whether they were given up, is lost`;
    else return [];
    const before = { segment: 0, endOffset: 0, lastSequence: 0, chain: 0 };
    return [
      {
        file: MARKS_NAME,
        segment: first,
        offset: 0,
        reason,
        firstSequence: 1,
        lastSequence,
        before,
        after: undefined,
        hollow: [],
        copy: undefined,
      },
    ];
  }
}

/** The next batch behind a gap: one whose sequences the gap doesn't hold. */
function laterBatch(
  file: StorageFile,
  header: SegmentHeader,
  offset: number,
  stop: number,
  atLeast: number,
): PlacedBatch | undefined {
  const seal = new BatchSeal(header.logId, header.segment, header.salt);
  // Ends: each turn begins behind the batch that the last one found.
  for (let from = offset + ALIGNMENT; from < stop;) {
    const batch = firstBatch(file, seal, from, false);
    if (batch === undefined || batch.offset >= stop) return undefined;
    if (batch.header.firstSequence >= atLeast) return batch;
    from = batch.offset + ALIGNMENT;
  }
  return undefined;
}

function endAt(segment: number, { offset, header }: PlacedBatch): GapEnd {
  return { segment, offset, nextSequence: header.firstSequence, chain: header.chain, salt: undefined };
}

function isSameEnd(left: SegmentEnd, right: SegmentEnd): boolean {
  return left.endOffset === right.endOffset && left.lastSequence === right.lastSequence && left.chain === right.chain;
}

function range(first: number, last: number): number[] {
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, index) => first + index);
}
