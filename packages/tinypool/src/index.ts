/** The interface of tinypool. */
import { EventEmitterAsyncResource } from "node:events";
import type { MessagePort, Transferable as TransferListItem } from "node:worker_threads";
import { type FilledOptions, type Options, type RunOptions, withNullPrototype } from "./options.ts";
import { WorkerPool } from "./pool.ts";
import type { TinypoolWorker } from "./protocol.ts";
import { stateOf } from "./state.ts";
import { kQueueOptions, kTransferable, kValue, mover, type Transferable } from "./symbols.ts";

/** The version of tinypool whose interface this is. */
const VERSION = "2.2.0";

/** A pool of worker threads or child processes with the interface of tinypool 2. */
export class Tinypool extends EventEmitterAsyncResource {
  readonly #pool: WorkerPool;

  constructor(options: Options = {}) {
    const own = withNullPrototype(options);
    super(withNullPrototype({ ...own, name: "Tinypool" }) as never);
    this.#pool = new WorkerPool(this, own);
  }

  /** Runs a task. Rejects with its error, with what killed its worker, or when it is aborted. */
  run(task: any, options: RunOptions = {}): Promise<any> {
    return this.#pool.run(task, withNullPrototype(options));
  }

  /** Rejects all tasks, and ends the workers. */
  async destroy(): Promise<void> {
    await this.#pool.destroy();
    this.emitDestroy();
  }

  get options(): FilledOptions {
    return this.#pool.options;
  }

  get threads(): TinypoolWorker[] {
    return [...this.#pool.lanes].map(({ worker }) => worker);
  }

  get queueSize(): number {
    return this.#pool.queueSize;
  }

  /** Rejects the tasks that wait. */
  cancelPendingTasks(): void {
    this.#pool.cancelPendingTasks();
  }

  /** Replaces all workers: idle ones now, others when their tasks are over. */
  async recycleWorkers(options: Pick<Options, "runtime"> = {}): Promise<void> {
    await this.#pool.recycleWorkers(withNullPrototype(options));
  }

  get completed(): number {
    return this.#pool.completed;
  }

  /** Milliseconds since the pool was made. */
  get duration(): number {
    return performance.now() - this.#pool.started;
  }

  static get isWorkerThread(): boolean {
    return stateOf()?.isWorkerThread ?? false;
  }

  static get workerData(): any {
    return stateOf()?.workerData ?? undefined;
  }

  static get version(): string {
    return VERSION;
  }

  /** Marks a task or a result to be handed over instead of copied. */
  static move(
    this: void,
    value: Transferable | TransferListItem | ArrayBufferView | ArrayBuffer | MessagePort,
  ): MessagePort | ArrayBuffer | Transferable | ArrayBufferView {
    return mover.move(value) as MessagePort;
  }

  static get transferableSymbol(): symbol {
    return kTransferable;
  }

  static get valueSymbol(): symbol {
    return kValue;
  }

  static get queueOptionsSymbol(): symbol {
    return kQueueOptions;
  }
}

export default Tinypool;

/** The number of this worker, from 1 to `maxThreads`. */
export const workerId: number = stateOf()?.workerId as number;

/** Places of the counters beside a thread's port. */
export const kRequestCountField = 0;
export const kResponseCountField = 1;
export const kFieldCount = 2;

export { withNullPrototype };
export type { Options } from "./options.ts";
export type {
  ReadyMessage,
  RequestMessage,
  ResponseMessage,
  StartupMessage,
  TinypoolChannel,
  TinypoolData,
  TinypoolPrivateData,
  TinypoolWorker,
  TinypoolWorkerMessage,
} from "./protocol.ts";
export {
  isMovable,
  isTransferable,
  kQueueOptions,
  kTransferable,
  kValue,
  markMovable,
  type Transferable,
} from "./symbols.ts";
export { isTaskQueue } from "@millrace/thread-pool";
export type { Task, TaskQueue } from "./task.ts";
