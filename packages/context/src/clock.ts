/**
 * A clock that all threads of the process share: `performance.now()` begins at 0 in each thread.
 */

/** The shared clock's time when this thread's `performance.now()` is 0, in µs. */
const originUs: number = Number(process.hrtime.bigint()) / 1000 - performance.now() * 1000;

/**
 * Monotonic µs with a fraction; to the same start in all threads, but for the few µs between two
 * readings.
 */
export function nowUs(): number {
  return originUs + performance.now() * 1000;
}
import { performance } from "@millrace/base";
