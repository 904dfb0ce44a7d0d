/** Whether a process has a directory open: asked without a write, so that it may be read-only. */
import { closeSync, constants, openSync } from "node:fs";
import { join } from "node:path";
import { tryLock } from "./file-lock.ts";
import { holderOf, LOCK_NAME, lockedError } from "./lock.ts";

/** Where nobody may write, nobody has it open. */
const UNUSED: ReadonlySet<unknown> = new Set(["ENOENT", "EACCES", "EROFS", "EPERM"]);

/** Throws `ERR_JOURNAL_LOCKED`. The lock is given back at once. */
export function mustBeUnused(directory: string): void {
  let fd: number;
  try {
    fd = openSync(join(directory, LOCK_NAME), constants.O_RDWR);
  } catch (thrown) {
    if (UNUSED.has((thrown as NodeJS.ErrnoException).code)) return;
    throw thrown;
  }
  try {
    if (!tryLock(fd)) throw lockedError(directory, holderOf(directory));
  } finally {
    closeSync(fd);
  }
}
