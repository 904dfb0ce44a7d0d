/**
 * Opening a journal: decides where the log goes on.
 *
 * The scan (scan.ts) refuses damage. Files or parts that it calls torn or unfinished are copied or
 * moved to quarantine. The last valid batch, if no clean end follows, may have been read from the
 * page cache without being on disk (after a failed sync, for instance): it is written again, with
 * its sequences, as the first batch of a new segment, and nothing of it is used before that is
 * durable. Nothing is ever appended to a segment of an earlier opening.
 *
 * What holds after each step, if the power goes right after it; running recovery again gives the
 * same:
 *
 *   unfinished files of ours removed   nothing of the log has changed
 *   the newest segment synced          all that is read below is on disk, except the last batch
 *   unused ends cut                    nothing lay behind the last batch and its torn bytes
 *   torn bytes copied                  they are there twice
 *   an unfinished segment moved        the log ends before it, as it did
 *   marks written, on both pages       the segments before the first don't belong to the log
 *   those removed                      nothing of the log has changed
 */
import { randomBytes } from "node:crypto";
import { alignUp } from "@millrace/shared-memory";
import { ALIGNMENT, type SegmentHeader, segmentOfName } from "../files/format.ts";
import { isUnfinishedSpare } from "../files/spare.ts";
import { type BatchCopy, type LogScan, scanLog, type SegmentScan } from "../read/scan.ts";
import { journalError } from "../errors.ts";
import { keyIndexName } from "../read/key-index.ts";
import { type Marks, writeMarks } from "../files/marks.ts";
import { isDiskFull, replaceFile, type Storage } from "../storage/storage.ts";

/** The findings of an opening, for people. */
export interface RecoverySummary {
  readonly segments: number;
  /**
   * Segments whose batches this opening read. It judged the others by their headers; the keeper
   * reads them later.
   */
  readonly segmentsRead: number;
  /** Batches and bytes of records in the segments that were read. */
  readonly batches: number;
  readonly bytes: number;
  readonly records: number;
  readonly firstSequence: number;
  readonly lastSequence: number;
  /** Whether the journal was closed properly the last time. */
  readonly hasCleanEnd: boolean;
  /** Bytes of a torn tail that were set aside. */
  readonly tornBytes: number;
  /** Copies in the directory `quarantine`. */
  readonly quarantined: readonly string[];
  readonly durationMs: number;
}

/** Where the log goes on. */
export interface RecoveredLog {
  readonly logId: Buffer;
  readonly epoch: number;
  readonly nextSegment: number;
  readonly nextSequence: number;
  /** End of what stays in the old segments. */
  readonly previous: SegmentHeader["previous"];
  /** The last batch, to be written again; undefined after a clean end and in a new log. */
  readonly tail: BatchCopy | undefined;
  readonly marks: Marks | undefined;
  readonly segments: readonly RecoveredSegment[];
  readonly summary: RecoverySummary;
}

/** A segment as an opening found it. */
export interface RecoveredSegment {
  readonly name: string;
  readonly baseSequence: number;
  /** Whether its batches were read. */
  readonly isRead: boolean;
}

const QUARANTINE = "quarantine";

export interface RecoveryOptions {
  /** Refuse a torn tail too, instead of setting it aside. Default false. */
  readonly strict?: boolean;
  /** Read every batch, also in segments that `marks` knows to be durable. Default false. */
  readonly everything?: boolean;
}

/** Throws `ERR_JOURNAL_DAMAGED`, `ERR_JOURNAL_TORN`, `ERR_JOURNAL_VERSION`, and system errors. */
export function recover(storage: Storage, options: RecoveryOptions = {}): RecoveredLog {
  const startedMs = performance.now();
  const { strict = false, everything = false } = options;
  removeTemporaries(storage);
  syncNewest(storage);
  const scan = scanLog(storage, { everything, isLocked: true });
  if (strict) refuseTorn(scan);
  cutUnusedEnds(storage, scan);
  const quarantined = setAside(storage, scan);
  const marks = removeGivenUp(storage, scan);
  const last = scan.segments.at(-1);
  const lastSequence = last?.end.lastSequence ?? 0;
  const sum = (count: (segment: SegmentScan) => number): number =>
    scan.segments.reduce((total, segment) => total + count(segment), 0);
  return {
    logId: last?.header.logId ?? randomBytes(16),
    epoch: (last?.header.epoch ?? 0) + 1,
    nextSegment: (last?.header.segment ?? 0) + 1,
    nextSequence: lastSequence + 1,
    previous: scan.tailStart ?? last?.end ?? { segment: 0, endOffset: 0, lastSequence: 0, chain: 0 },
    tail: scan.tail,
    marks,
    segments: scan.segments.map(({ name, header, isRead }) => ({ name, baseSequence: header.baseSequence, isRead })),
    summary: {
      segments: scan.segments.length,
      segmentsRead: sum((segment) => (segment.isRead ? 1 : 0)),
      firstSequence: scan.segments[0]?.header.baseSequence ?? 1,
      batches: sum((segment) => segment.batches),
      records: sum((segment) => segment.records),
      bytes: sum((segment) => segment.bytes),
      lastSequence,
      hasCleanEnd: scan.hasCleanEnd,
      tornBytes: scan.torn.length,
      quarantined,
      durationMs: performance.now() - startedMs,
    },
  };
}

/** With `strict`, refuses a torn tail that `tolerateTornTail` would set aside. */
function refuseTorn(scan: LogScan): void {
  if (scan.torn.length === 0 && !scan.isTornUnknown) return;
  const { name, end } = scan.segments.at(-1) as SegmentScan;
  const what = scan.isTornUnknown
    ? "bytes that may be left from a torn batch"
    : `${scan.torn.length} bytes of a torn batch`;
  throw journalError("ERR_JOURNAL_TORN", `${name} at offset ${end.endOffset}: ${what}`, {
    details: { file: name, offset: end.endOffset, bytes: scan.torn.length, firstSequence: end.lastSequence + 1 },
  });
}

/**
 * Removes segments that were given up, and that a crash kept from being deleted. The marks that say
 * so may only be in the page cache, even after a sync that succeeds (an earlier one may have
 * failed). So this writes both pages again first; else the segments would seem to be missing.
 */
function removeGivenUp(storage: Storage, { marks, givenUp }: LogScan): Marks | undefined {
  if (marks === undefined || givenUp.length === 0) return marks;
  const next = { ...marks, generation: marks.generation + 1 };
  // The newer page first, in its place: until it is on disk the other one is needed as it was.
  writeMarks(storage, marks);
  writeMarks(storage, next);
  const names = storage.list();
  for (const name of givenUp) {
    const index = keyIndexName(segmentOfName(name) as number);
    if (names.includes(index)) storage.remove(index);
    storage.remove(name);
  }
  storage.syncDirectory();
  return next;
}

/** Only what this package has left unfinished: other files of that kind aren't ours to remove. */
function removeTemporaries(storage: Storage): void {
  for (const name of storage.list().filter(isUnfinished)) storage.remove(name);
}

function isUnfinished(name: string): boolean {
  return isUnfinishedSpare(name) || /^(log-[0-9a-f]{16}\.wal|marks)\.tmp$/.test(name);
}

/** No decision may rest on bytes that a dead process has left only in the page cache. */
function syncNewest(storage: Storage): void {
  const newest = storage
    .list()
    .filter((name) => segmentOfName(name) !== undefined)
    .toSorted()
    .at(-1);
  if (newest !== undefined) {
    const file = storage.open(newest, "write");
    file.sync();
    file.close();
  }
  storage.syncDirectory();
}

/**
 * Gives back what earlier openings had prepared and never used: a process that dies leaves the
 * segment that it wrote as large as that was prepared. Torn bytes stay.
 */
function cutUnusedEnds(storage: Storage, { segments, torn, isTornUnknown }: LogScan): void {
  // Of leftovers a page stays: "strict" refuses them, also later.
  const behind = isTornUnknown ? ALIGNMENT : torn.length;
  for (const [index, { name, header, end, fileBytes }] of segments.entries()) {
    const next = segments[index + 1];
    // A segment that was filled may become a spare; and the batch at the end of the last but one is
    // kept, in case that the repetition in the last one is damaged.
    if (next !== undefined && (next.header.epoch === header.epoch || index === segments.length - 2)) continue;
    const used = alignUp(end.endOffset + (next === undefined ? behind : 0), ALIGNMENT);
    if (fileBytes > used) cut(storage, name, used);
  }
}

function cut(storage: Storage, name: string, bytes: number): void {
  const file = storage.open(name, "write");
  try {
    file.truncate(bytes);
    file.sync();
  } finally {
    file.close();
  }
}

/**
 * Copies the torn tail, moves unfinished segments; returns the names of the copies. They are for
 * people: on a disk without room for them an opening goes on without.
 */
function setAside(storage: Storage, scan: LogScan): string[] {
  const quarantined: string[] = [];
  if (scan.torn.length === 0 && scan.unfinished.length === 0) return quarantined;
  const hasPlace = makeQuarantine(storage);
  const last = scan.segments.at(-1);
  if (hasPlace && scan.torn.length > 0 && last !== undefined) {
    const name = `${QUARANTINE}/${last.name}-at-${last.end.endOffset}`;
    if (copyTorn(storage, name, scan.torn)) quarantined.push(name);
  }
  for (const name of scan.unfinished) {
    if (hasPlace) {
      storage.rename(name, `${QUARANTINE}/${name}`);
      quarantined.push(`${QUARANTINE}/${name}`);
    } else storage.remove(name);
  }
  if (hasPlace) storage.syncDirectory(QUARANTINE);
  storage.syncDirectory();
  return quarantined;
}

/** False when the disk has no room for a directory. */
function makeQuarantine(storage: Storage): boolean {
  try {
    storage.makeDirectory(QUARANTINE);
    return true;
  } catch (thrown) {
    if (!isDiskFull(thrown)) throw thrown;
    return false;
  }
}

/**
 * Whether there was room for a copy, which is for people. The torn bytes stay where they are in any
 * case. An earlier recovery of the same tail may have left a copy, or part of one.
 */
function copyTorn(storage: Storage, name: string, torn: Buffer): boolean {
  try {
    replaceFile(storage, name, torn);
    return true;
  } catch (thrown) {
    if (!isDiskFull(thrown)) throw thrown;
    cutCopy(storage, name);
    return false;
  }
}

/** Gives back the room of half a copy. */
function cutCopy(storage: Storage, name: string): void {
  try {
    storage.remove(name);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== "ENOENT") throw thrown;
  }
}
