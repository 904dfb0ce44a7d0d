/**
 * The last words of a thread: why it ends, reported by the thread itself.
 *
 * Node tells the parent the exit code, and an uncaught error as its own serialiser sends it:
 * without members that can't be cloned. Here the error goes as a handler's error does, an unhandled
 * rejection is told from an uncaught error, and a call of process.exit() has the stack that shows
 * who made it. A thread that runs out of memory or is terminated says nothing.
 */
import { encodeThrown } from "@millrace/codec";

export interface LastWords {
  /** "ended": nothing kept the thread's event loop alive. */
  readonly reason: "uncaught error" | "unhandled rejection" | "exit" | "ended";
  /** The value that was thrown, encoded; for an exit an error with the stack of the call. */
  readonly error: Uint8Array<ArrayBuffer>;
}

/** Enough for any error; one with large members mustn't fill the memory of a dying thread. */
const ERROR_BYTES_MAX: number = 1024 * 1024;

/**
 * Has `report` called when this thread ends, if it can still speak. Call it before any other code
 * listens.
 */
export function speakLastWords(report: (words: LastWords) => void): void {
  let words: LastWords | undefined;
  process.on("uncaughtExceptionMonitor", (error: unknown, origin) => {
    const reason = origin === "unhandledRejection" ? "unhandled rejection" : "uncaught error";
    words = { reason, error: encodeThrown(error, ERROR_BYTES_MAX) };
    // The program may handle it, and then the thread goes on.
    process.nextTick(() => (words = undefined));
  });
  process.on("exit", (code) => report(words ?? exitWords(code)));
}

function exitWords(code: number): LastWords {
  const error = new Error(`process.exit(${code}) was called`);
  // oxlint-disable-next-line unbound-method -- looked for on the stack, not called
  Error.captureStackTrace(error, process.exit);
  // Without a line: process.exit() isn't on the stack.
  const reason = error.stack?.includes("\n") === true ? "exit" : "ended";
  if (reason === "ended") error.message = error.stack = "nothing kept the thread alive";
  return { reason, error: encodeThrown(error, ERROR_BYTES_MAX) };
}
