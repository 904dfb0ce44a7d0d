/**
 * Listening to an AbortSignal from many places at once: one listener per signal, however many wait
 * for it. Node warns of a leak from the eleventh listener on, and a signal of a whole request is
 * given to more calls than that.
 */
import { queueMicrotask } from "./real-time.ts";

const listeners = new WeakMap<AbortSignal, Listener>();

interface Listener {
  readonly callbacks: Set<() => void>;
  readonly onAbort: () => void;
}

/**
 * Calls `callback` once when the signal is aborted, which must not be so yet. Returns what takes
 * that back.
 */
export function onAbort(signal: AbortSignal, callback: () => void): () => void {
  const { callbacks } = listeners.get(signal) ?? listen(signal);
  // Of its own, so that the same callback may be given twice.
  const own = (): void => callback();
  callbacks.add(own);
  return () => {
    if (callbacks.delete(own) && callbacks.size === 0) forget(signal);
  };
}

function listen(signal: AbortSignal): Listener {
  const callbacks = new Set<() => void>();
  const listener = {
    callbacks,
    onAbort: (): void => {
      listeners.delete(signal);
      for (const callback of callbacks) {
        callbacks.delete(callback);
        // As with listeners of their own: one that throws doesn't keep the others from being
        // called.
        try {
          callback();
        } catch (thrown) {
          reportError(thrown);
        }
      }
    },
  };
  listeners.set(signal, listener);
  signal.addEventListener("abort", listener.onAbort, { once: true });
  return listener;
}

function forget(signal: AbortSignal): void {
  const listener = listeners.get(signal);
  if (listener === undefined || listener.callbacks.size > 0) return;
  listeners.delete(signal);
  signal.removeEventListener("abort", listener.onAbort);
}

/** An error of a callback ends like one of an event listener: as an uncaught exception. */
function reportError(thrown: unknown): void {
  queueMicrotask(() => {
    throw thrown;
  });
}
