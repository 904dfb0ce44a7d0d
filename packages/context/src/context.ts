/**
 * Go's `context` across threads: scopes that are cancelled together, deadlines, and values that go
 * along with a call.
 *
 * Source: Go's package context (src/context/context.go) for the rules; scope.ts in atomics-sync for
 * how a scope ends in all threads.
 */
import {
  type BlockOptions,
  currentSpace,
  makeScope,
  milliseconds,
  runWithin,
  ScopeCore,
  syncError,
  type SyncHandle,
  timeLimit,
} from "@millrace/atomics-sync/kernel";
import { custom, type MillraceError, resolveOptions, type Rules } from "@millrace/base";
import { nowUs } from "./clock.ts";
import { contextError } from "./errors.ts";
import { type ContextValue, Values } from "./values.ts";
import { ScopeView } from "./view.ts";

const TYPE = "Context";

/**
 * A context as a plain value, for workerData, postMessage or a task's argument; `Context.from`
 * makes a context of it again.
 */
export interface ContextHandle extends SyncHandle {
  /** Values along the way, encoded. */
  readonly values: readonly ContextValue[];
}

/** How long a call may take, and the values that go along with it. Any thread may cancel it. */
export class Context {
  readonly #view: ScopeView | undefined;
  readonly #values: Values;

  /** For `background`, `withCancel` and the like. */
  constructor(view: ScopeView | undefined, values: Values) {
    this.#view = view;
    this.#values = values;
  }

  /**
   * The context that a handle names; a context that was closed meanwhile is over. Throws
   * `ERR_SYNC_HANDLE`.
   */
  static from(handle: ContextHandle): Context {
    const space = currentSpace();
    if (handle?.type !== TYPE || (handle.cell !== 0 && handle.space !== space.id)) {
      throw syncError("ERR_SYNC_HANDLE", "expected the handle of a Context of this process");
    }
    const values = new Values(handle.values);
    if (handle.cell === 0) return new Context(undefined, values);
    const core = new ScopeCore(space, handle.cell, handle.generation);
    return new Context(new ScopeView(core, core.deadlineUs), values);
  }

  /** For `withCancel` and the like. */
  static viewOf(context: Context): ScopeView | undefined {
    return context.#view;
  }

  /** For `withValue` and the like. */
  static valuesOf(context: Context): Values {
    return context.#values;
  }

  /**
   * Whether it is over: cancelled, closed, or its time is up. Cheap enough for an inner loop. With
   * a deadline, looks that follow each other quickly read the clock only every 16th time.
   */
  get isCancelled(): boolean {
    return this.#view !== undefined && this.#view.isOverForLoops();
  }

  /** @deprecated The former name of `isCancelled`. */
  get cancelled(): boolean {
    return this.isCancelled;
  }

  /**
   * Why it is over: `ERR_CONTEXT_CANCELLED`, `…_DEADLINE`, `…_CLOSED` or `…_MAKER_DIED`; undefined
   * while it isn't.
   */
  get err(): MillraceError | undefined {
    return this.#view?.err;
  }

  /** The reason that `cancel` got, in other threads as a copy; otherwise `err`. */
  get cause(): unknown {
    return this.err?.cause ?? this.err;
  }

  /**
   * A signal that aborts when the context is over, with `cause` as its reason. The first read makes
   * it. It doesn't keep the process alive.
   */
  get done(): AbortSignal {
    return this.#view === undefined ? never.signal : this.#view.signal;
  }

  /** The same as `done`, under the name that it has in the context of a handler. */
  get signal(): AbortSignal {
    return this.done;
  }

  /** The time at which it ends by itself; undefined if it never does. */
  get deadline(): Date | undefined {
    const deadlineUs = this.#view?.deadlineUs ?? Infinity;
    return deadlineUs === Infinity ? undefined : new Date(Date.now() + (deadlineUs - nowUs()) / 1000);
  }

  /** The same as `deadline`, as Unix time in ms, as in the context of a handler. */
  get deadlineMs(): number | undefined {
    return this.deadline?.getTime();
  }

  /**
   * The value that `withValue` has put under `key`, here or above; undefined for none. A frozen
   * copy, the same object each time.
   */
  value(key: string): unknown {
    return this.#values.get(key);
  }

  /** A plain value that `Context.from` takes in any thread of this process. */
  get handle(): ContextHandle {
    const core = this.#view?.core;
    const { list } = this.#values;
    if (core === undefined) return { type: TYPE, space: 0, cell: 0, generation: 0, values: list };
    return { type: TYPE, space: currentSpace().id, cell: core.place, generation: core.live, values: list };
  }

  /** Throws `err` when it is over. */
  throwIfCancelled(): void {
    if (this.isCancelled) throw this.err as MillraceError;
  }

  /**
   * Cancels it and all contexts below it, in all threads. Returns false when it was over already.
   * Other threads get the name, message, code and details of an error, as far as they fit into 488
   * bytes. Throws `ERR_CONTEXT_BACKGROUND`.
   */
  cancel(reason?: Error | string): boolean {
    if (this.#view === undefined) throw contextError("ERR_CONTEXT_BACKGROUND", "the background can't be cancelled");
    return this.#view.cancel(typeof reason === "string" ? new Error(reason) : reason);
  }

  /**
   * Runs a synchronous function; a blocking call in it, such as `mutex.lock()`, throws `err` when
   * the context is over first.
   */
  run<Result>(run: () => Result): Result {
    return runWithin(this.#view, run);
  }

  /**
   * Blocks the thread until it is over. Returns false when `timeoutMs` have passed before. Not on
   * the main thread (`ERR_BLOCKING_MAIN`): use `done`. Throws `ERR_CONTEXT_BACKGROUND` for the
   * background, which never ends.
   */
  wait(options?: BlockOptions): boolean {
    const timeoutMs = timeLimit("Context.wait", options);
    if (this.#view === undefined) throw contextError("ERR_CONTEXT_BACKGROUND", "the background never ends");
    return this.#view.wait(timeoutMs);
  }
}

/** A context that this thread has made. `using` closes it. */
export class Scope extends Context implements Disposable {
  readonly #view: ScopeView;
  #isClosed = false;

  constructor(view: ScopeView, values: Values) {
    super(view, values);
    this.#view = view;
  }

  /**
   * Ends it and all contexts below it, and gives its place in memory back. When a thread ends, all
   * scopes that it has left open are closed.
   */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#view.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

const never: AbortController = new AbortController();
const root: Context = new Context(undefined, new Values([]));

/** The context above all others: never over, without values. */
export function background(): Context {
  return root;
}

/**
 * A scope that ends when `cancel` or `close` is called, or when `parent` is over. Throws
 * `ERR_SYNC_SPACE_FULL`, `ERR_WAITERS_EXHAUSTED`.
 */
export function withCancel(parent: Context): Scope {
  return scopeBelow(parent, Infinity);
}

/** A scope as from `withCancel` that also ends at `deadline`, if the parent's isn't earlier. */
export function withDeadline(parent: Context, deadline: Date): Scope {
  const { deadline: until } = resolveOptions("withDeadline", deadlineRules, { deadline });
  return scopeBelow(parent, untilUs(until.getTime() - Date.now()));
}

/**
 * A scope as from `withCancel` that also ends after `timeoutMs`, 0 to 2³¹ − 1, if the parent's
 * deadline isn't earlier. Throws `ERR_INVALID_OPTION`.
 */
export function withTimeout(parent: Context, timeoutMs: number): Scope {
  return scopeBelow(parent, untilUs(resolveOptions("withTimeout", timeoutRules, { timeoutMs }).timeoutMs));
}

const isDate = (value: unknown): value is Date => value instanceof Date && Number.isFinite(value.getTime());
const deadlineRules = { deadline: custom("a valid Date", isDate) } satisfies Rules;
const timeoutRules = { timeoutMs: milliseconds } satisfies Rules;

/**
 * A point in time on the shared clock, whole µs; 285 years away at most, which both words of it
 * hold.
 */
function untilUs(ms: number): number {
  return Math.min(Math.max(0, Math.ceil(nowUs() + ms * 1000)), Number.MAX_SAFE_INTEGER);
}

function scopeBelow(parent: Context, endsUs: number): Scope {
  const above = Context.viewOf(parent);
  const deadlineUs = Math.min(endsUs, above?.deadlineUs ?? Infinity);
  const core = makeScope(currentSpace(), above?.core, deadlineUs);
  return new Scope(new ScopeView(core, deadlineUs), Context.valuesOf(parent));
}

/**
 * The same scope with one more value, which hides one of the same name above. Throws
 * `ERR_VALUE_UNSUPPORTED` for a value that can't go to another thread.
 */
export function withValue(parent: Context, key: string, value: unknown): Context {
  return new Context(Context.viewOf(parent), Context.valuesOf(parent).with(key, value));
}
