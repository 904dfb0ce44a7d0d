/**
 * Giving up the front of the log: whole segments, oldest first.
 *
 * What each step promises if the power goes right after it: `marks` names the new first segment (the caller's work): the segments before
 * it don't belong to the log, wherever they are. One is removed or becomes a spare: nothing of the log has changed.
 */
import { ALIGNMENT, segmentName, segmentOfName } from "./format.ts";
import { keyIndexName } from "./key-index.ts";
import { readHeader } from "./scan.ts";
import { listSpares, reusedSpareName } from "./spare.ts";
import type { Storage } from "./storage.ts";

/** Used segments that wait to be used again. More would only hold space that others may want. */
const REUSED_MAX = 2;

/** The segment from `first` on that holds `sequence`, or begins right after it; never the last one's successor. */
export function firstNeeded(
  storage: Storage,
  first: number,
  sequence: number,
): { readonly segment: number; readonly baseSequence: number } | undefined {
  let found: { segment: number; baseSequence: number } | undefined;
  for (const id of segmentIds(storage)) {
    if (id < first) continue;
    const header = readHeader(storage, segmentName(id));
    if (header === undefined || (found !== undefined && header.baseSequence > sequence)) break;
    found = { segment: id, baseSequence: header.baseSequence };
  }
  return found;
}

/** Removes the segments before `first`, or makes spares of them. */
export function* giveUpSegments(
  storage: Storage,
  first: number,
  reuse: { readonly isReusing: boolean; readonly wanted: number; readonly most: number },
): Generator<void, void> {
  for (const id of segmentIds(storage)) {
    if (id >= first) break;
    const name = segmentName(id);
    if (storage.list().includes(keyIndexName(id))) storage.remove(keyIndexName(id));
    const bytes = sizeOf(storage, name);
    const isUseful = bytes % ALIGNMENT === 0 && bytes >= reuse.wanted && bytes <= reuse.most;
    const reused = listSpares(storage).filter(({ isReused }) => isReused).length;
    if (reuse.isReusing && isUseful && reused < REUSED_MAX) storage.rename(name, reusedSpareName(bytes, id));
    else storage.remove(name);
    yield;
  }
  storage.syncDirectory();
}

export function segmentIds(storage: Storage): number[] {
  return storage
    .list()
    .map(segmentOfName)
    .filter((id) => id !== undefined)
    .toSorted((left, right) => left - right);
}

function sizeOf(storage: Storage, name: string): number {
  const file = storage.open(name, "read");
  try {
    return file.size();
  } finally {
    file.close();
  }
}
