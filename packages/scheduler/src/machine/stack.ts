/**
 * Whether the thread's stack has room for one more join and the task that it runs.
 *
 * A stack overflow in the midst of a queue's update would leave it torn, so a join makes sure of
 * its room first: it calls a function that calls itself, deep enough to take as much stack as a
 * join, its task and their callees need together. Where that overflows, nothing was begun.
 */
import { schedulerError } from "../errors.ts";

/**
 * Depth of joins from which on the stack is checked. This many joins fit in any stack that Node
 * starts a thread with.
 */
const LOOK_DEPTH = 64;
/**
 * Calls of the probe; the compiler may put several into one frame, so this is several times what
 * the interpreter needs.
 */
const PROBE_CALLS = 1500;

/** Throws `ERR_JOIN_DEPTH`. */
export function requireStack(joins: number): void {
  if (joins < LOOK_DEPTH) return;
  try {
    probe(PROBE_CALLS);
  } catch (cause) {
    throw schedulerError("ERR_JOIN_DEPTH", `${joins} joins within one another have used up the thread's stack`, {
      cause,
      details: { joins },
    });
  }
}

function probe(calls: number): number {
  return calls === 0 ? 0 : probe(calls - 1) + 1;
}
