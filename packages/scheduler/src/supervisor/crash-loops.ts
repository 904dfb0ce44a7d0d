/**
 * How long the tasks of a handler wait that has ended its thread: longer each time it does so
 * again.
 */

/** After the first death: about what the start of a thread takes. Doubled each time. */
const PAUSE_MS = 50;
/** A handler may be good for most of its arguments. */
const PAUSE_MS_MAX = 1000;
/** A handler that has ended no thread for this long, after its pause, is out of the loop. */
const CALM_MS = 1000;

export class CrashLoops {
  /** By handler: its pause, and when that is over. At most one entry per handler. */
  readonly #pauses = new Map<number, { readonly ms: number; readonly endMs: number }>();

  /** The handler has ended a thread. */
  pauseMsOf(handler: number, nowMs: number): number {
    const before = this.#pauses.get(handler);
    const isLoop = before !== undefined && nowMs < before.endMs + CALM_MS;
    const ms = isLoop ? Math.min(before.ms * 2, PAUSE_MS_MAX) : PAUSE_MS;
    this.#pauses.set(handler, { ms, endMs: nowMs + ms });
    return ms;
  }
}
