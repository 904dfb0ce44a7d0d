/** Readers of our output that leave early, such as `| head -1`. */
import { once } from "node:events";
import { constants, fstatSync, lstatSync, readdirSync, readlinkSync } from "node:fs";
import type { Writable } from "node:stream";

const STDOUT = 1;

/** A reader that leaves early is no error: the output that is left is dropped. */
export function bearClosedPipes(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") throw error;
    });
  }
}

/**
 * Whether a write to stdout has found that nobody reads it any more: a command that only prints may
 * end.
 */
export function isOutputClosed(): boolean {
  return process.stdout.destroyed || !process.stdout.writable;
}

/** Resolves when a stream takes more, or takes nothing ever again: its error is heard elsewhere. */
export async function drained(stream: Writable): Promise<void> {
  await Promise.race([once(stream, "drain"), once(stream, "close")]).catch(() => {});
}

/**
 * The processes that read the pipe which is our stdout: for a command that waits for something to
 * print, and would learn from its next write alone that nobody reads on.
 *
 * Known on Linux, of processes whose files this one may list. A reader that can't be seen, such as
 * one outside of a container, never counts as gone.
 */
export class OutputReaders {
  #seen: readonly string[] = readersOfOutput();

  /** Whether readers were seen, and none is left. */
  areGone(): boolean {
    if (isOutputClosed()) return true;
    if (this.#seen.length === 0) return false;
    const inode = pipeOfOutput();
    if (this.#seen.some((pid) => isReading(pid, inode))) return false;
    // One may have handed it on to another process.
    const found = readersOfOutput();
    if (found.length === 0) return true;
    this.#seen = found;
    return false;
  }
}

function readersOfOutput(): string[] {
  const inode = pipeOfOutput();
  if (inode === undefined) return [];
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name) && name !== String(process.pid));
  return pids.filter((pid) => isReading(pid, inode));
}

/** As the entries of `/proc/<pid>/fd` name it; undefined when stdout is no pipe, or unknown. */
function pipeOfOutput(): string | undefined {
  if (process.platform !== "linux") return undefined;
  const stats = fstatSync(STDOUT);
  return stats.isFIFO() ? `pipe:[${stats.ino}]` : undefined;
}

/** Whether a process has the reading end of a pipe open; false when it is gone, or not ours. */
function isReading(pid: string, pipe: string | undefined): boolean {
  const directory = `/proc/${pid}/fd`;
  return entriesOf(directory).some((fd) => isReadingEnd(`${directory}/${fd}`, pipe));
}

function entriesOf(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

/** False of a file that was closed meanwhile. */
function isReadingEnd(file: string, pipe: string | undefined): boolean {
  try {
    return readlinkSync(file) === pipe && (lstatSync(file).mode & constants.S_IRUSR) !== 0;
  } catch {
    return false;
  }
}
