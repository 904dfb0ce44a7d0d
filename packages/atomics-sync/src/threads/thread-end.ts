/**
 * The end of a worker, after the last code of its user.
 *
 * A worker's last code are the handlers of process.on("exit"), in the order in which they were
 * added. A handler of ours among them would be followed by handlers that still use locks, in a
 * thread that was buried already. Node.js emits the event through `process.emit`, so what stands
 * behind that call comes after all of them. A thread that doesn't get there (`terminate()`, out of
 * memory, process.exit() in a handler) is buried by its parent.
 *
 * Rejected: an "exit" handler that moves itself to the end whenever another one is added (the event
 * "newListener" comes before the addition, so it would have to wait for a microtask, and an exit
 * may come first); refusing every use of an object in a thread that was buried (a look in each
 * operation, and handlers that give something back would fail).
 */
const jobs: (() => void)[] = [];

/** Calls `job` in this worker after the last "exit" handler. */
export function atThreadEnd(job: () => void): void {
  jobs.push(job);
  if (jobs.length > 1) return;
  const emit = process.emit.bind(process) as (...given: unknown[]) => boolean;
  process.emit = ((...given: unknown[]): boolean => {
    if (given[0] !== "exit") return emit(...given);
    try {
      return emit(...given);
    } finally {
      for (const each of jobs.splice(0)) each();
    }
  }) as typeof process.emit;
}
