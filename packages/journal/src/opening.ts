/** Opens a log for writing: recovery, then the first segment of this opening. */
import { type JournalLimits, nextSegmentBytes } from "./limits.ts";
import { LogWriter } from "./log-writer.ts";
import { recover, type RecoveredLog, type RecoveryOptions } from "./recovery.ts";
import { findReserve, findSpare, listSpares, makeSpare } from "./spare.ts";
import { isDiskFull, type Storage } from "./storage.ts";

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
  const spareBytes = firstSpare(storage, limits, recovered.tail?.body.length ?? 0);
  return { log: new LogWriter(storage, limits, recovered, wallMs, spareBytes, options.isSynced), recovered };
}

/** Size of the spare for the first segment: one that is ready and large enough, or a new one, or on a full disk the reserve. */
function firstSpare(storage: Storage, limits: JournalLimits, tailBytes: number): number {
  const needed = nextSegmentBytes(limits, 0, tailBytes);
  // Left by an opening that allowed larger segments.
  for (const { name, bytes } of listSpares(storage)) {
    if (bytes > Math.max(needed, limits.segmentBytesMax)) storage.remove(name);
  }
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
