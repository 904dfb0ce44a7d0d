/**
 * Which outboxes may hold entries: per priority a bit per outbox, so that a machine looks at one word instead of every outbox.
 *
 * A hint may be set for an empty outbox, never unset for one with entries: the owner sets it after it has published; a machine
 * that finds the outbox empty clears it and then looks once more.
 */
import { clearBit, hasBit, type RunQueuePlace, runQueueLength, setBit } from "@millrace/shared-memory";

/** Owner of the outbox: it holds entries. After publishing. */
export function raiseHint(words: Int32Array, hints: number, outbox: number): void {
  if (!hasBit(words, hints, outbox)) setBit(words, hints, outbox);
}

/** Machine: it was found empty. True when it no longer is: then look for a machine to wake, since another may have looked meanwhile, and seen no hint. */
export function lowerHint(words: Int32Array, hints: number, outbox: number, place: RunQueuePlace): boolean {
  clearBit(words, hints, outbox);
  if (runQueueLength(place) <= 0) return false;
  setBit(words, hints, outbox);
  return true;
}
