/**
 * Work of the runtime that a user's call only happens to begin: timers, threads, waits.
 *
 * Each of them keeps the AsyncLocalStorage stores of its maker alive as long as it lives itself. A
 * request's store would stay with a timer that the request's call was the first to need. Such work
 * is begun in the context in which this module was loaded.
 */
import { AsyncResource } from "node:async_hooks";

const outside = new AsyncResource("millrace");

export function withoutContext<T>(run: () => T): T {
  return outside.runInAsyncScope(run);
}
