/**
 * Locks on open files: open-file-description locks of Linux, flock(2) on macOS. The kernel releases
 * one when the file is closed or the process ends. (docs/adr/0006-directory-lock.md)
 */
import { createRequire } from "node:module";

interface FileLocks {
  tryLock(fd: number): boolean;
}

let locks: FileLocks | undefined;

/** Locks a file that is open for writing; false when a process has locked another opening of it. */
export function tryLock(fd: number): boolean {
  locks ??= createRequire(import.meta.url)("fs-native-extensions") as FileLocks;
  return locks.tryLock(fd);
}
