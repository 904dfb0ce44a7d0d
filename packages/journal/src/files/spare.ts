/**
 * Spares: files that become segments, zero-filled or left over from segments that nobody needs any more. A sync into one writes data
 * only, no sizes and no block maps, which makes it several times cheaper than a sync of a growing file.
 *
 * The reserve is one more of them, for state records when the disk is full: without them nothing could be finished and deleted.
 */
import { type Storage, writeFully } from "../storage/storage.ts";

/** Written and synced at once: a long sync would hold up the syncs of the log on the same disk. */
const CHUNK_BYTES = 1 << 20;

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

/** The spares that are ready, reused ones first, then by size. */
export function listSpares(storage: Storage): Spare[] {
  return list(storage, /^spare-(\d+)(-[0-9a-f]+)?\.wal$/).toSorted(
    (left, right) => Number(right.isReused) - Number(left.isReused) || left.bytes - right.bytes,
  );
}

/** The reserve, if there is one. */
export function findReserve(storage: Storage): Spare | undefined {
  return list(storage, /^reserve-(\d+)(-[0-9a-f]+)?\.wal$/)[0];
}

/** A ready spare of at least `needed` and at most `most` bytes. */
export function findSpare(storage: Storage, needed: number, most: number): Spare | undefined {
  return listSpares(storage).find(({ bytes }) => bytes >= needed && bytes <= Math.max(needed, most));
}

/** Gives a spare (or, without one, the reserve) of exactly `bytes` bytes another name; whether it holds leftovers. */
export function takeSpare(storage: Storage, bytes: number, to: string): boolean {
  const reserve = findReserve(storage);
  const found =
    listSpares(storage).find((spare) => spare.bytes === bytes) ?? (reserve?.bytes === bytes ? reserve : undefined);
  const { name, isReused } = found ?? { name: spareName(bytes), isReused: false };
  storage.rename(name, to);
  return isReused;
}

/** Makes a zero-filled spare of `bytes` bytes unless there is a spare of that size. */
export function makeSpare(storage: Storage, bytes: number): void {
  if (!listSpares(storage).some((spare) => spare.bytes === bytes)) makeZeros(storage, bytes, spareName(bytes));
}

/** Makes a zero-filled reserve of `bytes` bytes unless there is one. */
export function makeReserve(storage: Storage, bytes: number): void {
  if (findReserve(storage) === undefined) makeZeros(storage, bytes, reserveName(bytes));
}

/** A file has its name only when it is complete and durable. */
function makeZeros(storage: Storage, bytes: number, name: string): void {
  const temporary = `${name}.tmp`;
  if (storage.list().includes(temporary)) storage.remove(temporary);
  const file = storage.open(temporary, "create");
  try {
    const zeros = Buffer.alloc(Math.min(CHUNK_BYTES, bytes));
    for (let done = 0; done < bytes; done += CHUNK_BYTES) {
      writeFully(file, [zeros.subarray(0, Math.min(CHUNK_BYTES, bytes - done))], done);
      file.sync();
    }
  } catch (thrown) {
    // A full disk: give back what was taken, so that the next try and everybody else has it.
    storage.remove(temporary);
    throw thrown;
  } finally {
    file.close();
  }
  storage.rename(temporary, name);
  storage.syncDirectory();
}

function list(storage: Storage, pattern: RegExp): Spare[] {
  return storage.list().flatMap((name) => {
    const match = pattern.exec(name);
    return match === null ? [] : [{ name, bytes: Number(match[1]), isReused: match[2] !== undefined }];
  });
}
