/**
 * Opens a log for writing: recovery, then the first segment of this opening, then marks where there
 * are none.
 *
 * What each step promises if the power goes right after it:
 *
 *   recovery                  the log holds what it held (recovery.ts)
 *   useless spares removed    nothing of the log has changed
 *   a spare made              nothing of the log has changed
 *   the first segment begun   see log-writer.ts: what was recovered is durable
 *   marks written             the same, and a loss of it from now on is refused
 *
 * On a full disk the first segment may be small. It takes the room that recovery has cut from the
 * unused end of the last one; only then it takes the reserve.
 */
import { ALIGNMENT, segmentOfName } from "../files/format.ts";
import {
  type JournalLimits,
  leastSegmentBytes,
  nextSegmentBytes,
  reserveBytes,
  segmentBytesFor,
} from "../files/limits.ts";
import { writeMarks } from "../files/marks.ts";
import { LogWriter } from "./log-writer.ts";
import { recover, type RecoveredLog, type RecoveryOptions } from "./recovery.ts";
import {
  findLargestSpare,
  findReserve,
  findSpare,
  listSpares,
  listUnsound,
  makeSpare,
  makeSpareThatFits,
  shortenSpare,
} from "../files/spare.ts";
import { isDiskFull, spaceOf, type Storage } from "../storage/storage.ts";

export interface OpeningOptions {
  readonly recovery?: RecoveryOptions;
  /** Without syncs nothing is ever durable. Default true. */
  readonly isSynced?: boolean;
}

/**
 * Recovers the log. When this returns, everything recovered is durable, and may be read and
 * delivered. Throws as `recover`, and the system's errors.
 */
export function openLog(
  storage: Storage,
  limits: JournalLimits,
  wallMs: () => number,
  options: OpeningOptions = {},
): { log: LogWriter; recovered: RecoveredLog } {
  const recovered = recover(storage, options.recovery);
  removeUseless(storage, limits, options.recovery?.strict === true);
  const spareBytes = firstSpare(storage, limits, recovered.tail?.body.length ?? 0);
  const log = new LogWriter(storage, limits, recovered, wallMs, spareBytes, options.isSynced);
  if (recovered.marks === undefined) firstMarks(storage, log, recovered, options.isSynced !== false);
  return { log, recovered };
}

/**
 * Spares and a reserve that an opening with other options has left: too large or too small, or with
 * leftovers in them, which "strict" can't use. And those that aren't as large as they should be.
 */
function removeUseless(storage: Storage, limits: JournalLimits, isStrict: boolean): void {
  for (const name of listUnsound(storage)) storage.remove(name);
  const most = Math.max(nextSegmentBytes(limits, 0, 0), limits.segmentBytesMax);
  for (const { name, bytes, isReused } of listSpares(storage)) {
    if (bytes > most || (isStrict && isReused)) storage.remove(name);
  }
  const reserve = findReserve(storage);
  if (reserve === undefined) return;
  if (reserve.bytes < reserveBytes(limits) || (isStrict && reserve.isReused)) storage.remove(reserve.name);
}

/** Size of the first segment's spare: a ready one, a new one, or on a full disk a smaller one. */
function firstSpare(storage: Storage, limits: JournalLimits, tailBytes: number): number {
  const wanted = nextSegmentBytes(limits, 0, tailBytes);
  const ready = findSpare(storage, wanted, limits.segmentBytesMax);
  if (ready !== undefined) {
    // A larger spare was made for a later segment. Cut it: an opening doesn't make a log grow.
    if (ready.bytes > wanted) shortenSpare(storage, ready, wanted);
    return wanted;
  }
  try {
    makeSpare(storage, wanted);
    return wanted;
  } catch (thrown) {
    if (!isDiskFull(thrown)) throw thrown;
    return spareOnFullDisk(storage, limits, wanted, tailBytes, thrown);
  }
}

function spareOnFullDisk(
  storage: Storage,
  limits: JournalLimits,
  wanted: number,
  tailBytes: number,
  cause: unknown,
): number {
  const most = limits.segmentBytesMax;
  // Try room for a batch first, with the reserve left for state records; then the reserve; then any
  // room that takes the repeated batch and nothing more.
  const small = trySmaller(storage, wanted, leastSegmentBytes(limits, tailBytes), most);
  if (small !== undefined) return small;
  const least = segmentBytesFor(tailBytes);
  const reserve = findReserve(storage);
  if (reserve !== undefined && reserve.bytes >= least) return reserve.bytes;
  const smallest = trySmaller(storage, wanted, least, most);
  if (smallest === undefined) throw cause;
  return smallest;
}

/** Takes all that is free, or where that isn't known, a half, a quarter and so on. */
function trySmaller(storage: Storage, wanted: number, least: number, most: number): number | undefined {
  const { freeBytes } = spaceOf(storage);
  const all = Math.floor(Math.min(wanted, freeBytes) / ALIGNMENT) * ALIGNMENT;
  for (const bytes of all < least ? [wanted] : [all, wanted]) {
    try {
      makeSpareThatFits(storage, { wanted: bytes, least, most });
      break;
    } catch (thrown) {
      if (!isDiskFull(thrown)) throw thrown;
    }
  }
  return findLargestSpare(storage, least, most)?.bytes;
}

/**
 * Gives a log without marks its first ones at once. Later the disk may be full, and a loss would go
 * unnoticed.
 */
function firstMarks(storage: Storage, log: LogWriter, recovered: RecoveredLog, isSynced: boolean): void {
  const { logId, segments, summary } = recovered;
  const [first] = segments;
  try {
    writeMarks(storage, {
      logId,
      generation: 1,
      durableSequence: isSynced ? log.nextSequence - 1 : 0,
      firstSegment: first === undefined ? log.segment : (segmentOfName(first.name) as number),
      firstSequence: summary.firstSequence,
    });
  } catch (thrown) {
    // The keeper tries again. Without marks an opening reads everything.
    if (!isDiskFull(thrown)) throw thrown;
  }
}
