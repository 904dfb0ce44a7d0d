/**
 * The pool behind `Piscina`: which tasks wait, which threads there are, and who gets what.
 *
 * `run()` sends a task to a thread at once when one has room, so it is under way even if the caller
 * blocks next. Else the task waits in the queue, and threads are started for it up to `maxThreads`.
 * After every change (a thread is ready, a task is over, a thread is gone) the head of the queue is
 * offered again.
 *
 * Three rules keep waiting tasks from being forgotten. Whenever a thread goes, the queue gets
 * threads again. When the last thread can't load its module, the waiting tasks are rejected with
 * its error. A task on a thread that dies is rejected with what killed the thread.
 */
import type { AsyncResource } from "node:async_hooks";
import {
  type AbortSignalAny,
  isAborted,
  reasonOf,
  rejectWaiting,
  type TaskCallback,
  TIMEOUT_MAX,
  WorkerSet,
} from "@millrace/thread-pool";
import {
  AbortError,
  closeTimedOut,
  filenameNotProvided,
  noTaskQueueAvailable,
  taskQueueAtLimit,
  threadTermination,
  workerExited,
} from "./errors.ts";
import { Timing } from "./histogram.ts";
import { type FilledOptions, fillOptions, type Options, pathOf, type RunOptions } from "./options.ts";
import type { Response } from "./protocol.ts";
import { threadSymbol } from "./symbols.ts";
import { TaskInfo, type TaskQueue } from "./task.ts";
import { type Death, Thread, type ThreadEvents } from "./thread.ts";

/** The emitter whose events the pool makes. */
export interface PoolFace {
  emit(event: string, ...args: unknown[]): boolean;
  readonly asyncResource: AsyncResource;
}

export class ThreadPool implements ThreadEvents {
  readonly options: FilledOptions;
  readonly threads: WorkerSet<Thread> = new WorkerSet();
  readonly timing: Timing | undefined;
  readonly started: number = performance.now();
  completed = 0;
  needsDrain = false;
  readonly #face: PoolFace;
  readonly #queue: TaskQueue;
  /** Threads that get tasks: ready ones, and those that were there from the start. */
  readonly #usable = new WorkerSet<Thread>();
  #closing: Promise<void> | undefined;
  #destroying: Promise<void> | undefined;
  #isDestroying = false;
  /** The newest thread that has ended or got ready ended before it was ready. */
  #failsToStart = false;
  #isUsageNoted = false;
  /** Called when no task is left, while the pool closes. */
  #onEmpty: (() => void) | undefined;

  constructor(face: PoolFace, options: Options) {
    this.#face = face;
    this.options = fillOptions(options);
    this.#queue = this.options.taskQueue;
    this.timing = this.options.recordTiming ? new Timing() : undefined;
    while (this.threads.size < this.options.minThreads) this.#startInitialThread();
  }

  /** Tasks that wait, but for those that threads are being started for. */
  get queueSize(): number {
    return Math.max(this.#queue.size - this.#startingCapacity, 0);
  }

  get idleThreads(): number {
    let idle = 0;
    for (const thread of this.#usable) if (thread.tasks.size === 0) idle++;
    return idle;
  }

  get utilization(): number {
    const { maxThreads, concurrentTasksPerWorker } = this.options;
    const capacityMs = (performance.now() - this.started) * maxThreads * concurrentTasksPerWorker;
    return (this.timing?.busyMs ?? 0) / capacityMs;
  }

  run(task: unknown, options: RunOptions): Promise<unknown> {
    const filename = options.filename ?? this.options.filename;
    if (typeof filename !== "string") return Promise.reject(filenameNotProvided());
    if (this.#isEnding) return Promise.reject(new AbortError("queue is being terminated"));
    const signal = options.signal ?? null;
    if (signal !== null && isAborted(signal)) return Promise.reject(new AbortError(reasonOf(signal)));
    return new Promise((resolve, reject) => {
      const callback: TaskCallback = (failure, result) => {
        this.#noteEnd(info);
        if (failure === undefined) resolve(result);
        else reject(failure.error as Error);
      };
      const { transferList = [], name } = options;
      const triggerAsyncId = this.#face.asyncResource.asyncId();
      const info = new TaskInfo(
        { task, transferList, filename: pathOf(filename), name: name ?? this.options.name, signal, triggerAsyncId },
        callback,
      );
      if (signal !== null) info.listen(() => this.#abort(info, signal));
      this.#submit(info);
      this.#noteUsage();
    });
  }

  /** Waits for all tasks, or rejects those that haven't begun; then ends the threads. */
  close(force: boolean): Promise<void> {
    this.#closing ??= this.#close().finally(() => {
      this.#closing = undefined;
    });
    if (force) rejectWaiting(this.#queue, new AbortError("pool is closed"));
    return this.#closing;
  }

  /** Rejects all tasks, and ends the threads. */
  destroy(): Promise<void> {
    this.#destroying ??= this.#destroy().finally(() => {
      this.#destroying = undefined;
    });
    return this.#destroying;
  }

  onReady(thread: Thread): void {
    this.#failsToStart = false;
    // A thread that has died since is no thread any more.
    if (this.#usable.has(thread) || !this.threads.has(thread)) return;
    this.#usable.add(thread);
    this.#face.emit("workerCreate", thread.interface);
    this.#offerQueue();
    this.#letIdle(thread);
  }

  onDone(thread: Thread, task: TaskInfo, { failure, cloneFault, result }: Response): void {
    // The thread gets its next task first.
    this.#offerQueue();
    this.#letIdle(thread);
    if (failure !== undefined) task.fail(failure.error);
    else if (cloneFault === undefined) task.complete(result);
    else task.fail(new DOMException(cloneFault, "DataCloneError"));
    if (this.options.atomics !== "disabled") this.threads.drain();
  }

  onMessage(message: unknown): void {
    this.#face.emit("message", message);
  }

  onDeath(thread: Thread, death: Death): void {
    this.#forget(thread);
    // Its earlier answers count.
    thread.drain();
    const error = "error" in death ? death.error : workerExited(death.code);
    this.#failsToStart = !thread.isReady;
    let isHeard = thread.tasks.size > 0;
    if (this.#failsToStart && this.threads.size === 0) isHeard = rejectWaiting(this.#queue, error) || isHeard;
    this.#end(thread, error);
    if ("error" in death && !isHeard) this.#face.emit("error", error);
  }

  get #isEnding(): boolean {
    return this.#closing !== undefined || this.#isDestroying;
  }

  get #startingCapacity(): number {
    return (this.threads.size - this.#usable.size) * this.options.concurrentTasksPerWorker;
  }

  #submit(info: TaskInfo): void {
    if (this.#queue.size === 0 && this.#place(info)) return;
    const { maxQueue, maxThreads } = this.options;
    if (this.threads.size < maxThreads) this.#startThread();
    if (this.#queue.size < maxQueue + this.#startingCapacity) this.#queue.push(info);
    else info.fail(maxQueue === 0 ? noTaskQueueAvailable() : taskQueueAtLimit());
  }

  /** Sends a task to a thread. False when there is none for it now. */
  #place(info: TaskInfo): boolean {
    let thread: Thread | undefined;
    try {
      thread = this.#chooseThread(info);
    } catch (error) {
      info.fail(error);
    }
    if (info.isOver) return true;
    if (thread === undefined) return false;
    info.started = performance.now();
    this.timing?.recordWaitTime(info.started - info.created);
    try {
      thread.post(info);
    } catch (error) {
      info.fail(error);
    }
    return true;
  }

  #chooseThread(info: TaskInfo): Thread | undefined {
    const { loadBalancer } = this.options;
    if (loadBalancer === undefined) return this.#leastBusy(info.isAbortable ? 1 : undefined);
    const workers = [...this.#usable].map((thread) => thread.interface);
    const chosen = loadBalancer(info.interface, workers)?.[threadSymbol] as Thread | undefined;
    return chosen === undefined || chosen.isDestroyed ? undefined : chosen;
  }

  #leastBusy(usageMax: number = this.options.concurrentTasksPerWorker): Thread | undefined {
    return this.#usable.leastBusy(usageMax);
  }

  /** Offers waiting tasks until one is declined, and starts threads for what is left. */
  #offerQueue(): void {
    const hasOwnBalancer = this.options.loadBalancer === undefined;
    while (this.#queue.size > 0) {
      if (hasOwnBalancer && this.#leastBusy() === undefined) break;
      const info = this.#queue.shift() as TaskInfo | null;
      if (info === null) break;
      if (info.isOver || this.#place(info)) continue;
      this.#putBack(info);
      break;
    }
    this.#startNeeded();
  }

  /**
   * A balancer of the user may decline this task and take another, so the task goes to the tail,
   * unless the order is strict. Ours declines only for want of room.
   */
  #putBack(info: TaskInfo): void {
    const keepsPlace = this.options.stricterFIFO || this.options.loadBalancer === undefined;
    if (keepsPlace && this.#queue.unshift !== undefined) this.#queue.unshift(info);
    else this.#queue.push(info);
  }

  /** Starts threads up to `minThreads`, and up to `maxThreads` for tasks that wait. */
  #startNeeded(): void {
    if (this.#isDestroying || this.#failsToStart) return;
    const least = this.#closing === undefined ? this.options.minThreads : 0;
    while (this.threads.size < least) this.#startThread();
    while (this.threads.size < this.options.maxThreads && this.#startingCapacity < this.#queue.size) {
      this.#startThread();
    }
  }

  #startThread(): Thread {
    const thread = new Thread(this.options, this);
    this.threads.add(thread);
    return thread;
  }

  /** The first threads get tasks before they are ready: nobody else could. */
  #startInitialThread(): void {
    const thread = this.#startThread();
    this.#usable.add(thread);
    // The user listens once the constructor has returned.
    queueMicrotask(() => {
      this.#face.emit("workerCreate", thread.interface);
      if (!thread.isDestroyed) this.#offerQueue();
    });
  }

  #letIdle(thread: Thread): void {
    const { idleTimeout, minThreads } = this.options;
    const isSpare = (): boolean => thread.tasks.size === 0 && this.threads.size > minThreads;
    if (idleTimeout === Infinity || !isSpare()) return;
    thread.idle(idleTimeout, () => {
      if (isSpare()) this.#remove(thread);
    });
  }

  #forget(thread: Thread): void {
    this.threads.delete(thread);
    this.#usable.delete(thread);
  }

  #remove(thread: Thread): void {
    this.#forget(thread);
    this.#end(thread, threadTermination());
  }

  /** Ends a thread that gets no more tasks. Tasks that waited for it get another thread. */
  #end(thread: Thread, error: unknown): void {
    thread.destroy(error);
    this.#startNeeded();
    this.#face.emit("workerDestroy", thread.interface);
    this.#noteUsage();
  }

  #abort(info: TaskInfo, signal: AbortSignalAny): void {
    info.fail(new AbortError(reasonOf(signal)));
    if (info.started === 0) this.#queue.remove(info);
    else for (const thread of this.threads) if (thread.tasks.has(info.taskId)) this.#remove(thread);
    this.#noteEmpty();
  }

  #noteEnd({ started }: TaskInfo): void {
    if (started > 0) {
      this.completed++;
      this.timing?.recordRunTime(performance.now() - started);
    }
    this.#noteUsage();
    this.#noteEmpty();
  }

  #noteEmpty(): void {
    if (this.#onEmpty !== undefined && this.#queue.size === 0 && this.#usage() === 0) this.#onEmpty();
  }

  #usage(): number {
    let usage = 0;
    for (const thread of this.threads) usage += thread.tasks.size;
    return usage;
  }

  /** Tells once a turn whether the threads are full, and once that they aren't any more. */
  #noteUsage(): void {
    if (this.#isUsageNoted) return;
    this.#isUsageNoted = true;
    queueMicrotask(() => {
      this.#isUsageNoted = false;
      const { maxThreads, concurrentTasksPerWorker } = this.options;
      const isFull = this.#usage() >= maxThreads * concurrentTasksPerWorker;
      if (!isFull && !this.needsDrain) return;
      this.needsDrain = isFull;
      this.#face.emit(isFull ? "needsDrain" : "drain");
    });
  }

  async #close(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const isEmpty = await new Promise<boolean>((resolve) => {
      this.#onEmpty = () => resolve(true);
      timer = setTimeout(() => resolve(false), Math.min(this.options.closeTimeout, TIMEOUT_MAX)).unref();
      queueMicrotask(() => this.#noteEmpty());
    });
    clearTimeout(timer);
    this.#onEmpty = undefined;
    try {
      if (!isEmpty) this.#face.emit("error", closeTimedOut());
    } finally {
      await this.destroy();
      this.#face.emit("close");
    }
  }

  async #destroy(): Promise<void> {
    // No thread is started from here on.
    this.#isDestroying = true;
    rejectWaiting(this.#queue, threadTermination());
    const threads = [...this.threads];
    for (const thread of threads) this.#remove(thread);
    await Promise.all(threads.map((thread) => thread.exited));
    this.#isDestroying = false;
  }
}
