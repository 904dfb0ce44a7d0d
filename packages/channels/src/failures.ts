/** The errors that outcomes of a core are to users. */
import { syncError } from "@millrace/atomics-sync/kernel";
import { channelError } from "./errors.ts";
import { ORPHANED, TAKEN, TIMED_OUT } from "./outcomes.ts";

/**
 * The error to throw for an outcome that isn't DONE. `sent`: number of values that were sent, of
 * several.
 */
export function failure(outcome: number, timeoutMs: number | undefined, sent?: number): Error {
  const details = sent === undefined ? {} : { sent };
  if (outcome === TIMED_OUT) {
    return syncError("ERR_SYNC_TIMEOUT", `the channel wasn't ready within ${timeoutMs} ms`, { details });
  }
  if (outcome === ORPHANED) {
    return channelError("ERR_CHAN_ORPHANED", "the thread at the other end has died", { details });
  }
  if (outcome === TAKEN) {
    return channelError("ERR_CHAN_ENDS", "another thread has this end of the channel", { details });
  }
  return channelError("ERR_CHAN_CLOSED", "the channel is closed", { details });
}
