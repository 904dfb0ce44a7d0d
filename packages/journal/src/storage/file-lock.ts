/**
 * Locks on open files: open-file-description locks of Linux, flock(2) on macOS. The kernel releases
 * one when the file is closed or the process ends. (docs/adr/0006-directory-lock.md)
 */
import { createRequire } from "node:module";
import { messageOf } from "@millrace/base";
import { journalError } from "../errors.ts";

interface FileLocks {
  tryLock(fd: number): boolean;
}

let locks: FileLocks | undefined;

/**
 * Locks a file that is open for writing; false when a process has locked another opening of it.
 * Throws `ERR_JOURNAL_NATIVE`.
 */
export function tryLock(fd: number): boolean {
  locks ??= load();
  return locks.tryLock(fd);
}

function load(): FileLocks {
  try {
    return createRequire(import.meta.url)("fs-native-extensions") as FileLocks;
  } catch (cause) {
    const { platform, arch } = process;
    throw journalError("ERR_JOURNAL_NATIVE", `fs-native-extensions can't be loaded: ${messageOf(cause)}`, {
      cause,
      details: { platform, arch },
    });
  }
}
