/** Whether a journal can take records, and why not. */
import type { JournalStats } from "./stats.ts";

export interface Health {
  /** Whether records can be taken and become durable. */
  readonly isReady: boolean;
  /** Why not; empty when it is ready. */
  readonly reasons: readonly string[];
  /** Faults that don't stop the journal. */
  readonly warnings: readonly string[];
}

/** A sync that runs for longer is a stuck disk; for longer than the shorter time, a slow one. */
const SYNC_STUCK_MS = 10_000;
const SYNC_SLOW_MS = 1000;

export function healthOf(stats: JournalStats): Health {
  const reasons: string[] = [];
  const warnings: string[] = [];
  const seconds = (stats.syncRunningMs / 1000).toFixed(1);
  if (stats.state !== "open") reasons.push(`the journal is ${stats.state}`);
  if (stats.syncRunningMs >= SYNC_STUCK_MS) reasons.push(`a write to the disk has not returned for ${seconds} s`);
  else if (stats.syncRunningMs >= SYNC_SLOW_MS) warnings.push(`a write to the disk has taken ${seconds} s so far`);
  if (stats.isDiskFull) reasons.push("the disk has no room for the next segment");
  for (const { file, offset, firstSequence, lastSequence } of stats.damage) {
    warnings.push(`${file} is damaged at offset ${offset}: records ${firstSequence} to at most ${lastSequence}`);
  }
  if (stats.keeperRestarts > 0) {
    warnings.push(
      `the keeper thread had to be replaced ${stats.keeperRestarts} times: segments and marks are prepared late`,
    );
  }
  if (!stats.isSynced) warnings.push("sync is none: a loss of power takes acknowledged records");
  if (stats.storage.trust === "unsafe" || stats.storage.trust === "doubtful") {
    warnings.push(`the directory is on ${stats.storage.fileSystem}: ${stats.storage.reason}`);
  }
  if (stats.recovery.tornBytes > 0) {
    warnings.push(`the opening set aside ${stats.recovery.tornBytes} bytes of a batch that nobody was promised`);
  }
  return { isReady: reasons.length === 0, reasons, warnings };
}
