/** Opens a log for writing: recovery, then the first segment of this opening. */
import { type JournalLimits, nextSegmentBytes, reserveBytes } from "../files/limits.ts";
import { LogWriter } from "./log-writer.ts";
import { recover, type RecoveredLog, type RecoveryOptions } from "./recovery.ts";
import { findReserve, findSpare, listSpares, makeSpare } from "../files/spare.ts";
import { isDiskFull, type Storage } from "../storage/storage.ts";

export interface OpeningOptions {
  readonly recovery?: RecoveryOptions;
  /** Without syncs nothing is ever durable. Default true. */
  readonly isSynced?: boolean;
}

/** Everything that was recovered is durable, and may be read and delivered, when this returns. Throws as `recover`, and the system's errors. */
export function openLog(
  storage: Storage,
  limits: JournalLimits,
  wallMs: () => number,
  options: OpeningOptions = {},
): { log: LogWriter; recovered: RecoveredLog } {
  const recovered = recover(storage, options.recovery);
  removeUseless(storage, limits, options.recovery?.strict === true);
  const spareBytes = firstSpare(storage, limits, recovered.tail?.body.length ?? 0);
  return { log: new LogWriter(storage, limits, recovered, wallMs, spareBytes, options.isSynced), recovered };
}

/** Spares and a reserve that an opening with other options has left: too large or too small, or with leftovers in them, which "strict" can't use. */
function removeUseless(storage: Storage, limits: JournalLimits, isStrict: boolean): void {
  const most = Math.max(nextSegmentBytes(limits, 0, 0), limits.segmentBytesMax);
  for (const { name, bytes, isReused } of listSpares(storage)) {
    if (bytes > most || (isStrict && isReused)) storage.remove(name);
  }
  const reserve = findReserve(storage);
  if (reserve === undefined) return;
  if (reserve.bytes < reserveBytes(limits) || (isStrict && reserve.isReused)) storage.remove(reserve.name);
}

/** Size of the spare for the first segment: one that is ready and large enough, or a new one, or on a full disk the reserve. */
function firstSpare(storage: Storage, limits: JournalLimits, tailBytes: number): number {
  const needed = nextSegmentBytes(limits, 0, tailBytes);
  const ready = findSpare(storage, needed, limits.segmentBytesMax);
  if (ready !== undefined) return ready.bytes;
  try {
    makeSpare(storage, needed);
    return needed;
  } catch (thrown) {
    const reserve = findReserve(storage);
    if (!isDiskFull(thrown) || reserve === undefined || reserve.bytes < needed) throw thrown;
    return reserve.bytes;
  }
}
