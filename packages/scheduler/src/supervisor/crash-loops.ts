/**
 * Pauses of the handlers that end their threads: the tasks of such a handler wait, longer each time
 * it does so again, so that the tasks of others don't have to wait for one new thread after the
 * other.
 */
import { clearTimeout, setTimeout } from "@millrace/base";
import type { PausedHandlers } from "../shared/paused.ts";

/** After the first death: about what the start of a thread takes. Doubled each time. */
const PAUSE_MS = 50;
/** A handler may be good for most of its arguments. */
const PAUSE_MS_MAX = 1000;
/** A handler that has ended no thread for this long, after its pause, is out of the loop. */
const CALM_MS = 1000;
/**
 * How long the tasks of other handlers have a new thread to themselves before those that have ended
 * the last one.
 */
const AHEAD_MS = 20;

export interface CrashLoopsHost {
  /** Whether a thread could run the tasks of a handler whose pause ends. */
  isThreadReady(): boolean;
  /** The pause of a handler is over: its tasks are in no queue. */
  pauseEnded(): void;
}

export class CrashLoops {
  readonly #paused: PausedHandlers;
  readonly #host: CrashLoopsHost;
  /** By handler: its last pause, and when that is over. At most one entry per handler. */
  readonly #last = new Map<number, { readonly ms: number; readonly endMs: number }>();
  /** By paused handler: what ends the pause; undefined where that waits for a thread. */
  readonly #timers = new Map<number, NodeJS.Timeout | undefined>();
  #isStopped = false;

  constructor(paused: PausedHandlers, host: CrashLoopsHost) {
    this.#paused = paused;
    this.#host = host;
  }

  /** The handler has ended a thread. */
  pause(handler: number, nowMs: number): void {
    this.#paused.begin(handler);
    clearTimeout(this.#timers.get(handler));
    this.#endIn(handler, this.#pauseMs(handler, nowMs));
  }

  /** A new thread is there: the pauses that wait for one end soon. */
  threadReady(): void {
    for (const [handler, timer] of this.#timers) if (timer === undefined) this.#endIn(handler, AHEAD_MS);
  }

  /** No pause ends any more. */
  stop(): void {
    this.#isStopped = true;
    for (const timer of this.#timers.values()) clearTimeout(timer);
  }

  #pauseMs(handler: number, nowMs: number): number {
    const before = this.#last.get(handler);
    const isLoop = before !== undefined && nowMs < before.endMs + CALM_MS;
    const ms = isLoop ? Math.min(before.ms * 2, PAUSE_MS_MAX) : PAUSE_MS;
    this.#last.set(handler, { ms, endMs: nowMs + ms });
    return ms;
  }

  /** The timer doesn't keep the process alive: calls that wait do. */
  #endIn(handler: number, ms: number): void {
    if (this.#isStopped) return;
    this.#timers.set(handler, setTimeout(() => this.#end(handler), ms).unref());
  }

  #end(handler: number): void {
    if (!this.#host.isThreadReady()) {
      this.#timers.set(handler, undefined);
      return;
    }
    this.#timers.delete(handler);
    this.#paused.end(handler);
    this.#host.pauseEnded();
  }
}
