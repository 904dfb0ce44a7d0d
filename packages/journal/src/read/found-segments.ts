/**
 * Finds the segments that belong to a log, and whether one of them is missing; judged by their
 * names and headers alone.
 */
import {
  BatchSeal,
  KIND,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
  segmentName,
  segmentOfName,
} from "../files/format.ts";
import { type Marks, MARKS_NAME } from "../files/marks.ts";
import { readHeader, withFile } from "../files/segments.ts";
import type { Storage } from "../storage/storage.ts";
import { firstBatch } from "./behind-end.ts";
import { damaged } from "./damage.ts";
import { checkOrigin, type Witnesses } from "./witnesses.ts";

/** A segment with a valid header. */
export interface Found {
  readonly name: string;
  readonly header: SegmentHeader;
}

export interface FoundSegments {
  /** The segments of the log, in order. */
  readonly found: readonly Found[];
  /** The newest segment, if an opening died before it had written anything that counts. */
  readonly unfinished: readonly string[];
  /** Segments before the first that belongs to the log: given up, not yet deleted. */
  readonly givenUp: readonly string[];
}

/**
 * Throws `ERR_JOURNAL_DAMAGED` when a header is invalid, or a segment is missing or belongs to
 * another log.
 */
export function findSegments(storage: Storage, witnesses: Witnesses): FoundSegments {
  const { marks } = witnesses;
  const all = storage
    .list()
    .filter((name) => segmentOfName(name) !== undefined)
    .toSorted();
  const from = marks?.firstSegment ?? 0;
  const givenUp = all.filter((name) => (segmentOfName(name) as number) < from);
  const names = all.slice(givenUp.length);
  const found: Found[] = [];
  const unfinished: string[] = [];
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
  checkOrder(found);
  checkBeginning(found, marks);
  checkGivenUp(storage, givenUp, found);
  const first = found[0];
  if (first === undefined) refuseWitnesses(witnesses);
  else checkOrigin(witnesses, first.header.logId);
  return { found, unfinished, givenUp };
}

/** Whether a segment without a valid header holds batches of the log that `before` belongs to. */
function holdsBatches(storage: Storage, name: string, before: SegmentHeader): boolean {
  const seal = new BatchSeal(before.logId, before.segment + 1, before.salt);
  return withFile(storage, name, (file) => firstBatch(file, seal, SEGMENT_HEADER_BYTES, true) !== undefined);
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
  if (first === undefined) return;
  const { name, header } = first;
  if (marks === undefined) {
    if (header.kind === KIND.first || header.previous.segment === 0) return;
    throw damaged(name, 0, "the segments before it are missing, and no file `marks` says that they were given up");
  }
  if (!header.logId.equals(marks.logId)) throw damaged(MARKS_NAME, 0, "it belongs to another log");
  if (header.segment !== marks.firstSegment) {
    throw damaged(segmentName(marks.firstSegment), 0, `the segments before ${name} are missing`, {
      firstSequence: marks.firstSequence,
      lastSequence: header.baseSequence - 1,
    });
  }
}

/** Segments to be deleted must belong to this log: marks of another log would give up all of it. */
function checkGivenUp(storage: Storage, givenUp: readonly string[], found: readonly Found[]): void {
  const first = found[0];
  for (const name of givenUp) {
    const header = readHeader(storage, name);
    if (first === undefined || (header !== undefined && !header.logId.equals(first.header.logId))) {
      throw damaged(name, 0, "the file marks says that it was given up, and belongs to another log");
    }
  }
}

/** A log without any segment is a new one only if nothing is left of an older one. */
function refuseWitnesses({ marks, checkpoints, durable }: Witnesses): void {
  if (marks === undefined && checkpoints.length === 0) return;
  throw damaged(segmentName(marks?.firstSegment ?? 1), 0, "every segment is missing", {
    firstSequence: marks?.firstSequence ?? 1,
    lastSequence: durable,
  });
}
