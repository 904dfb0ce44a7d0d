/**
 * One process at a time in a directory: a lock on the file LOCK, which the kernel releases when the
 * process ends, however it ends. There is never a stale lock to remove.
 * (docs/adr/0006-directory-lock.md)
 *
 * Somebody may remove LOCK all the same, and the next opener would lock another file of that name.
 * Therefore the writer also locks the segment that it appends to, from before it gets its name, and
 * an opener tries the newest segment too.
 */
import {
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  writeSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";
import { journalError } from "../errors.ts";
import { tryLock } from "./file-lock.ts";
import { directoryMode, FILE_MODE } from "./node-storage.ts";
import { isDiskFull } from "./storage.ts";
import { storageError } from "./storage-errors.ts";

export const LOCK_NAME = "LOCK";
const SEGMENT = /^log-[0-9a-f]{16}\.wal$/;
/**
 * An opener looks at the newest segment this often before it gives up. A live writer begins
 * segments far less often.
 */
const LOOKS_MAX = 10;

/**
 * Creates the directory if needed and locks it; the returned function unlocks.
 * Throws `ERR_JOURNAL_LOCKED`, `ERR_JOURNAL_STORAGE`, `ERR_JOURNAL_FULL`.
 */
export function lockDirectory(directory: string, fileMode: number = FILE_MODE): () => void {
  let fd: number | undefined;
  try {
    makeDirectories(resolve(directory), directoryMode(fileMode));
    fd = openSync(join(directory, LOCK_NAME), constants.O_RDWR | constants.O_CREAT, fileMode);
    if (!tryLock(fd)) throw lockedError(directory, holderOf(directory));
    if (isWritten(directory)) throw lockedError(directory, undefined);
    notePid(fd);
    return () => closeSync(fd as number);
  } catch (thrown) {
    if (fd !== undefined) closeSync(fd);
    throw storageError(directory, thrown);
  }
}

/** `pid`: of the holder of LOCK, 0 if nobody knows; undefined where LOCK is another file now. */
export function lockedError(directory: string, pid: number | undefined): Error {
  const how = pid === undefined ? ", although its file LOCK is another one now" : pid === 0 ? "" : ` by process ${pid}`;
  const details = pid === undefined || pid === 0 ? { directory } : { directory, pid };
  return journalError("ERR_JOURNAL_LOCKED", `${directory} is in use${how}`, { details });
}

/** Whether a writer that isn't this one has the newest segment. Its lock is given back at once. */
function isWritten(directory: string): boolean {
  if (process.platform === "win32") return false;
  for (let look = 0; look < LOOKS_MAX; look += 1) {
    const newest = newestSegment(directory);
    if (newest === undefined) return false;
    let fd: number;
    try {
      fd = openSync(join(directory, newest), constants.O_RDWR);
    } catch (thrown) {
      // Given up, or of another kind: what comes next looks closer.
      if ((thrown as NodeJS.ErrnoException).code === "ENOENT") continue;
      return false;
    }
    const isFree = tryLock(fd);
    closeSync(fd);
    if (!isFree) return true;
    // A live writer may have gone on to the next segment between the two looks.
    if (newestSegment(directory) === newest) return false;
  }
  return true;
}

function newestSegment(directory: string): string | undefined {
  return readdirSync(directory)
    .filter((name) => SEGMENT.test(name))
    .toSorted()
    .at(-1);
}

/** For people; the lock itself is what counts, so that a full disk doesn't matter. */
function notePid(fd: number): void {
  const pid = `${process.pid}\n`;
  try {
    // In this order: what is there already needs no room.
    writeSync(fd, pid, 0);
    ftruncateSync(fd, pid.length);
  } catch (thrown) {
    if (!isDiskFull(thrown)) throw thrown;
  }
}

/**
 * Creates what is missing of a path, durably; only the last directory gets the mode.
 * (mkdirSync with `recursive` never returns for a path below /proc, seen in Node 20.)
 */
export function makeDirectories(directory: string, mode: number): void {
  const missing: string[] = [];
  for (let path = directory; !existsSync(path); path = dirname(path)) missing.push(path);
  for (const path of missing.toReversed()) {
    mkdirSync(path, path === directory ? { mode } : {});
    syncDirectory(dirname(path));
  }
}

export function syncDirectory(directory: string): void {
  const fd = openSync(directory, constants.O_RDONLY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

export function holderOf(directory: string): number {
  const pid = readFileSync(join(directory, LOCK_NAME), "utf8").trim();
  return /^\d+$/.test(pid) ? Number(pid) : 0;
}
