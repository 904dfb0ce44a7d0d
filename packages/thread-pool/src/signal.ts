/** Signals that abort a task: an `AbortSignal`, a polyfill of it, or an `EventEmitter`. */

export interface AbortSignalEventTarget {
  addEventListener(name: "abort", listener: () => void, options?: { once: boolean }): void;
  removeEventListener(name: "abort", listener: () => void): void;
  readonly aborted?: boolean;
  readonly reason?: unknown;
}

export interface AbortSignalEventEmitter {
  off(name: "abort", listener: () => void): void;
  once(name: "abort", listener: () => void): void;
}

export type AbortSignalAny = AbortSignalEventTarget | AbortSignalEventEmitter;

export const isAborted = (signal: AbortSignalAny): boolean => "aborted" in signal && signal.aborted;

export const reasonOf = (signal: AbortSignalAny): unknown => ("reason" in signal ? signal.reason : undefined);

/** Calls `listener` at the first abort. Returns a function that stops listening. */
export function onAbort(signal: AbortSignalAny, listener: () => void): () => void {
  if ("addEventListener" in signal) {
    signal.addEventListener("abort", listener, { once: true });
    return () => signal.removeEventListener("abort", listener);
  }
  signal.once("abort", listener);
  return () => signal.off("abort", listener);
}
