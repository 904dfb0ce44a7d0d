/** Readers of our output that leave early, such as `| head -1`. */
import { once } from "node:events";
import { closeSync, constants, fstatSync, openSync } from "node:fs";
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
 * Whether nobody reads stdout any more, found out without a write: for a command that waits for
 * something to print. Known for pipes on Linux, where the writing end of a pipe without readers
 * can't be opened once more; false elsewhere.
 */
export function isOutputAbandoned(): boolean {
  if (isOutputClosed()) return true;
  if (process.platform !== "linux" || !fstatSync(STDOUT).isFIFO()) return false;
  try {
    closeSync(openSync(`/proc/self/fd/${STDOUT}`, constants.O_WRONLY | constants.O_NONBLOCK));
    return false;
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code === "ENXIO";
  }
}
