/**
 * Called around a wait that blocks the thread. A machine of the scheduler hands its processor to
 * another thread first and takes one back afterwards, so that a handler that waits for a lock or a
 * channel never keeps a processor idle.
 */
export interface BlockingHook {
  /**
   * Before the thread blocks. It may throw: then the thread doesn't wait, and the caller of the
   * blocking form gets the error.
   */
  enter(): void;
  /**
   * After the wait, however it ended; once for every `enter` that returned. May block until the
   * thread may go on.
   */
  leave(): void;
}

let hook: BlockingHook | undefined;

/** Sets this thread's hook, or takes it away. */
export function setBlockingHook(given: BlockingHook | undefined): void {
  hook = given;
}

/** To be called before a blocking wait; whatever the hook throws passes through. */
export function enterBlocking(): void {
  hook?.enter();
}

/** To be called after it. */
export function leaveBlocking(): void {
  hook?.leave();
}

/** Ends a blocking wait from outside: a context, for instance. */
export interface WaitScope {
  /** From now on its end wakes this thread; false when it is over. */
  watch(): boolean;
  unwatch(): void;
  isOver(): boolean;
  /** Milliseconds until it ends by itself, Infinity for never; it is over when none are left. */
  leftMs(): number;
  /** The error that the wait throws when the scope is over. */
  error(): Error;
}

let scope: WaitScope | undefined;

/** The scope of the blocking waits that this thread begins now. */
export function currentScope(): WaitScope | undefined {
  return scope;
}

/** Runs `run`; the blocking waits in it end with `given`. */
export function runWithin<Result>(given: WaitScope | undefined, run: () => Result): Result {
  const outer = scope;
  scope = given;
  try {
    return run();
  } finally {
    scope = outer;
  }
}
