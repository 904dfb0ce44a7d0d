/** Formats of values, and outcomes: the same for both kinds of channel. */

/** Formats of a value: a block of the shared heap, a word, two words. */
export const VALUES = 0;
export const INT32 = 1;
export const FLOAT64 = 2;

export const DONE = 1;
export const CLOSED = 2;
/** Full or empty: it would have to wait. */
export const BLOCKED = 3;
/** Another thread was in the middle of something. */
export const BUSY = 4;
export const TIMED_OUT = 5;
/** The thread at the other end has died. */
export const ORPHANED = 6;
/** The end belongs to another thread. */
export const TAKEN = 7;

/** STATE of the cell. */
export const OPEN = 0;
export const CLOSED_STATE = 1;
export const FREED_STATE = 2;

/** Slots of a ring for `capacity` values: a power of two, so that its counters may wrap. */
export function ringSlots(capacity: number): number {
  return capacity === 0 ? 0 : 2 ** Math.ceil(Math.log2(capacity));
}
