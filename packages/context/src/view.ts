/**
 * One thread's view of a scope: its end as an error of that thread, an AbortSignal and a timer
 * where a caller asked for one.
 *
 * Nothing ticks for deadlines. A thread that looks at a scope finds out that its time is up and
 * ends it for all: a look at `cancelled`, the timer of a signal, a blocking wait. A scope's
 * deadline is never later than that of the scope above it, so a look goes no further.
 */
import { clearTimeout, setTimeout } from "@millrace/base";
import {
  asyncWaits,
  ASKS_ASYNC,
  assertMayBlock,
  block,
  currentSpace,
  SCOPE_CANCELLED,
  SCOPE_CLOSED,
  SCOPE_MAKER_DIED,
  SCOPE_OVERDUE,
  type ScopeCore,
  type WaitScope,
} from "@millrace/atomics-sync/kernel";
import type { MillraceError } from "@millrace/base";
import { nowUs } from "./clock.ts";
import { contextError, type ContextErrorCode } from "./errors.ts";
import { reasonFromWords, reasonToWords } from "./reason.ts";

/**
 * A look at the clock costs about as much as three at the scope, so `cancelled` reads it once in
 * this many times …
 */
const LOOKS = 16;
/** … unless that many looks took longer than this: then every time. */
const LOOKS_US_MAX = 100;
/** The longest that setTimeout takes. */
const TIMER_MS_MAX: number = 2 ** 31 - 1;

const ended: Readonly<Record<number, readonly [ContextErrorCode, string]>> = {
  [SCOPE_CANCELLED]: ["ERR_CONTEXT_CANCELLED", "the context was cancelled"],
  [SCOPE_OVERDUE]: ["ERR_CONTEXT_DEADLINE", "the context's deadline has passed"],
  [SCOPE_CLOSED]: ["ERR_CONTEXT_CLOSED", "the context was closed"],
  [SCOPE_MAKER_DIED]: ["ERR_CONTEXT_MAKER_DIED", "the thread that had made the context has ended"],
};

/** Signals of this thread that wait for news from their scopes. */
let signalsWaiting = 0;

export class ScopeView implements WaitScope {
  readonly core: ScopeCore;
  readonly deadlineUs: number;
  #looksLeft = 1;
  #lookedUs = 0;
  /** Why it is over, once this thread has found that out. */
  #code = 0;
  #reason: Error | undefined;
  #error: MillraceError | undefined;
  #controller: AbortController | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** The node by which the end of the scope wakes this thread out of a blocking wait. */
  #node = 0;

  constructor(core: ScopeCore, deadlineUs: number) {
    this.core = core;
    this.deadlineUs = deadlineUs;
  }

  /** For loops: one load, and every 16th time the clock where there is a deadline. */
  isOverForLoops(): boolean {
    if (this.core.isOver()) return true;
    if (this.deadlineUs === Infinity) return false;
    this.#looksLeft -= 1;
    return this.#looksLeft <= 0 && this.#lookAtClock();
  }

  #lookAtClock(): boolean {
    const now = nowUs();
    this.#looksLeft = now - this.#lookedUs < LOOKS_US_MAX ? LOOKS : 1;
    this.#lookedUs = now;
    return this.isOver();
  }

  /** Whether the scope is over now; ends it when its time is up. */
  isOver(): boolean {
    if (this.core.isOver()) return true;
    if (this.deadlineUs === Infinity || nowUs() < this.deadlineUs) return false;
    this.#end(SCOPE_OVERDUE);
    return true;
  }

  leftMs(): number {
    return Math.max(0, (this.deadlineUs - nowUs()) / 1000);
  }

  /** Why it is over; undefined while it isn't. The same object each time. */
  get err(): MillraceError | undefined {
    if (this.#error === undefined && this.isOver()) {
      this.#remember();
      this.#error = endedBy(this.#code, this.#reason);
    }
    return this.#error;
  }

  /** Reads why it is over, before its place is given away. */
  #remember(): void {
    if (this.#code !== 0) return;
    this.#code = this.core.outcome();
    const reason = this.core.reason();
    if (reason !== undefined) this.#reason = reasonFromWords(reason);
  }

  error(): MillraceError {
    return this.err as MillraceError;
  }

  /** False when it was over already. */
  cancel(reason: Error | undefined): boolean {
    return !this.isOver() && this.#end(SCOPE_CANCELLED, reason);
  }

  #end(code: number, reason?: Error): boolean {
    const isFirst = this.core.end(code, reason === undefined ? undefined : reasonToWords(reason));
    // In this thread the reason itself, not a copy.
    if (isFirst) {
      this.#code = code;
      this.#reason = reason;
    }
    deliver();
    return isFirst;
  }

  /** In the thread that has made the scope, once. */
  close(): void {
    this.isOver();
    this.#end(SCOPE_CLOSED);
    this.#remember();
    this.core.release();
  }

  // ── waiting for its end ───────────────────────────────────────────────────────────────────────

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.isOver()) this.#abort();
      else this.#listen();
    }
    return this.#controller.signal;
  }

  #listen(): void {
    const waits = asyncWaits(currentSpace());
    const node = this.core.watch(ASKS_ASYNC, waits.thread);
    if (node === 0) {
      this.#abort();
      return;
    }
    signalsWaiting += 1;
    waits.watch(this.core, node, () => {
      signalsWaiting -= 1;
      this.core.unwatch(node);
      this.#abort();
    });
    this.#setTimer();
  }

  #setTimer(): void {
    if (this.deadlineUs === Infinity) return;
    const leftMs = Math.min(Math.ceil(this.leftMs()), TIMER_MS_MAX);
    this.#timer = setTimeout(() => {
      if (!this.isOver()) this.#setTimer();
    }, leftMs).unref();
  }

  #abort(): void {
    clearTimeout(this.#timer);
    const error = this.error();
    this.#controller?.abort(error.cause ?? error);
  }

  watch(): boolean {
    this.#node = this.core.watch(0, currentSpace().thread);
    return this.#node !== 0;
  }

  unwatch(): void {
    this.core.unwatch(this.#node);
  }

  /** Blocks until it is over; false when `timeoutMs` have passed before. */
  wait(timeoutMs: number): boolean {
    const space = currentSpace();
    const endsAt = space.now() + timeoutMs;
    while (!this.isOver()) {
      const leftMs = endsAt - space.now();
      if (leftMs <= 0) return false;
      assertMayBlock(space, "Context.wait", "done");
      const node = this.core.watch(0, space.thread);
      if (node !== 0 && block(space, this.core, node, Math.min(leftMs, this.leftMs()))) this.core.unwatch(node);
    }
    return true;
  }
}

function endedBy(code: number, reason: Error | undefined): MillraceError {
  const [name, text] = ended[code] as readonly [ContextErrorCode, string];
  return reason === undefined
    ? contextError(name, text)
    : contextError(name, `${text}: ${reason.message}`, { cause: reason });
}

/**
 * Signals of this thread that the end of a scope concerns abort before the call that brought it
 * about returns.
 */
function deliver(): void {
  if (signalsWaiting > 0) asyncWaits(currentSpace()).poll();
}
