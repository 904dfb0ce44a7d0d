/**
 * A reader that leaves early, such as `| head -1`, is no error: the output that is left is dropped.
 */
export function bearClosedPipes(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") throw error;
    });
  }
}

/** Whether nobody reads stdout any more: a command that only prints may end. */
export function isOutputClosed(): boolean {
  return process.stdout.destroyed || !process.stdout.writable;
}
