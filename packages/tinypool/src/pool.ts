/**
 * The pool behind `Tinypool`: which tasks wait, which workers there are, and who gets what.
 *
 * `run()` sends a task to a worker at once when one has room; else the task waits, and workers are
 * started for it up to `maxThreads`. A worker that must not be used again (isolation, memory,
 * `recycleWorkers()`) ends when its tasks are over, and its last task settles when its successor is
 * there. Whenever a worker goes, the waiting tasks get workers again.
 */
import type { AsyncResource } from "node:async_hooks";
import { type Failure, isAborted, rejectWaiting, WorkerSet } from "@millrace/thread-pool";
import { Lane, type LaneEvents } from "./lane.ts";
import { type FilledOptions, fillOptions, type Options, pathOf, type RunOptions } from "./options.ts";
import type { ResponseMessage } from "./protocol.ts";
import { TaskInfo, type TaskQueue } from "./task.ts";

/** The emitter whose events the pool makes. */
export interface PoolFace {
  emit(event: string, ...args: unknown[]): boolean;
  readonly asyncResource: AsyncResource;
}

class AbortError extends Error {
  constructor() {
    super("The task has been aborted");
  }

  override get name(): string {
    return "AbortError";
  }
}

const terminated = (): Error => new Error("Terminating worker thread");

export class WorkerPool implements LaneEvents {
  readonly options: FilledOptions;
  readonly lanes: WorkerSet<Lane> = new WorkerSet();
  readonly started: number = performance.now();
  completed = 0;
  readonly #face: PoolFace;
  readonly #queue: TaskQueue;
  /** Workers that get tasks: ready ones, and those that were there from the start. */
  readonly #usable = new WorkerSet<Lane>();
  readonly #ids = new Set<number>();
  /** The newest worker that has ended or got ready ended before it was ready. */
  #failsToStart = false;
  #destroying: Promise<void> | undefined;

  constructor(face: PoolFace, options: Options) {
    this.#face = face;
    this.options = fillOptions(options);
    this.#queue = this.options.taskQueue;
    while (this.lanes.size < this.options.minThreads) this.#usable.add(this.#start());
  }

  get queueSize(): number {
    return Math.max(this.#queue.size - this.#startingCapacity, 0);
  }

  run(task: unknown, { transferList = [], channel, filename, name, signal = null }: RunOptions): Promise<unknown> {
    const file = filename ?? this.options.filename;
    if (typeof file !== "string" && !(file instanceof URL)) {
      return Promise.reject(new Error("filename must be provided to run() or in options object"));
    }
    if (signal !== null && isAborted(signal)) return Promise.reject(new AbortError());
    return new Promise((resolve, reject) => {
      const triggerAsyncId = this.#face.asyncResource.asyncId();
      const info = new TaskInfo(
        {
          task,
          transferList,
          filename: pathOf(file),
          name: name ?? this.options.name,
          signal,
          channel,
          triggerAsyncId,
        },
        (failure, result) => {
          this.completed++;
          if (failure === undefined) resolve(result);
          else reject(failure.error as Error);
        },
      );
      info.listen(() => this.#abort(info));
      this.#submit(info);
    });
  }

  /** Rejects the tasks that wait. */
  cancelPendingTasks(): void {
    this.#queue.cancel();
  }

  /** Replaces all workers: idle ones now, others when their tasks are over. */
  async recycleWorkers({ runtime }: Pick<Options, "runtime">): Promise<void> {
    const isOther = runtime !== undefined && runtime !== this.options.runtime;
    if (runtime !== undefined) this.options.runtime = runtime;
    // An isolated worker is new as it is.
    if (this.options.isolateWorkers === true && !isOther) return;
    const ends: Promise<void>[] = [];
    for (const lane of this.lanes) {
      if (lane.tasks.size > 0) lane.isToBeRecycled = true;
      else ends.push(this.#retire(lane));
    }
    await Promise.all(ends);
    this.#startNeeded();
  }

  /** Rejects all tasks, and ends the workers. */
  destroy(): Promise<void> {
    this.#destroying ??= this.#destroy().finally(() => {
      this.#destroying = undefined;
    });
    return this.#destroying;
  }

  onReady(lane: Lane): void {
    this.#failsToStart = false;
    if (this.#usable.has(lane) || !this.lanes.has(lane)) return;
    this.#usable.add(lane);
    this.#offerQueue();
    this.#letIdle(lane);
  }

  onDone(lane: Lane, task: TaskInfo, { error, hasFailed, result }: ResponseMessage): void {
    const failure = hasFailed ? { error } : undefined;
    // A worker on its way out has run its tear-down.
    if (!this.lanes.has(lane)) this.#settle(task, failure, result);
    else if (this.#mustGo(lane)) this.#replace(lane, task, failure, result);
    else {
      // The worker gets its next task first.
      this.#offerQueue();
      this.#letIdle(lane);
      this.#settle(task, failure, result);
    }
    if (this.options.useAtomics) this.lanes.drain();
  }

  onDeath(lane: Lane, error: unknown): void {
    this.#forget(lane);
    // Its earlier answers count.
    lane.drain();
    this.#failsToStart = !lane.isReady;
    let isHeard = lane.tasks.size > 0;
    this.#end(lane, error);
    if (this.#failsToStart && this.lanes.size === 0) isHeard = rejectWaiting(this.#queue, error) || isHeard;
    this.#startNeeded();
    if (!isHeard) this.#face.emit("error", error);
  }

  get #startingCapacity(): number {
    return (this.lanes.size - this.#usable.size) * this.options.concurrentTasksPerWorker;
  }

  #settle(task: TaskInfo, failure: Failure | undefined, result: unknown): void {
    if (failure === undefined) task.complete(result);
    else task.fail(failure.error);
  }

  #submit(info: TaskInfo): void {
    if (this.#queue.size === 0 && this.#place(info)) return;
    const { maxQueue, maxThreads } = this.options;
    if (this.lanes.size < maxThreads) this.#start();
    if (this.#queue.size < maxQueue + this.#startingCapacity) this.#queue.push(info);
    else if (maxQueue === 0) info.fail(new Error("No task queue available and all Workers are busy"));
    else info.fail(new Error("Task queue is at limit"));
  }

  /** Sends a task to a worker. False when there is none for it now. */
  #place(info: TaskInfo): boolean {
    const lane = this.#leastBusy(info.isAbortable ? 1 : undefined);
    if (lane === undefined) return false;
    try {
      lane.post(info);
    } catch (error) {
      info.fail(error);
    }
    if (this.#queue.size === 0) this.#face.emit("drain");
    return true;
  }

  #leastBusy(usageMax: number = this.options.concurrentTasksPerWorker): Lane | undefined {
    return this.#usable.leastBusy(usageMax);
  }

  /** Gives waiting tasks to workers with room, and starts workers for what is left. */
  #offerQueue(): void {
    while (this.#queue.size > 0 && this.#leastBusy() !== undefined) {
      const info = this.#queue.shift() as TaskInfo | null;
      if (info === null) break;
      if (info.isOver || this.#place(info)) continue;
      // An abortable one, while the workers are shared: it is the next.
      this.#queue.push(info);
      break;
    }
    this.#startNeeded();
  }

  #startNeeded(): void {
    if (this.#destroying !== undefined || this.#failsToStart) return;
    while (this.lanes.size < this.options.minThreads) this.#start();
    while (this.lanes.size < this.options.maxThreads && this.#startingCapacity < this.#queue.size) this.#start();
  }

  #start(): Lane {
    let id = 1;
    while (this.#ids.has(id)) id++;
    const lane = new Lane(this.options, id, this);
    this.#ids.add(id);
    this.lanes.add(lane);
    return lane;
  }

  #mustGo(lane: Lane): boolean {
    const { isolateWorkers, maxMemoryLimitBeforeRecycle: limit } = this.options;
    if (lane.tasks.size > 0) {
      if (isolateWorkers === true || (limit !== undefined && lane.usedMemory > limit)) lane.isToBeRecycled = true;
      return false;
    }
    if (isolateWorkers === true || lane.isToBeRecycled) return true;
    return limit !== undefined && lane.usedMemory > limit;
  }

  /** The last task of a worker settles when the worker has ended and its successor has begun. */
  #replace(lane: Lane, task: TaskInfo, failure: Failure | undefined, result: unknown): void {
    this.#retire(lane).then(
      () => {
        this.#startNeeded();
        this.#settle(task, failure, result);
      },
      (error: unknown) => {
        this.#startNeeded();
        task.fail(failure === undefined ? error : failure.error);
      },
    );
  }

  #letIdle(lane: Lane): void {
    const { idleTimeout, minThreads } = this.options;
    const isSpare = (): boolean => lane.tasks.size === 0 && this.lanes.size > minThreads && this.lanes.has(lane);
    if (idleTimeout === Infinity || !isSpare()) return;
    lane.idle(idleTimeout, () => {
      if (!isSpare()) return;
      this.#retire(lane).then(
        () => this.#startNeeded(),
        (error: unknown) => this.#face.emit("error", error),
      );
    });
  }

  #forget(lane: Lane): void {
    this.lanes.delete(lane);
    this.#usable.delete(lane);
    this.#ids.delete(lane.workerId);
  }

  /** Ends a worker: its tear-down runs first. */
  async #retire(lane: Lane): Promise<void> {
    this.#forget(lane);
    await this.#tearDown(lane);
    await lane.destroy(this.options.terminateTimeout, terminated());
  }

  /** Runs the export `teardown` on a worker that has begun. */
  async #tearDown(lane: Lane): Promise<void> {
    const { teardown, filename } = this.options;
    if (teardown === undefined || filename === null || lane.isDestroyed) return;
    await new Promise<void>((resolve, reject) => {
      const triggerAsyncId = this.#face.asyncResource.asyncId();
      const info = new TaskInfo(
        { task: {}, transferList: [], filename, name: teardown, signal: null, channel: undefined, triggerAsyncId },
        (failure) => (failure === undefined ? resolve() : reject(failure.error as Error)),
      );
      lane.post(info);
    });
  }

  /** Ends a worker at once; its tasks are rejected with `error`. */
  #end(lane: Lane, error: unknown): void {
    lane.destroy(this.options.terminateTimeout, error).catch((fault: unknown) => this.#face.emit("error", fault));
  }

  #abort(info: TaskInfo): void {
    info.fail(new AbortError());
    if (!info.hasStarted) this.#queue.remove(info);
    else {
      for (const lane of this.lanes) {
        if (!lane.tasks.has(info.taskId)) continue;
        this.#forget(lane);
        this.#end(lane, terminated());
      }
    }
    this.#startNeeded();
  }

  async #destroy(): Promise<void> {
    const lanes = [...this.lanes];
    const ends = lanes.map(async (lane) => {
      // A worker that runs tasks is ended with them: its tear-down could wait for ever.
      if (lane.tasks.size === 0 && lane.isReady) await this.#retire(lane);
      else {
        this.#forget(lane);
        await lane.destroy(this.options.terminateTimeout, terminated());
      }
      await lane.exited;
    });
    rejectWaiting(this.#queue, terminated());
    await Promise.all(ends);
  }
}
