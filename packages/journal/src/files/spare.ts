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
import { diskFullError, isDiskFull, spaceOf, type Storage, writeFully } from "../storage/storage.ts";

/** Written and synced at once: a long sync would hold up the syncs of the log on the same disk. */
const CHUNK_BYTES = 1 << 20;
/** Spares leave this part of the file system to other programs, up to a limit in bytes. */
const MARGIN_PART: number = 1 / 64;
const MARGIN_BYTES_MAX: number = 64 * 2 ** 20;

export interface Spare {
  readonly name: string;
  readonly bytes: number;
  /** Holds leftovers of a segment. */
  readonly isReused: boolean;
}

/** How far the making of a spare may go. */
export interface Room {
  /** Whether it leaves a part of the disk to other programs. */
  readonly leavesMargin: boolean;
  /** Asked now and then: whether the file is of no use any more. */
  readonly isOver?: () => boolean;
}

/** A spare was of no use any more before it was complete; nothing of it is left. */
export class SpareGivenUp extends Error {}

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

/** Makes a zero-filled spare of `bytes` bytes unless there is a spare of that size. */
export function makeSpare(storage: Storage, bytes: number, room?: Room): void {
  if (!listSpares(storage).some((spare) => spare.bytes === bytes)) makeZeros(storage, bytes, spareName(bytes), room);
}

/**
 * Makes a spare of `wanted` bytes unless there is one as large. Where the disk has no room for it,
 * half as much will do, and so on down to `least`. Throws the system's error when that has no room.
 */
export function makeSpareThatFits(
  storage: Storage,
  sizes: { readonly wanted: number; readonly least: number; readonly most: number },
  room?: Room,
): void {
  const { wanted, least, most } = sizes;
  for (let bytes = wanted; ; bytes = Math.max(least, halfOf(bytes))) {
    if (findSpare(storage, bytes, most) !== undefined) return;
    try {
      makeSpare(storage, bytes, room);
      return;
    } catch (thrown) {
      if (!isDiskFull(thrown) || bytes <= least) throw thrown;
    }
  }
}

/** Makes a zero-filled reserve of `bytes` bytes unless there is one. */
export function makeReserve(storage: Storage, bytes: number, room?: Room): void {
  if (findReserve(storage) === undefined) makeZeros(storage, bytes, reserveName(bytes), room);
}

function halfOf(bytes: number): number {
  return Math.floor(bytes / 2 / ALIGNMENT) * ALIGNMENT;
}

/** A file has its name only when it is complete and durable. */
function makeZeros(storage: Storage, bytes: number, name: string, { leavesMargin, isOver }: Room = ANY_ROOM): void {
  if (leavesMargin) refuseMargin(storage, bytes, name);
  const temporary = `${name}.tmp`;
  if (storage.list().includes(temporary)) storage.remove(temporary);
  const file = storage.open(temporary, "create");
  try {
    const zeros = Buffer.alloc(Math.min(CHUNK_BYTES, bytes));
    for (let done = 0; done < bytes; done += CHUNK_BYTES) {
      if (isOver?.() === true) throw new SpareGivenUp(`${name} is of no use any more`);
      writeFully(file, [zeros.subarray(0, Math.min(CHUNK_BYTES, bytes - done))], done);
      file.sync();
    }
  } catch (thrown) {
    // Give back what was taken: on a full disk the next try and everybody else has it.
    storage.remove(temporary);
    throw thrown;
  } finally {
    file.close();
  }
  storage.rename(temporary, name);
  storage.syncDirectory();
}

const ANY_ROOM: Room = { leavesMargin: false };

/** Asked before the first byte: other programs never see a disk that is full for a moment. */
function refuseMargin(storage: Storage, bytes: number, name: string): void {
  const { freeBytes, totalBytes } = spaceOf(storage);
  const margin = Math.min(MARGIN_BYTES_MAX, totalBytes * MARGIN_PART);
  if (freeBytes - bytes < margin) throw diskFullError(name, bytes);
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
