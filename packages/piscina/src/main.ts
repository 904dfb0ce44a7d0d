/** The value of `require("piscina")`: the class, with everything else as its static members. */
import { EventEmitterAsyncResource } from "node:events";
import type { MessagePort, Transferable as TransferListItem, Worker } from "node:worker_threads";
import type { AbortSignalAny, TransferList } from "@millrace/thread-pool";
import { histogramOf, type PiscinaHistogram, type PiscinaHistogramSummary } from "./histogram.ts";
import {
  checkOptions,
  type CloseOptions,
  faultOfRunOptions,
  type FilledOptions,
  type Options,
  ownMembers,
  type RunOptions,
} from "./options.ts";
import { ThreadPool } from "./pool.ts";
import { state } from "./state.ts";
import { queueOptionsSymbol, transferableSymbol, valueSymbol } from "./symbols.ts";
import * as tasks from "./task.ts";

/** The version of piscina whose interface this is. */
const VERSION = "5.3.2";

/** Says by itself what is handed over, and what the other side gets. */
interface Transferable {
  readonly [transferableSymbol]: object;
  readonly [valueSymbol]: object;
}

/**
 * A pool of worker threads with the interface of piscina 5. `T` is what tasks take, `R` what they
 * give. Options are checked as piscina does; one that nobody knows is ignored with a warning.
 */
class Piscina<T = any, R = any> extends EventEmitterAsyncResource {
  readonly #pool: ThreadPool;
  readonly #histogram: PiscinaHistogram;

  constructor(options: Options = {}) {
    const own = ownMembers(options);
    super(ownMembers({ ...own, name: "Piscina" }));
    checkOptions(own);
    this.#pool = new ThreadPool(this, own);
    this.#histogram = histogramOf(this.#pool.timing);
  }

  /**
   * Runs a task. Rejects with the task's error, with what killed its thread, with an `AbortError`,
   * or because the queue is full.
   */
  run(task: T, options: RunOptions = {}): Promise<R> {
    if (options === null || typeof options !== "object") {
      return Promise.reject(new TypeError("options must be an object"));
    }
    const own = ownMembers(options);
    const fault = faultOfRunOptions(own);
    return fault === undefined ? (this.#pool.run(task, own) as Promise<R>) : Promise.reject(new TypeError(fault));
  }

  /**
   * `run` as piscina had it up to version 4: `runTask(task, transferList, filename, signal)`.
   * Arguments may be left out in the middle.
   * @deprecated Use `run`.
   */
  runTask(task: T, ...given: (TransferList | string | AbortSignalAny | null | undefined)[]): Promise<R> {
    const options: RunOptions = {};
    for (const each of given) {
      if (Array.isArray(each)) options.transferList = each;
      else if (typeof each === "string") options.filename = each;
      else if (each !== null && each !== undefined) options.signal = each as AbortSignalAny;
    }
    return this.run(task, options);
  }

  /** Waits for all tasks, then ends the threads. `force` rejects the tasks that haven't begun. */
  async close(options: CloseOptions = {}): Promise<void> {
    if (options === null || typeof options !== "object") throw new TypeError("options must be an object");
    const { force = false } = ownMembers(options);
    if (typeof force !== "boolean") throw new TypeError("force argument must be a boolean");
    await this.#pool.close(force);
  }

  /** Rejects all tasks, and ends the threads. */
  destroy(): Promise<void> {
    return this.#pool.destroy();
  }

  [Symbol.dispose](): void {
    void this.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  get maxThreads(): number {
    return this.#pool.options.maxThreads;
  }

  get minThreads(): number {
    return this.#pool.options.minThreads;
  }

  get options(): FilledOptions {
    return this.#pool.options;
  }

  get threads(): Worker[] {
    return [...this.#pool.threads].map(({ worker }) => worker);
  }

  get idleThreads(): number {
    return this.#pool.idleThreads;
  }

  get queueSize(): number {
    return this.#pool.queueSize;
  }

  get completed(): number {
    return this.#pool.completed;
  }

  get histogram(): PiscinaHistogram {
    return this.#histogram;
  }

  /** @deprecated As up to piscina 4. Use `histogram.runTime`. */
  get runTime(): PiscinaHistogramSummary {
    return this.#histogram.runTime;
  }

  /** @deprecated As up to piscina 4. Use `histogram.waitTime`. */
  get waitTime(): PiscinaHistogramSummary {
    return this.#histogram.waitTime;
  }

  /** The part of the pool's time, on all threads that it may have, in which tasks ran: 0 to 1. */
  get utilization(): number {
    return this.#pool.utilization;
  }

  /** Milliseconds since the pool was made. */
  get duration(): number {
    return performance.now() - this.#pool.started;
  }

  get needsDrain(): boolean {
    return this.#pool.needsDrain;
  }

  static get isWorkerThread(): boolean {
    return state.isWorkerThread;
  }

  static get workerData(): any {
    return state.workerData;
  }

  static get version(): string {
    return VERSION;
  }

  static get Piscina(): typeof Piscina {
    return Piscina;
  }

  static get FixedQueue(): typeof tasks.FixedQueue {
    return tasks.FixedQueue;
  }

  static get ArrayTaskQueue(): typeof tasks.ArrayTaskQueue {
    return tasks.ArrayTaskQueue;
  }

  /** Marks a task or a result to be handed over instead of copied. */
  static move(
    this: void,
    value: Transferable | TransferListItem | ArrayBufferView | ArrayBuffer | MessagePort,
  ): Transferable | TransferListItem | ArrayBufferView | ArrayBuffer | MessagePort {
    return tasks.mover.move(value);
  }

  static get transferableSymbol(): symbol {
    return transferableSymbol;
  }

  static get valueSymbol(): symbol {
    return valueSymbol;
  }

  static get queueOptionsSymbol(): symbol {
    return queueOptionsSymbol;
  }
}

type Pool<T = any, R = any> = Piscina<T, R>;

declare namespace Piscina {
  export type Piscina<T = any, R = any> = Pool<T, R>;
  export type FixedQueue = tasks.FixedQueue;
  export type ArrayTaskQueue = tasks.ArrayTaskQueue;
  export type PiscinaTask = tasks.PiscinaTask;
  export type TaskQueue = tasks.TaskQueue;
}

export = Piscina;
