/** Directories of this command that other threads or processes use. */
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readlinkSync, renameSync, rmSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { messageOf } from "@millrace/base";
import { cliError } from "../errors.ts";

/** Digits of the name: the path of a socket below is short. */
const ORIGIN_LENGTH = 8;

/** A file that marks a directory which was kept for a closer look. */
export const KEPT_NAME = "kept";

/**
 * A new directory in the system's one for temporary files. Its name begins with `prefix`, where
 * this process's id is valid, and that id: what a process has left that was killed goes when the
 * next one there asks for the same prefix. Throws `ERR_CLI_TEMPORARY`.
 */
export function temporaryDirectory(prefix: string): string {
  // TMPDIR may be relative, and a program that is run may go to another working directory.
  const parent = resolve(tmpdir());
  try {
    return directoryIn(parent, prefix);
  } catch (cause) {
    throw cliError("ERR_CLI_TEMPORARY", `${parent} can't hold temporary files: ${messageOf(cause)}`, {
      cause,
      details: { directory: parent },
    });
  }
}

/** As `temporaryDirectory`, in another place. Throws the system's errors. */
export function directoryIn(parent: string, prefix: string): string {
  const own = `${prefix}${whereIdsAreValid()}-`;
  removeLeftovers(parent, own);
  return mkdtempSync(join(parent, `${own}${process.pid}-`));
}

/**
 * Containers and machines may share a directory, and the id of a process that lives in one of them
 * belongs to none in another.
 */
function whereIdsAreValid(): string {
  return createHash("sha256").update(`${hostname()} ${idNamespace()}`).digest("hex").slice(0, ORIGIN_LENGTH);
}

/** Linux alone has them, and shows them where there is a `/proc`. */
function idNamespace(): string {
  try {
    return readlinkSync("/proc/self/ns/pid");
  } catch {
    return "";
  }
}

function removeLeftovers(parent: string, prefix: string): void {
  for (const name of readdirSync(parent)) {
    const pid = name.startsWith(prefix) ? /^(\d+)-/.exec(name.slice(prefix.length))?.[1] : undefined;
    const path = join(parent, name);
    if (pid === undefined || isAlive(Number(pid)) || existsSync(join(path, KEPT_NAME))) continue;
    try {
      rmSync(path, { recursive: true, force: true });
    } catch {
      // Another user's.
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (thrown) {
    // Another user's process can't be asked.
    return (thrown as NodeJS.ErrnoException).code !== "ESRCH";
  }
}

/**
 * Removes a directory, also while others make files in it by its name: under another name they
 * don't find it. Several may remove the same one.
 */
export function removeInUse(path: string): void {
  // Until nobody has made it once more.
  for (let time = 0; ; time += 1) {
    const aside = `${path}-${process.pid}-${time}`;
    if (!isRenamed(path, aside)) return;
    rmSync(aside, { recursive: true, force: true });
  }
}

/** False when it doesn't exist. */
function isRenamed(path: string, to: string): boolean {
  try {
    renameSync(path, to);
    return true;
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw thrown;
  }
}
