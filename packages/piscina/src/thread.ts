/** A thread of the pool: its worker, the way to it, and the tasks that it has. */
import { createHistogram, type RecordableHistogram } from "node:perf_hooks";
import { join } from "node:path";
import { MessageChannel, type MessagePort, Worker, type WorkerOptions } from "node:worker_threads";
import { Mailbox, PoolWorker } from "@millrace/thread-pool";
import type { PiscinaWorker } from "./balancer.ts";
import { type PiscinaHistogramSummary, record, summaryOf } from "./histogram.ts";
import { type FilledOptions, ownMembers } from "./options.ts";
import { READY, type Request, type Response, type Startup } from "./protocol.ts";
import { threadSymbol } from "./symbols.ts";
import type { TaskInfo } from "./task.ts";

const WORKER_FILE = join(__dirname, "pool.worker.js");

/** An uncaught error or a limit; or the exit code of `process.exit()`. */
export type Death = { readonly error: unknown } | { readonly code: number };

/** A thread's messages to its pool. */
export interface ThreadEvents {
  onReady(thread: Thread): void;
  onDone(thread: Thread, task: TaskInfo, response: Response): void;
  onMessage(message: unknown): void;
  /** The thread ends by itself. */
  onDeath(thread: Thread, death: Death): void;
}

/** Every member that `Worker` reads is an own one, so that no prototype can add to them. */
function workerOptionsOf(options: FilledOptions): WorkerOptions {
  const { env, argv, execArgv, resourceLimits, workerData, trackUnmanagedFds } = options;
  return ownMembers({
    env,
    argv,
    execArgv,
    resourceLimits,
    workerData,
    trackUnmanagedFds,
    eval: undefined,
    stdin: undefined,
    stdout: undefined,
    stderr: undefined,
    transferList: undefined,
    name: undefined,
  }) as unknown as WorkerOptions;
}

export class Thread extends PoolWorker<TaskInfo> {
  readonly worker: Worker;
  /** The thread as a balancer sees it. */
  readonly interface: PiscinaWorker;
  /** Resolves when the worker has ended. */
  readonly exited: Promise<void>;
  readonly #events: ThreadEvents;
  readonly #mailbox: Mailbox<Response | typeof READY>;
  readonly #histogram: RecordableHistogram | null;

  constructor(options: FilledOptions, events: ThreadEvents) {
    super();
    this.#events = events;
    this.#histogram = options.workerHistogram ? createHistogram() : null;
    this.interface = interfaceOf(this);
    this.worker = new Worker(WORKER_FILE, workerOptionsOf(options));
    const { port1, port2 } = new MessageChannel();
    this.#mailbox = new Mailbox(port1, (message) => this.#take(message));
    this.exited = new Promise((resolve) => {
      this.worker.once("exit", () => resolve());
    });
    this.#listen();
    this.#start(options, port2);
    // The worker alone keeps no process alive. The port does while it starts and while it works.
    this.worker.unref();
  }

  #start({ filename, name, atomics, niceIncrement }: FilledOptions, port: MessagePort): void {
    const { counters } = this.#mailbox;
    const startup: Startup = { filename, name, port, counters, atomics, niceIncrement };
    this.worker.postMessage(startup, [port]);
  }

  #listen(): void {
    const { worker } = this;
    worker.on("message", (message: unknown) => this.#events.onMessage(message));
    worker.on("error", (error: unknown) => this.#die({ error }));
    worker.on("exit", (code) => this.#die({ code }));
    // A thread that dies closes its port first, and nothing but the worker says why it died.
    this.#mailbox.port.on("close", () => worker.ref());
  }

  #die(death: Death): void {
    if (!this.isDestroyed) this.#events.onDeath(this, death);
  }

  /** Sends a task. Throws when its value can't be cloned. */
  post(task: TaskInfo): void {
    const request: Request = { taskId: task.taskId, task: task.task, filename: task.filename, name: task.name };
    this.#mailbox.send(request, task.transferList);
    this.addTask(task);
    this.#mailbox.port.ref();
  }

  override drain(): void {
    if (!this.isDestroyed) this.#mailbox.drain();
  }

  /** Ends the thread; its tasks are rejected with `error`. */
  destroy(error: unknown): void {
    if (this.isDestroyed) return;
    this.markDestroyed();
    // The process then waits for the end of the thread.
    this.#mailbox.port.close();
    void this.worker.terminate();
    this.failTasks(error);
  }

  #take(message: Response | typeof READY): void {
    if (this.isDestroyed) return;
    if (message === READY) {
      this.isReady = true;
      this.#events.onReady(this);
    } else {
      if (this.#histogram !== null) record(this.#histogram, message.time);
      this.#events.onDone(this, this.takeTask(message.taskId), message);
    }
    // A thread without tasks keeps no process alive.
    if (this.tasks.size === 0) this.unrefSoon(this.#mailbox.port);
  }

  /** Run times of this thread's tasks; null unless `workerHistogram` is set. */
  get histogram(): PiscinaHistogramSummary | null {
    return this.#histogram === null ? null : summaryOf(this.#histogram);
  }
}

/** The members are own ones: a balancer may copy them into an object of its own. */
function interfaceOf(thread: Thread): PiscinaWorker {
  return {
    get id(): number {
      return thread.worker.threadId;
    },
    get currentUsage(): number {
      return thread.isRunningAbortableTask ? Infinity : thread.tasks.size;
    },
    get isRunningAbortableTask(): boolean {
      return thread.isRunningAbortableTask;
    },
    get histogram(): PiscinaHistogramSummary | null {
      return thread.histogram;
    },
    // A thread that is being ended is destroyed at once.
    terminating: false,
    get destroyed(): boolean {
      return thread.isDestroyed;
    },
    [threadSymbol]: thread,
  };
}
