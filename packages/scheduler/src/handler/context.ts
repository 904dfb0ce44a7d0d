/**
 * The second argument of a handler: facts about its task, and calls that it can make from within
 * the task.
 */
import { schedulerError } from "../errors.ts";
import type { ArgumentsOf, HandlerName, HandlerOf, ResultOf } from "./handler-types.ts";
import type { Blamed, Parent } from "./parent.ts";
import { TaskGroup, type TaskGroupHost } from "./task-group.ts";
import type { TaskStage } from "./task-hooks.ts";
import { checkedTransferList } from "../calls/transfer-list.ts";

/** A function that a module exports for tasks to call. */
// `any` and not `unknown`: a handler with an argument of its own type must be assignable.
// oxlint-disable-next-line typescript/no-explicit-any
export type Handler = (argument: any, context: TaskContext) => unknown;

/** The parts of the machine that a context needs. */
export interface ContextHost extends TaskGroupHost {
  readonly machine: number;
  /** How often the task had been started before. */
  attempt(running: number): number;
  deadlineMs(slot: number): number | undefined;
  isCancelled(slot: number): boolean;
  /** Tells the context when its task is cancelled or out of time. */
  watch(context: TaskContext, slot: number): void;
  record(slot: number, running: number): unknown;
  /** Undefined for a task without a header. */
  openStage(slot: number, mustRun: (what: string) => void): TaskStage | undefined;
  /** Calls a handler for the task `parent`. */
  run(parent: Parent, name: string, argument: unknown): Promise<unknown>;
  blocking<T>(body: () => T): T;
}

/**
 * A result that is sent by message, with these parts transferred instead of copied; made by
 * `TaskContext.transfer`.
 */
export class Transferred {
  readonly value: unknown;
  readonly list: readonly object[];

  constructor(value: unknown, list: readonly object[]) {
    this.value = value;
    this.list = list;
  }
}

/** Tasks that were spawned together. For the handler that made it, and only while its task runs. */
export interface TaskGroupView<Handlers = Record<string, Handler>> {
  /** Tasks that are not over yet. */
  readonly pending: number;
  /**
   * Adds a task. Cheap: no promise is made. Throws `ERR_HANDLER_UNKNOWN`, `ERR_VALUE_UNSUPPORTED`.
   */
  spawn<Name extends HandlerName<Handlers>>(name: Name, ...argument: ArgumentsOf<HandlerOf<Handlers, Name>>): void;
  /**
   * Waits for all of them, running other tasks meanwhile, and returns their results in the order of
   * the spawns. Throws the first error. Throws `ERR_ASYNC_PENDING` if one of them is an async
   * handler that is pending on this thread, which it would have to block: use `done` there.
   */
  join(): unknown[];
  /** As `join`, for async handlers. */
  done(): Promise<unknown[]>;
}

/**
 * The second argument of a handler. Use it while the task runs: afterwards its methods throw
 * `ERR_TASK_OVER`, `run` rejects with it, and `signal` is aborted.
 */
export class TaskContext<Handlers = Record<string, Handler>, Delivered = unknown> {
  readonly #host: ContextHost;
  readonly #slot: number;
  readonly #running: number;
  #isOver = false;
  #record: Delivered | undefined;
  #stage: TaskStage | undefined;
  #children: TaskGroup | undefined;
  #controller: AbortController | undefined;
  /** @internal */
  children = 0;
  /** @internal */
  isPending = false;
  /** @internal */
  readonly blamed: Blamed | undefined;

  constructor(host: ContextHost, slot: number, running: number, blamed?: Blamed) {
    this.blamed = blamed;
    this.#host = host;
    this.#slot = slot;
    this.#running = running;
  }

  /**
   * 1 at the first start of the task, 2 at the second; see the options `retry` and `attemptsMax`.
   */
  get attempt(): number {
    return this.#host.attempt(this.#running) + 1;
  }

  /** The machine (worker thread) that runs the task. */
  get machine(): number {
    return this.#host.machine;
  }

  /** The journal record that this task delivers; undefined for a call by `run`. */
  get record(): Delivered | undefined {
    if (this.#record === undefined && !this.#isOver) {
      this.#record = this.#host.record(this.#slot, this.#running) as Delivered | undefined;
    }
    return this.#record;
  }

  /**
   * Publishes records together with the end of the one that this task delivers: `Publish` of
   * millrace says how. Throws `ERR_RECORD_ABSENT` in a task that delivers none.
   */
  get publish(): unknown {
    return this.#theStage("publish").publish;
  }

  /** Publishes a record at once, even if this task fails. Throws `ERR_RECORD_ABSENT`. */
  get publishNow(): unknown {
    return this.#theStage("publishNow").publishNow;
  }

  #theStage(what: string): TaskStage {
    this.#mustRun(what);
    this.#stage ??= this.#host.openStage(this.#slot, (used) => this.#mustRun(used));
    if (this.#stage !== undefined) return this.#stage;
    throw schedulerError("ERR_RECORD_ABSENT", `context.${what} was used in a task that delivers no record`);
  }

  /** When the call is out of time, Unix time in ms; undefined without `timeoutMs`. */
  get deadlineMs(): number | undefined {
    return this.#isOver ? undefined : this.#host.deadlineMs(this.#slot);
  }

  /**
   * Whether the call was aborted or is out of time, so that its result is of no use. For loops: a
   * look costs about 10 ns.
   */
  get isCancelled(): boolean {
    // A timer may come a little before the time that it waits for.
    return this.#isOver || this.#controller?.signal.aborted === true || this.#host.isCancelled(this.#slot);
  }

  /** @deprecated The former name of `isCancelled`. */
  get cancelled(): boolean {
    return this.isCancelled;
  }

  /**
   * Aborts when the result is of no use any more. For async handlers: it fires in a turn of the
   * event loop only.
   */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#isOver) this.#controller.abort(taskOver("signal"));
      else if (this.isCancelled) this.#controller.abort();
      else this.#host.watch(this as unknown as TaskContext, this.#slot);
    }
    return this.#controller.signal;
  }

  /** Calls another handler, on any machine. Await it; an async handler only. */
  run<Name extends HandlerName<Handlers>>(
    name: Name,
    ...[argument]: ArgumentsOf<HandlerOf<Handlers, Name>>
  ): Promise<ResultOf<HandlerOf<Handlers, Name>>> {
    if (this.#isOver) return Promise.reject(taskOver("run"));
    return this.#host.run(this, name, argument) as Promise<ResultOf<HandlerOf<Handlers, Name>>>;
  }

  /**
   * Starts a child task whose result isn't needed. This task is over only after the child, and
   * fails if the child does.
   */
  spawn<Name extends HandlerName<Handlers>>(name: Name, ...[argument]: ArgumentsOf<HandlerOf<Handlers, Name>>): void {
    this.#mustRun("spawn");
    this.#children ??= new TaskGroup(this.#host, this, false);
    this.#children.spawn(name, argument);
  }

  /**
   * Waits for everything spawned by `spawn`, running other tasks meanwhile; throws the first error.
   * See `TaskGroupView.join`.
   */
  join(): void {
    this.#mustRun("join");
    this.#children?.join();
  }

  /** A group of tasks whose results are kept. */
  group(): TaskGroupView<Handlers> {
    this.#mustRun("group");
    return new TaskGroup(this.#host, this, true) as unknown as TaskGroupView<Handlers>;
  }

  /**
   * Runs `body`, which may block the thread for a while (synchronous I/O, a native addon), and lets
   * another thread have the processor meanwhile. Throws `ERR_MACHINES_EXHAUSTED` when too many
   * threads block already, `ERR_ASYNC_PENDING` when async handlers are pending on this thread.
   */
  blocking<T>(body: () => T): T {
    this.#mustRun("blocking");
    return this.#host.blocking(body);
  }

  /**
   * A result that can't be encoded, or is better moved: `return context.transfer(port, [port])`.
   * Throws `ERR_TRANSFER_REFUSED`.
   */
  transfer(value: unknown, list: readonly object[]): unknown {
    this.#mustRun("transfer");
    return new Transferred(value, checkedTransferList(list));
  }

  // ── for the machine ───────────────────────────────────────────────────────────────────────────

  /** @internal The task is cancelled, or its time is over. */
  abort(): void {
    this.#controller?.abort();
  }

  /** @internal What the handler has asked for beside its result. */
  get stage(): TaskStage | undefined {
    return this.#stage;
  }

  /** @internal The children that were not joined. */
  get unjoined(): TaskGroup | undefined {
    return this.#children !== undefined && this.#children.needsJoin ? this.#children : undefined;
  }

  /** @internal The task is over: what its handler has kept of it is of no use any more. */
  end(): void {
    this.#isOver = true;
  }

  /** @internal */
  get isOver(): boolean {
    return this.#isOver;
  }

  #mustRun(what: string): void {
    if (this.#isOver) throw taskOver(what);
  }
}

function taskOver(what: string): Error {
  return schedulerError("ERR_TASK_OVER", `context.${what} was used after its task was over`, { details: { what } });
}
