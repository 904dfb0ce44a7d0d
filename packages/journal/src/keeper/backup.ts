/**
 * Copies a log while it is being written: complete up to the sequence that was durable at the
 * beginning, each batch checked.
 *
 * The copy is what a crash right after that moment would have left, so opening it is an ordinary
 * recovery.
 *
 * A process may be killed in the midst of it. The marks are written first, so that a part is
 * refused like a log that has lost its end: they name records and a checkpoint that aren't there.
 */
import { existsSync, readdirSync, realpathSync } from "node:fs";
import { dirname, resolve, sep } from "node:path";
import { isMillraceError } from "@millrace/base";
import { readCheckpoints, writeCheckpoint } from "../files/checkpoint.ts";
import { journalError } from "../errors.ts";
import { SEGMENT_HEADER_BYTES, segmentName } from "../files/format.ts";
import { damaged } from "../read/damage.ts";
import { LogReader } from "../read/log-reader.ts";
import { scanLog } from "../read/scan.ts";
import { createMarks, firstSegmentIn, type Marks } from "../files/marks.ts";
import { makeDirectories, syncDirectory } from "../storage/lock.ts";
import { directoryMode, FILE_MODE } from "../storage/node-storage.ts";
import { OwnFiles } from "../storage/own-files.ts";
import { storageError } from "../storage/storage-errors.ts";
import { readFully, type Storage, type StorageFile, writeFully } from "../storage/storage.ts";

export interface BackupSummary {
  readonly directory: string;
  readonly segments: number;
  readonly bytes: number;
  /** The first and the last sequence in the copy. */
  readonly firstSequence: number;
  readonly lastSequence: number;
}

/** So many bytes of a segment. */
interface Front {
  readonly segment: number;
  readonly bytes: number;
}

/** Copied in one step. */
const STEP_BYTES = 1 << 20;

/** Changes of the log under a backup from outside before it fails. */
const ATTEMPTS_MAX = 16;

/** A checkpoint speaks of records that the copy wouldn't have: opening it would be refused. */
class LogChanged extends Error {}

/**
 * Copies the log of a journal that this process hasn't opened: another process may have it open, or
 * none. `from` is the directory of `storage`. Throws as `backUp`, and `ERR_JOURNAL_DAMAGED`.
 */
export function backUpFromOutside(storage: Storage, from: string, directory: string): BackupSummary {
  mustLieOutside(directory, from);
  for (let attempt = 1; ; attempt += 1) {
    const { segments, marks: known } = scanLog(storage, { everything: false });
    const [first] = segments;
    if (first === undefined) throw journalError("ERR_JOURNAL_STORAGE", "there is no segment to copy");
    const { logId, segment: firstSegment, baseSequence: firstSequence } = first.header;
    const marks = known ?? { logId, generation: 1, durableSequence: 0, firstSegment, firstSequence };
    const lastSequence = segments.at(-1)?.end.lastSequence ?? 0;
    try {
      const steps = backUp(storage, directory, marks, lastSequence);
      for (let step = steps.next(); ; step = steps.next()) if (step.done === true) return step.value;
    } catch (thrown) {
      const hasGone =
        isMillraceError(thrown, "ERR_JOURNAL_TRUNCATED") || (thrown as NodeJS.ErrnoException).code === "ENOENT";
      // Its owner has given up a segment meanwhile, or gone on: the copy begins anew with what is
      // there.
      if (!hasGone && !(thrown instanceof LogChanged)) throw thrown;
      if (attempt < ATTEMPTS_MAX) continue;
      throw thrown instanceof LogChanged ? journalError("ERR_JOURNAL_STORAGE", thrown.message) : thrown;
    }
  }
}

/**
 * Copies the log up to `durableSequence` into `directory`, which must be empty or absent. The copy
 * and its name are durable at the end. If it fails, nothing is left of it; files of others that
 * came meanwhile stay as they are. Throws `ERR_JOURNAL_STORAGE` for another directory and one that
 * can't be written, `ERR_JOURNAL_FULL` where the copy has no room.
 */
export function* backUp(
  storage: Storage,
  directory: string,
  marks: Marks,
  durableSequence: number,
): Generator<void, BackupSummary> {
  // Read before the log: a checkpoint never speaks of more than was durable when it was made.
  const checkpoints = readCheckpoints(storage, marks.logId);
  const later = checkpoints.find(({ from }) => from > durableSequence + 1);
  if (later !== undefined) throw new LogChanged(`checkpoint ${later.generation} came while the log was read`);
  const target = inCopy(directory, () => emptyDirectory(directory));
  let isComplete = false;
  const reader = new LogReader(storage);
  const ends = new Map<number, number>();
  let copied = 0;
  try {
    reader.seek(marks.firstSequence);
    let stepEnd = 0;
    while (reader.next(durableSequence)) {
      ends.set(reader.segment.segment, reader.end);
      copied += reader.body.length;
      if (copied < stepEnd) continue;
      stepEnd = copied + STEP_BYTES;
      yield;
    }
    const last = ends.size === 0 ? marks.firstSegment : Math.max(...ends.keys());
    inCopy(directory, () => {
      createMarks(target, { ...marks, durableSequence });
      for (const checkpoint of checkpoints.toReversed()) writeCheckpoint(target, marks.logId, checkpoint);
    });
    let bytes = 0;
    for (let segment = marks.firstSegment; segment <= last; segment += 1) {
      // A segment may hold nothing but its header: an opening has repeated its only batch in the
      // next segment.
      const end = ends.get(segment) ?? SEGMENT_HEADER_BYTES;
      bytes += end;
      yield* copy(storage, target, directory, { segment, bytes: end });
    }
    inCopy(directory, () => {
      target.syncDirectory();
      // The directory may have been there already, with a name that isn't durable.
      syncDirectory(dirname(resolve(directory)));
    });
    isComplete = true;
    const { firstSequence } = marks;
    return { directory, segments: last - marks.firstSegment + 1, bytes, firstSequence, lastSequence: durableSequence };
  } finally {
    reader.close();
    // A part would be in the way of the next backup.
    if (!isComplete) target.removeAll();
  }
}

/** A copy inside what is copied would be lost with it. Throws `ERR_JOURNAL_STORAGE`. */
export function mustLieOutside(directory: string, journal: string): void {
  let place = resolve(directory);
  while (!existsSync(place)) place = dirname(place);
  if (!`${realpathSync(place)}${sep}`.startsWith(`${realpathSync(journal)}${sep}`)) return;
  throw journalError("ERR_JOURNAL_STORAGE", `${directory} lies in ${journal}: a backup goes into another directory`, {
    details: { directory },
  });
}

/** Throws `ERR_JOURNAL_STORAGE`. */
function emptyDirectory(directory: string): OwnFiles {
  if (existsSync(directory) && readdirSync(directory).length > 0) {
    throw journalError("ERR_JOURNAL_STORAGE", `${directory} is not empty: a backup goes into a directory of its own`, {
      details: { directory },
    });
  }
  makeDirectories(resolve(directory), directoryMode(FILE_MODE));
  return new OwnFiles(directory);
}

/** The system's errors name the copy: without that they could be of the journal. */
function inCopy<T>(directory: string, write: () => T): T {
  try {
    return write();
  } catch (thrown) {
    throw storageError(directory, thrown);
  }
}

/**
 * The front of a segment. Throws `ERR_JOURNAL_TRUNCATED` when its owner has given it up meanwhile,
 * and `ERR_JOURNAL_DAMAGED` when it has fewer bytes.
 */
function* copy(from: Storage, to: Storage, directory: string, { segment, bytes }: Front): Generator<void, void> {
  const name = segmentName(segment);
  const target = inCopy(directory, () => to.open(name, "create"));
  let source: StorageFile | undefined;
  try {
    source = from.open(name, "read");
    const buffer = Buffer.alloc(Math.min(STEP_BYTES, bytes));
    for (let done = 0; done < bytes;) {
      const wanted = Math.min(buffer.length, bytes - done);
      const read = readFully(source, buffer, wanted, done);
      // What was read is of this segment unless the marks say now that it was given up: that comes
      // before its file is cut or becomes another one's.
      if (firstSegmentIn(from) > segment) throw givenUp(name);
      if (read < wanted) throw damaged(name, done + read, `the file ends, although its batches end at ${bytes}`);
      inCopy(directory, () => writeFully(target, [buffer.subarray(0, read)], done));
      done += read;
      yield;
    }
    inCopy(directory, () => target.sync());
  } finally {
    source?.close();
    target.close();
  }
}

function givenUp(file: string): Error {
  return journalError("ERR_JOURNAL_TRUNCATED", `${file} was given up while it was copied`, { details: { file } });
}
