/** Errors with the texts of piscina: programs look for them. */

export const threadTermination = (): Error => new Error("Terminating worker thread");
export const filenameNotProvided = (): Error => new Error("filename must be provided to run() or in options object");
export const taskQueueAtLimit = (): Error => new Error("Task queue is at limit");
export const noTaskQueueAvailable = (): Error => new Error("No task queue available and all Workers are busy");
export const closeTimedOut = (): Error => new Error("Close operation timed out");
export const workerExited = (code: number): Error => new Error(`worker exited with code: ${code}`);
export const noHandler = (filename: string): Error => new Error(`No handler function exported from ${filename}`);

/** The task was aborted; `cause` is the signal's reason. */
export class AbortError extends Error {
  constructor(reason?: unknown) {
    super("The task has been aborted", { cause: reason });
  }

  override get name(): string {
    return "AbortError";
  }
}
