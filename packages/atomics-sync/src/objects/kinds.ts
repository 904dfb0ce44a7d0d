/** What a cell can be: the number in its KIND, and whether its STATE names an owner (monitor.ts). */
export const MUTEX = 1;
export const PERMITS = 2;
export const COND = 3;
export const WAIT_GROUP = 4;
export const BARRIER = 5;
export const CHANNEL = 6;
export const PIPE = 7;

export function isOwned(kind: number): boolean {
  return kind === MUTEX;
}

/** Words of a PIPE: the threads at its two ends plus one, 0 for none yet, GONE once it has died. By compare-and-swap from 0 by a thread that uses the
 * end, to GONE by whoever buries it. */
export const PIPE_ENDS: readonly number[] = [4, 5];
export const GONE: number = -1;
