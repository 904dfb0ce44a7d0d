/**
 * Brings what an older build has written to the version of this one.
 *
 * Only snapshots change: the log is never rewritten, and records of version 1 are read as they are.
 * A service that opens the log does the same at its next checkpoint; this does it before, and says
 * beforehand whether this build can read everything.
 */
import type { Storage } from "@millrace/journal";
import { readCheckpoints, replaceCheckpoint } from "@millrace/journal/kernel";
import { WINDOW_DEFAULTS } from "../states/dedupe-window.ts";
import { decodeStates, encodeStates, SNAPSHOT_VERSION, snapshotVersion } from "./snapshot.ts";

export interface SnapshotPart {
  /** The snapshot holds what the log says before this sequence. */
  readonly from: number;
  /** 0: it is empty, and the log alone tells. */
  readonly version: number;
  readonly isRewritten: boolean;
}

/** The snapshots of a log, newest first. Throws `ERR_JOURNAL_VERSION`, `ERR_RECORD_UNREADABLE`. */
export function snapshotParts(storage: Storage, logId: Buffer): SnapshotPart[] {
  return readCheckpoints(storage, logId).map(({ bytes, from }) => {
    const version = bytes.length === 0 ? 0 : snapshotVersion(bytes);
    // Sections are of this version, or refused.
    const isRewritten = version > 0 && version < SNAPSHOT_VERSION;
    if (isRewritten) decodeStates(bytes, WINDOW_DEFAULTS, noEntries);
    return { from, version, isRewritten };
  });
}

/**
 * Writes the newest snapshot as this build does, in both files, if one of them is older. The caller
 * holds the directory's lock. Throws as `snapshotParts` does.
 */
export function upgradeSnapshots(storage: Storage, logId: Buffer): void {
  if (!snapshotParts(storage, logId).some(({ isRewritten }) => isRewritten)) return;
  const [newest] = readCheckpoints(storage, logId);
  if (newest === undefined) return;
  const isOld = newest.bytes.length > 0 && snapshotVersion(newest.bytes) < SNAPSHOT_VERSION;
  const bytes = isOld ? encodeStates(decodeStates(newest.bytes, WINDOW_DEFAULTS, noEntries)) : newest.bytes;
  replaceCheckpoint(storage, logId, bytes);
}

/** A snapshot of version 1 names no WINDOW record. */
function noEntries(): Buffer {
  return Buffer.alloc(0);
}
