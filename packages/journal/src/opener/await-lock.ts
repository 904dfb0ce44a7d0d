/**
 * Waits for a directory that another process has open, as long as the option `lockWaitMs` says.
 *
 * It tries again and again. The kernel's blocking form (F_OFD_SETLKW) was rejected: it holds a
 * thread of libuv's pool, or a thread of its own, that only a signal of the system can wake.
 */
import { clearTimeout, isMillraceError, onAbort, performance, setTimeout } from "@millrace/base";
import { journalError } from "../errors.ts";

/** Pauses between two tries: short at first, for a holder that is about to close. */
const PAUSE_MS_MIN = 5;
const PAUSE_MS_MAX = 100;

/**
 * Returns what `lock` returns. While `lock` throws `ERR_JOURNAL_LOCKED`, tries again until `waitMs`
 * are over, and then throws that error. Throws the signal's reason when it aborts.
 */
export async function awaitLock(
  lock: () => () => void,
  waitMs: number,
  signal: AbortSignal | undefined,
): Promise<() => void> {
  const end = performance.now() + waitMs;
  // Ends: at `end`.
  for (let pauseMs = PAUSE_MS_MIN; ; pauseMs = Math.min(2 * pauseMs, PAUSE_MS_MAX)) {
    signal?.throwIfAborted();
    try {
      return lock();
    } catch (thrown) {
      if (!isMillraceError(thrown, "ERR_JOURNAL_LOCKED")) throw thrown;
      const leftMs = end - performance.now();
      if (leftMs <= 0) throw waitMs === 0 ? thrown : waitedError(thrown, waitMs);
      await pause(Math.min(pauseMs, leftMs), signal);
    }
  }
}

function waitedError(thrown: Error & { readonly details: Readonly<Record<string, unknown>> }, waitMs: number): Error {
  return journalError("ERR_JOURNAL_LOCKED", `${thrown.message}; waited for ${waitMs} ms`, {
    cause: thrown,
    details: { ...thrown.details, lockWaitMs: waitMs },
  });
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    let forget = (): void => {};
    const timer = setTimeout(() => {
      forget();
      resolve();
    }, ms);
    if (signal === undefined) return;
    forget = onAbort(signal, () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
