import { clearTimeout, onAbort, setTimeout } from "@millrace/base";

/** Resolves after a time. Throws the signal's reason when it aborts first. */
export async function passed(ms: number, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted();
  await new Promise<void>((resolve) => {
    const timer = setTimeout(over, ms);
    const forget = signal && onAbort(signal, over);
    function over(): void {
      clearTimeout(timer);
      forget?.();
      resolve();
    }
  });
  signal?.throwIfAborted();
}
