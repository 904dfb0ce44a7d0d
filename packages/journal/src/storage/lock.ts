/**
 * One process at a time in a directory: an open-file-description lock on the file LOCK, which the kernel releases when the process ends,
 * however it ends. There is never a stale lock to remove. (docs/adr/0006-directory-lock.md)
 */
import {
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  writeSync,
} from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { journalError } from "../errors.ts";

const LOCK_NAME = "LOCK";

interface FileLocks {
  tryLock(fd: number): boolean;
}

/** Creates the directory if needed and locks it; the returned function unlocks. Throws `ERR_JOURNAL_LOCKED`, `ERR_JOURNAL_STORAGE`. */
export function lockDirectory(directory: string): () => void {
  const fd = openLockFile(directory);
  const locks = createRequire(import.meta.url)("fs-native-extensions") as FileLocks;
  if (!locks.tryLock(fd)) {
    closeSync(fd);
    const holder = holderOf(directory);
    throw journalError("ERR_JOURNAL_LOCKED", `${directory} is in use${holder}`, { details: { directory } });
  }
  // For people; the lock itself is what counts.
  ftruncateSync(fd);
  writeSync(fd, `${process.pid}\n`, 0);
  return () => closeSync(fd);
}

function openLockFile(directory: string): number {
  try {
    makeDirectories(resolve(directory));
    return openSync(join(directory, LOCK_NAME), constants.O_RDWR | constants.O_CREAT, 0o644);
  } catch (cause) {
    throw journalError("ERR_JOURNAL_STORAGE", `${directory} can't be used: ${(cause as Error).message}`, {
      cause,
      details: { directory, errno: (cause as NodeJS.ErrnoException).code },
    });
  }
}

/** Creates what is missing of a path, durably. (mkdirSync with `recursive` never returns for a path below /proc, seen in Node 20.) */
function makeDirectories(directory: string): void {
  const missing: string[] = [];
  for (let path = directory; !existsSync(path); path = dirname(path)) missing.push(path);
  for (const path of missing.toReversed()) {
    mkdirSync(path);
    syncDirectory(dirname(path));
  }
}

function syncDirectory(directory: string): void {
  const fd = openSync(directory, constants.O_RDONLY);
  fsyncSync(fd);
  closeSync(fd);
}

function holderOf(directory: string): string {
  const pid = readFileSync(join(directory, LOCK_NAME), "utf8").trim();
  return /^\d+$/.test(pid) ? ` by process ${pid}` : "";
}
