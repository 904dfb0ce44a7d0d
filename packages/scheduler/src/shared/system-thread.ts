/**
 * A thread as the system knows it. On Linux `schedstat` tells for how long a thread was ready and
 * had no processor; elsewhere nothing does.
 */
import { readFileSync, readlinkSync } from "node:fs";

const NS_PER_MS = 1e6;

/** The system's number of this thread; undefined where /proc doesn't tell. */
export function systemThread(): number | undefined {
  if (process.platform !== "linux") return undefined;
  try {
    const number = Number(/\/task\/(\d+)$/.exec(readlinkSync("/proc/thread-self"))?.[1]);
    return Number.isNaN(number) ? undefined : number;
  } catch {
    return undefined;
  }
}

/** Ms for which a thread of this process has waited for a processor; 0 where nothing tells. */
export function waitedMs(thread: number | undefined): number {
  if (thread === undefined) return 0;
  try {
    const [, waitedNs] = readFileSync(`/proc/self/task/${thread}/schedstat`, "latin1").split(" ");
    return Number(waitedNs) / NS_PER_MS || 0;
  } catch {
    // The thread has ended, or the system keeps no such account.
    return 0;
  }
}
