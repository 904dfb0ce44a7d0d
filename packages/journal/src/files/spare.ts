/**
 * Spares: files that become segments, zero-filled or left over from segments that were given up. A
 * sync into one writes data only, no sizes and no block maps, which makes it several times cheaper
 * than a sync of a growing file.
 *
 * The reserve is one more of them, for state records when the disk is full: without them nothing
 * could be finished and deleted.
 *
 * A file with such a name and another size was damaged by a copy: it isn't used.
 */
import { withFile } from "./segments.ts";
import { ALIGNMENT } from "./format.ts";
import { isDiskFull, type Storage } from "../storage/storage.ts";
import { STEP_BYTES_MAX, ZeroFill } from "./zero-fill.ts";

export interface Spare {
  readonly name: string;
  readonly bytes: number;
  /** Holds leftovers of a segment. */
  readonly isReused: boolean;
}

export function spareName(bytes: number): string {
  return `spare-${bytes}.wal`;
}

/** For a spare made from segment `segment`. */
export function reusedSpareName(bytes: number, segment: number): string {
  return `spare-${bytes}-${segment.toString(16)}.wal`;
}

export function reserveName(bytes: number): string {
  return `reserve-${bytes}.wal`;
}

/** For a reserve made from segment `segment`. */
export function reusedReserveName(bytes: number, segment: number): string {
  return `reserve-${bytes}-${segment.toString(16)}.wal`;
}

/** Whether a name is one that an unfinished spare or reserve has. */
export function isUnfinishedSpare(name: string): boolean {
  return /^(spare|reserve)-\d+(-[0-9a-f]+)?\.wal\.tmp$/.test(name);
}

const SPARE = /^spare-(\d+)(-[0-9a-f]+)?\.wal$/;
const RESERVE = /^reserve-(\d+)(-[0-9a-f]+)?\.wal$/;

/** Files with the name of a spare or a reserve, and another size than that says. */
export function listUnsound(storage: Storage): string[] {
  return storage.list().filter((name) => {
    const match = SPARE.exec(name) ?? RESERVE.exec(name);
    return match !== null && sizeOf(storage, name) !== Number(match[1]);
  });
}

/** The spares that are ready, reused ones first, then by size. */
export function listSpares(storage: Storage): Spare[] {
  return list(storage, SPARE).toSorted(
    (left, right) => Number(right.isReused) - Number(left.isReused) || left.bytes - right.bytes,
  );
}

/** The reserve, if there is one. */
export function findReserve(storage: Storage): Spare | undefined {
  return list(storage, RESERVE)[0];
}

/** A ready spare of at least `needed` and at most `most` bytes. */
export function findSpare(storage: Storage, needed: number, most: number): Spare | undefined {
  return listSpares(storage).find(({ bytes }) => bytes >= needed && bytes <= Math.max(needed, most));
}

/** The largest ready spare, if it has at least `least` bytes. */
export function findLargestSpare(storage: Storage, least: number, most: number): Spare | undefined {
  return listSpares(storage)
    .filter(({ bytes }) => bytes >= least && bytes <= Math.max(least, most))
    .toSorted((left, right) => right.bytes - left.bytes)[0];
}

/**
 * Renames a spare of exactly `bytes` bytes, or without one the reserve, to `to`. Returns whether
 * the file holds leftovers.
 */
export function takeSpare(storage: Storage, bytes: number, to: string): boolean {
  const reserve = findReserve(storage);
  const found =
    listSpares(storage).find((spare) => spare.bytes === bytes) ?? (reserve?.bytes === bytes ? reserve : undefined);
  const { name, isReused } = found ?? { name: spareName(bytes), isReused: false };
  storage.rename(name, to);
  return isReused;
}

/**
 * Gives back what a spare has beyond `bytes`. If the power goes in between, its size isn't that of
 * its name, and the next opening removes it.
 */
export function shortenSpare(storage: Storage, spare: Spare, bytes: number): void {
  const file = storage.open(spare.name, "write");
  try {
    file.truncate(bytes);
    file.sync();
  } finally {
    file.close();
  }
  storage.rename(spare.name, spare.name.replace(String(spare.bytes), String(bytes)));
}

/** Makes a zero-filled spare of `bytes` bytes at once, unless there is a spare of that size. */
export function makeSpare(storage: Storage, bytes: number): void {
  if (listSpares(storage).some((spare) => spare.bytes === bytes)) return;
  const fill = new ZeroFill(storage, spareName(bytes), bytes, false);
  while (fill.left > 0) fill.step(STEP_BYTES_MAX);
}

/**
 * Makes a spare of `wanted` bytes unless there is one as large. Where the disk has no room for it,
 * half as much will do, and so on down to `least`. Throws the system's error when that has no room.
 */
export function makeSpareThatFits(
  storage: Storage,
  sizes: { readonly wanted: number; readonly least: number; readonly most: number },
): void {
  const { wanted, least, most } = sizes;
  for (let bytes = wanted; ; bytes = smallerSpare(bytes, least)) {
    if (findSpare(storage, bytes, most) !== undefined) return;
    try {
      makeSpare(storage, bytes);
      return;
    } catch (thrown) {
      if (!isDiskFull(thrown) || bytes <= least) throw thrown;
    }
  }
}

/** Where a disk has no room for a spare of `bytes` bytes, one of this size may do. */
export function smallerSpare(bytes: number, least: number): number {
  return Math.max(least, Math.floor(bytes / 2 / ALIGNMENT) * ALIGNMENT);
}
function list(storage: Storage, pattern: RegExp): Spare[] {
  return storage.list().flatMap((name) => {
    const match = pattern.exec(name);
    if (match === null) return [];
    const bytes = Number(match[1]);
    return sizeOf(storage, name) === bytes ? [{ name, bytes, isReused: match[2] !== undefined }] : [];
  });
}

/** Undefined for a file that another thread has taken meanwhile, and for a directory. */
function sizeOf(storage: Storage, name: string): number | undefined {
  try {
    return withFile(storage, name, (file) => file.size());
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "EISDIR") return undefined;
    throw thrown;
  }
}
