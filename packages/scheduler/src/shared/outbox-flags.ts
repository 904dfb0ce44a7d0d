/**
 * Flags of the outboxes that may hold entries: per priority a bit per outbox, so that a machine
 * looks at one word instead of every outbox.
 *
 * A flag may be set for an empty outbox, never unset for one with entries. The owner sets it after
 * it has published. A machine that finds the outbox empty clears the flag and then looks once more.
 */
import { clearBit, hasBit, type RunQueuePlace, runQueueLength, setBit } from "@millrace/shared-memory";

/** Owner of the outbox: it holds entries. After publishing. */
export function raiseFlag(words: Int32Array, flags: number, outbox: number): void {
  if (!hasBit(words, flags, outbox)) setBit(words, flags, outbox);
}

/**
 * Machine: the outbox was found empty. True when it no longer is: then look for a machine to wake,
 * since another may have looked meanwhile and seen no flag.
 */
export function lowerFlag(words: Int32Array, flags: number, outbox: number, place: RunQueuePlace): boolean {
  clearBit(words, flags, outbox);
  if (runQueueLength(place) <= 0) return false;
  setBit(words, flags, outbox);
  return true;
}
