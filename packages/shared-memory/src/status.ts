/**
 * Outcomes of the non-blocking operations: expected results are numbers below zero, not exceptions
 * (the three-way result is crossbeam-deque's Steal: Empty, Success, Retry).
 */
/** Nothing there. */
export const EMPTY = -1;
/** Lost a race against another thread; the same call may succeed at once. */
export const RETRY = -2;
/** No room. */
export const FULL = -3;
/** The system gives no memory. */
export const REFUSED = -4;
