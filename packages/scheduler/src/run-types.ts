/** Calls of handlers as their module's types give them. */
import type { ArgumentOf, CallOf, HandlerName, HandlerOf, ResultOf } from "./handler/handler-types.ts";
import type { Priority } from "./shared/priorities.ts";

/** Options of one call. */
export interface RunOptions {
  /**
   * Calls of a higher priority are started first; low ones still get every 61st start. Default
   * "normal".
   */
  readonly priority?: Priority;
  /**
   * When the task runs again: "none" (default) never; "crash" when its worker thread has died;
   * "error" also when the handler threw. The effects of the handler may then happen more than once.
   */
  readonly retry?: "none" | "crash" | "error";
  /**
   * Starts in all, with `retry`; 2 to 15, default 3. A task that killed three worker threads while
   * it ran alone isn't started again.
   */
  readonly attemptsMax?: number;
  /** Aborts the call: see `ERR_TASK_ABORTED`. A task that no machine has yet never runs. */
  readonly signal?: AbortSignal;
  /**
   * How long the call may take; then it rejects with `ERR_TASK_TIMEOUT`, and a task that no machine
   * has yet never runs.
   */
  readonly timeoutMs?: number;
  /** As `timeoutMs`, counted from the start of the task. */
  readonly runTimeoutMs?: number;
  /**
   * Parts of the argument that are moved instead of copied (ArrayBuffer, MessagePort …). Not
   * together with `retry`.
   */
  readonly transferList?: readonly object[];
}

/** Options of `runMany`: those of `run` that make sense for a list. */
export type RunManyOptions = Pick<RunOptions, "priority" | "retry" | "attemptsMax">;

/** The handlers of a module, as calls with a promise. */
export type Run<Handlers> = {
  readonly [Name in HandlerName<Handlers>]: CallOf<HandlerOf<Handlers, Name>, RunOptions>;
};

/**
 * Calls of one handler, one for each value of a list: the results in the order of the values, or
 * the first error once all tasks are over. Any iterable is a list. It is read at the call, with the
 * values in it. Rejects with `ERR_LIST_UNSUPPORTED`.
 */
export type RunMany<Handlers> = {
  readonly [Name in HandlerName<Handlers>]: (
    items: Iterable<ArgumentOf<HandlerOf<Handlers, Name>>>,
    options?: RunManyOptions,
  ) => Promise<ResultOf<HandlerOf<Handlers, Name>>[]>;
};

/**
 * A handler applied to each value of a list. A task holds many values, and gives half of them away
 * while a machine idles.
 */
export type ParallelMap<Handlers> = RunMany<Handlers>;

/** Names of handlers that join a pair of values of one type into one. */
type ReducerName<Handlers> = {
  [Name in HandlerName<Handlers>]: ArgumentOf<HandlerOf<Handlers, Name>> extends readonly [infer Left, infer Right]
    ? ResultOf<HandlerOf<Handlers, Name>> extends Left & Right
      ? Name
      : never
    : never;
}[HandlerName<Handlers>];

/**
 * A list joined into one value by a handler that takes a pair of neighbours, `sum([left, right])`;
 * it must be associative. With `map` each value is first given to that handler. Rejects with
 * `ERR_LIST_EMPTY` for a list without values.
 */
export type ParallelReduce<Handlers> = {
  readonly [Name in ReducerName<Handlers>]: <Mapper extends HandlerName<Handlers> | undefined = undefined>(
    items: Iterable<
      Mapper extends HandlerName<Handlers>
        ? ArgumentOf<HandlerOf<Handlers, Mapper>>
        : ResultOf<HandlerOf<Handlers, Name>>
    >,
    options?: RunManyOptions & { readonly map?: Mapper },
  ) => Promise<ResultOf<HandlerOf<Handlers, Name>>>;
};
