/** Directories of this command that other threads or processes use. */
import { renameSync, rmSync } from "node:fs";

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
