/**
 * A file that is complete, or not there at all: it is written under another name, which says that
 * it is a part, and gets its own name when all of it is on disk. A process that is killed leaves
 * the part.
 */
import { randomBytes } from "node:crypto";
import { existsSync, linkSync, renameSync, unlinkSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { syncDirectory } from "./lock.ts";

/** File systems without hard links say one of these. */
const NO_LINKS: ReadonlySet<unknown> = new Set(["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK"]);

/** A name for the part of a file, used by nobody else. */
export function partOf(path: string): string {
  return `${path}.${randomBytes(4).toString("hex")}.part`;
}

/** As `partOf`, of a file that is new. Throws `EEXIST` if it is there already. */
export function partOfNew(path: string): string {
  if (existsSync(path)) throw existsError(path);
  return partOf(path);
}

/**
 * The part is whole and on disk: it gets its name, durably. Throws `EEXIST` if another file has got
 * the name meanwhile; that one stays as it is.
 */
export function completeFile(part: string, path: string): void {
  try {
    linkSync(part, path);
    unlinkSync(part);
  } catch (thrown) {
    if (!NO_LINKS.has((thrown as NodeJS.ErrnoException).code)) throw thrown;
    if (existsSync(path)) throw existsError(path);
    renameSync(part, path);
  }
  syncDirectory(dirname(resolve(path)));
}

function existsError(path: string): Error {
  return Object.assign(new Error(`EEXIST: file already exists, open '${path}'`), { code: "EEXIST" });
}
