/**
 * Giving up the front of the log: whole segments, oldest first.
 *
 * The state if the power goes right after a step. First the caller has `marks` name the new first
 * segment: from then on the segments before it don't belong to the log, whether or not they are
 * there. Then each of them is removed or becomes a spare: the log doesn't change.
 */
import { ALIGNMENT, segmentName } from "../files/format.ts";
import { keyIndexName } from "../read/key-index.ts";
import { readHeader, segmentIds, withFile } from "../files/segments.ts";
import { findReserve, listSpares, reusedReserveName, reusedSpareName } from "../files/spare.ts";
import type { Storage } from "../storage/storage.ts";

/** Used segments kept as spares. More would only hold space that other programs may need. */
const REUSED_MAX = 2;

/**
 * The segment, from `first` on, that holds `sequence` or begins right after it; the last segment,
 * if all lie before it.
 */
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

/**
 * The sizes at which a given-up segment is reused: least and most bytes of a useful spare, and
 * bytes of a useful reserve.
 */
export interface Reuse {
  readonly isReusing: boolean;
  readonly wanted: number;
  readonly most: number;
  readonly reserve: number;
}

/**
 * Removes the segments before `first`, or makes spares of them; a reserve that was used up is
 * replaced first.
 */
export function* giveUpSegments(storage: Storage, first: number, reuse: Reuse): Generator<void, void> {
  for (const id of segmentIds(storage)) {
    if (id >= first) break;
    const name = segmentName(id);
    if (storage.list().includes(keyIndexName(id))) storage.remove(keyIndexName(id));
    const bytes = withFile(storage, name, (file) => file.size());
    const next = nextLife(storage, id, bytes, reuse);
    if (next === undefined) storage.remove(name);
    else {
      if (next.bytes < bytes) shorten(storage, name, next.bytes);
      storage.rename(name, next.name);
    }
    yield;
  }
  storage.syncDirectory();
}

/** The next name and size of a segment that is given up; undefined when it is of no use. */
function nextLife(
  storage: Storage,
  id: number,
  bytes: number,
  { isReusing, wanted, most, reserve }: Reuse,
): { readonly name: string; readonly bytes: number } | undefined {
  if (!isReusing || bytes % ALIGNMENT !== 0 || bytes > most) return undefined;
  if (bytes >= reserve && findReserve(storage) === undefined)
    return { name: reusedReserveName(reserve, id), bytes: reserve };
  const reused = listSpares(storage).filter(({ isReused }) => isReused).length;
  return bytes >= wanted && reused < REUSED_MAX ? { name: reusedSpareName(bytes, id), bytes } : undefined;
}

/** The segment doesn't belong to the log any more, so a crash in between changes nothing. */
function shorten(storage: Storage, name: string, bytes: number): void {
  const file = storage.open(name, "write");
  try {
    file.truncate(bytes);
    file.sync();
  } finally {
    file.close();
  }
}
