/**
 * Piscina's interface over the scheduler: cheaper calls for programs that use piscina.
 *
 * `run`, `close`, `destroy`, the events `error`, `drain`, `needsDrain` and `close`, and the
 * statistics are as in piscina 5. The pool refuses any other feature of piscina when the program
 * asks for it (docs/pool.md has the list). Three things differ silently:
 *
 * - an aborted task that has begun goes on (use `mill.blocking` for tasks that must be killed);
 * - values go through Millrace's codec (a Buffer stays a Buffer);
 * - an error of a task keeps its code and its own members.
 *
 * Belongs to the thread that made it.
 */
import { EventEmitter } from "node:events";
import {
  isMillraceError,
  messageOf,
  workerUrl,
  clearTimeout,
  performance,
  queueMicrotask,
  setTimeout,
} from "@millrace/base";
import { type MachineDeath, Scheduler, type SchedulerStats } from "@millrace/scheduler";
import { poolError } from "./errors.ts";
import { pack, type Packed, unpack } from "./packed.ts";
import type * as poolTasks from "./pool-task.ts";
import {
  pathOf,
  type PoolOptions,
  type PoolRunOptions,
  type ResolvedPoolOptions,
  type ResolvedPoolRunOptions,
  resolvePoolOptions,
  resolvePoolRunOptions,
  unsupported,
} from "./pool-options.ts";

const EVENTS: ReadonlySet<string | symbol> = new Set([
  "error",
  "drain",
  "needsDrain",
  "close",
  "newListener",
  "removeListener",
]);

const NO_OPTIONS: ResolvedPoolRunOptions = resolvePoolRunOptions({});

/** As piscina's, by name and text; `cause` is the signal's reason. */
class AbortError extends Error {
  override readonly name: string = "AbortError";

  constructor(cause: unknown) {
    super("The task has been aborted", { cause });
  }
}

/** Milliseconds, of one task in 64, to within 3 %. */
export interface PoolHistogramSummary {
  readonly average: number;
  readonly mean: number;
  readonly max: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p99_9: number;
}

export interface PoolHistogram {
  readonly waitTime: PoolHistogramSummary;
  readonly runTime: PoolHistogramSummary;
}

type PoolScheduler = Scheduler<typeof poolTasks>;

// `any`, as in piscina: what a task takes and returns is the caller's knowledge.
// oxlint-disable-next-line typescript/no-explicit-any
export class Pool<Task = any, Result = any> extends EventEmitter {
  readonly options: ResolvedPoolOptions;
  readonly #opening: Promise<PoolScheduler>;
  readonly #startedAt: number = performance.now();
  /** Undefined until the threads are there. */
  #scheduler: PoolScheduler | undefined;
  #outstanding = 0;
  #completed = 0;
  #needsDrain = false;
  #isClosed = false;
  #whenIdle: (() => void) | undefined;

  /**
   * Starts the threads. Throws `ERR_INVALID_OPTION`. An error of the start is an `error` event and
   * rejects every task.
   */
  constructor(options: PoolOptions = {}) {
    super();
    this.options = resolvePoolOptions(options);
    this.on("newListener", (event: string | symbol) => {
      if (!EVENTS.has(event))
        throw unsupported(`the event "${String(event)}"`, `there are ${[...EVENTS].slice(0, 4).join(", ")}`);
    });
    this.#opening = this.#open();
    this.#opening.then(
      (scheduler) => (this.#scheduler = scheduler),
      (thrown: unknown) => this.#report(thrown),
    );
  }

  /**
   * Runs a task on a thread. Rejects with the task's error, an AbortError, `ERR_POOL_FULL`,
   * `ERR_POOL_TASK`, `ERR_MACHINE_DIED`, `ERR_VALUE_UNSUPPORTED`.
   */
  async run(task: Task, options?: PoolRunOptions): Promise<Result> {
    const { transferList, filename, name, signal } =
      options === undefined ? NO_OPTIONS : resolvePoolRunOptions(options);
    if (this.#isClosed) throw new AbortError("queue is being terminated");
    if (signal?.aborted === true) throw new AbortError(signal.reason);
    const file = filename === null ? this.options.filename : pathOf(filename);
    if (file === null) {
      throw poolError("ERR_POOL_TASK", "filename must be provided to run() or in options object");
    }
    if (this.#outstanding >= this.#capacity + this.options.maxQueue) throw this.#full();
    const isOwn = file === this.options.filename && (name === null || name === this.options.name);
    const argument = isOwn ? task : { filename: file, name: name ?? this.options.name, value: task };
    const callOptions = {
      ...(signal === null ? {} : { signal }),
      ...(transferList === undefined ? {} : { transferList }),
    };
    this.#outstanding += 1;
    this.#checkDrain();
    try {
      const handler = isOwn ? "task" : "namedTask";
      const result =
        this.#scheduler === undefined
          ? this.#callLater(handler, argument, callOptions)
          : call(this.#scheduler, handler, argument, callOptions);
      return (await result) as Result;
    } catch (thrown) {
      throw this.#asPiscina(thrown, signal);
    } finally {
      this.#settled();
    }
  }

  /**
   * Takes no more tasks, waits for the tasks under way, ends the threads. After `closeTimeout` it
   * emits an `error` event and ends the tasks as well.
   */
  async close(options: { readonly force?: false } = {}): Promise<void> {
    if (options.force)
      throw unsupported("close({ force: true })", "destroy() ends everything, close() waits for everything");
    this.#isClosed = true;
    if (!(await this.#idleWithin(this.options.closeTimeout))) this.#report(new Error("Close operation timed out"));
    await this.destroy();
    this.emit("close");
  }

  /** Ends the threads at once; tasks under way reject. */
  async destroy(): Promise<void> {
    this.#isClosed = true;
    const scheduler = await this.#opening.catch(() => undefined);
    await scheduler?.terminate();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  // ── statistics ────────────────────────────────────────────────────────────────────────────────

  get minThreads(): number {
    return this.options.minThreads;
  }

  get maxThreads(): number {
    return this.options.maxThreads;
  }

  /** Tasks beyond the number that the threads can have at once. */
  get queueSize(): number {
    return Math.max(0, this.#outstanding - this.#capacity);
  }

  /** Tasks that ended, with any outcome. */
  get completed(): number {
    return this.#completed;
  }

  /** Milliseconds since the pool was made. */
  get duration(): number {
    return performance.now() - this.#startedAt;
  }

  /** Whether as many tasks are under way as the threads can have at once. */
  get needsDrain(): boolean {
    return this.#needsDrain;
  }

  /** The part of the threads' time that tasks took, from 0 to 1; 0 without `recordTiming`. */
  get utilization(): number {
    if (!this.options.recordTiming || this.#scheduler === undefined) return 0;
    const busyMs = this.#scheduler.stats().machines.reduce((sum, machine) => sum + machine.busyMs, 0);
    return busyMs / (this.duration * this.maxThreads);
  }

  /** How long tasks waited and ran; undefined without `recordTiming`. */
  get histogram(): PoolHistogram | undefined {
    if (!this.options.recordTiming || this.#scheduler === undefined) return undefined;
    const { waitingMicroseconds, runningMicroseconds } = this.#scheduler.stats();
    return { waitTime: inMs(waitingMicroseconds), runTime: inMs(runningMicroseconds) };
  }

  get threads(): never {
    throw unsupported("threads", "the threads belong to the scheduler; maxThreads is their number");
  }

  get idleThreads(): never {
    throw unsupported("idleThreads", "see utilization and needsDrain");
  }

  // ── inside ────────────────────────────────────────────────────────────────────────────────────

  get #capacity(): number {
    return this.options.maxThreads * this.options.concurrentTasksPerWorker;
  }

  async #open(): Promise<PoolScheduler> {
    const { filename, name, maxThreads, concurrentTasksPerWorker, resourceLimits } = this.options;
    const handlers = workerUrl("./pool-task", import.meta.url);
    if (filename !== null) handlers.searchParams.set("filename", filename);
    handlers.searchParams.set("name", name);
    return await Scheduler.open<typeof poolTasks>({
      handlers,
      processors: maxThreads,
      // Tasks don't block in ways that the scheduler knows of: no spare threads.
      machinesMax: maxThreads,
      asyncTasksPerMachine: concurrentTasksPerWorker,
      ...(resourceLimits === undefined ? {} : { resourceLimits }),
      onMachineDeath: (death) => this.#died(death),
    });
  }

  /** A call before the threads have started. It takes the value as it is now. */
  async #callLater(handler: HandlerName, argument: unknown, options: CallOptions): Promise<unknown> {
    const { transferList } = options;
    const kept: Packed & { readonly list?: readonly object[] } =
      transferList === undefined ? pack(argument) : moved(argument, transferList);
    const scheduler = await this.#opening;
    const list = kept.list === undefined ? {} : { transferList: kept.list };
    return await call(scheduler, handler, unpack(kept), { ...options, ...list });
  }

  #settled(): void {
    this.#outstanding -= 1;
    this.#completed += 1;
    this.#checkDrain();
    if (this.#outstanding === 0) this.#whenIdle?.();
  }

  #checkDrain(): void {
    const isFull = this.#outstanding >= this.#capacity;
    if (isFull === this.#needsDrain) return;
    this.#needsDrain = isFull;
    queueMicrotask(() => this.emit(isFull ? "needsDrain" : "drain"));
  }

  #full(): Error {
    const { maxQueue } = this.options;
    const text = maxQueue === 0 ? "No task queue available and all Workers are busy" : "Task queue is at limit";
    return poolError("ERR_POOL_FULL", text, { details: { outstanding: this.#outstanding, maxQueue } });
  }

  #asPiscina(thrown: unknown, signal: AbortSignal | null): unknown {
    if (signal?.aborted === true && isMillraceError(thrown, "ERR_TASK_ABORTED")) return new AbortError(signal.reason);
    if (isMillraceError(thrown, "ERR_SCHEDULER_CLOSED"))
      return new Error("Terminating worker thread", { cause: thrown });
    return thrown;
  }

  /** False if the time ended first. */
  #idleWithin(ms: number): Promise<boolean> {
    if (this.#outstanding === 0) return Promise.resolve(true);
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), ms);
      this.#whenIdle = () => {
        clearTimeout(timer);
        resolve(true);
      };
    });
  }

  /**
   * A death under tasks rejects those tasks; as in piscina only the death of an idle thread is an
   * event.
   */
  #died({ error, exitCode, failed, requeued, machine }: MachineDeath): void {
    if (failed + requeued === 0) this.#report(error ?? new Error(`thread ${machine} exited with code ${exitCode}`));
  }

  #report(thrown: unknown): void {
    if (this.listenerCount("error") > 0) this.emit("error", thrown);
    else process.emitWarning(thrown instanceof Error ? thrown : new Error(messageOf(thrown)));
  }
}

type HandlerName = keyof typeof poolTasks;

interface CallOptions {
  readonly signal?: AbortSignal;
  readonly transferList?: readonly object[];
}

function call(
  scheduler: PoolScheduler,
  handler: HandlerName,
  argument: unknown,
  options: CallOptions,
): Promise<unknown> {
  return scheduler.run[handler](argument as never, options);
}

function moved(argument: unknown, transferList: readonly object[]): { value: unknown; list: readonly object[] } {
  const clone = structuredClone({ argument, transferList }, { transfer: transferList as never });
  return { value: clone.argument, list: clone.transferList };
}

function inMs({ mean, max, p50, p90, p99, p999 }: SchedulerStats["runningMicroseconds"]): PoolHistogramSummary {
  const [average, ...rest] = [mean, max, p50, p90, p99, p999].map((us) => us / 1000) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  return { average, mean: average, max: rest[0], p50: rest[1], p90: rest[2], p99: rest[3], p99_9: rest[4] };
}
