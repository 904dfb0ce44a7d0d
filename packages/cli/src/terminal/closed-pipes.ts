/** Readers of our output that leave early, such as `| head -1`. */
import { closeSync, constants, fstatSync, openSync } from "node:fs";

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
