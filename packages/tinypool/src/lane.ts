/** A worker of the pool: its thread or process, the way to it, and the tasks that it has. */
import { inspect } from "node:util";
import { MessageChannel, type Transferable as TransferListItem } from "node:worker_threads";
import { Mailbox, PoolWorker, TIMEOUT_MAX } from "@millrace/thread-pool";
import type { FilledOptions } from "./options.ts";
import { ProcessWorker } from "./process-worker.ts";
import type { ReadyMessage, RequestMessage, ResponseMessage, StartupMessage, TinypoolWorker } from "./protocol.ts";
import type { TinypoolWorkerMessage } from "./protocol.ts";
import type { TaskInfo } from "./task.ts";
import { ThreadWorker } from "./thread-worker.ts";

/** A worker's messages to its pool. */
export interface LaneEvents {
  onReady(lane: Lane): void;
  onDone(lane: Lane, task: TaskInfo, response: ResponseMessage): void;
  /** The worker ends by itself. */
  onDeath(lane: Lane, error: unknown): void;
}

type Incoming = ReadyMessage | ResponseMessage;

/** An error of a child process came as its members. */
function errorOf(members: unknown): unknown {
  if (typeof members !== "object" || members === null || members instanceof Error) return members;
  const { name, message, stack, ...rest } = members as Record<string, unknown>;
  const error = Object.assign(new Error(String(message)), rest);
  for (const [key, value] of Object.entries({ name, stack })) {
    Object.defineProperty(error, key, { value, enumerable: false, configurable: true, writable: true });
  }
  return error;
}

export class Lane extends PoolWorker<TaskInfo> {
  readonly worker: TinypoolWorker;
  readonly workerId: number;
  /** Replaced when its tasks are over. */
  isToBeRecycled = false;
  usedMemory = 0;
  readonly exited: Promise<void>;
  readonly #events: LaneEvents;
  /** Threads only. */
  readonly #mailbox: Mailbox<Incoming> | undefined;
  #ending: Promise<void> | undefined;

  constructor(options: FilledOptions, workerId: number, events: LaneEvents) {
    super();
    this.#events = events;
    this.workerId = workerId;
    const { env, argv, execArgv, resourceLimits, workerData, trackUnmanagedFds, serialization } = options;
    const isThread = options.runtime !== "child_process";
    this.worker = isThread ? new ThreadWorker() : new ProcessWorker();
    const given = { env, argv, execArgv, resourceLimits, trackUnmanagedFds, serialization };
    this.worker.initialize({ ...given, workerData: [{ workerId }, workerData] });
    this.exited = new Promise((resolve) => this.worker.once("exit", () => resolve()));
    this.worker.on("error", (error: unknown) => this.#die(error));
    this.worker.on("exit", () => this.#die(new Error("Worker exited unexpectedly")));
    const { port1, port2 } = new MessageChannel();
    const { filename, name, useAtomics } = options;
    if (isThread) {
      this.#mailbox = new Mailbox(port1, (message) => this.#take(message));
      port1.on("close", () => this.worker.ref?.());
      this.worker.on("message", (message: unknown) => {
        this.worker.emit("error", new Error(`Unexpected message on Worker: ${inspect(message)}`));
      });
      const sharedBuffer = this.#mailbox.counters;
      this.worker.postMessage({ filename, name, useAtomics, port: port2, sharedBuffer } satisfies StartupMessage, [
        port2,
      ]);
      // The thread alone keeps no process alive. The port does while it starts and while it works.
      this.worker.unref?.();
    } else {
      port1.close();
      this.worker.on("message", (message: Partial<TinypoolWorkerMessage> | null) => {
        if (message?.["__tinypool_worker_message__"] === true) this.#take(message as unknown as Incoming);
      });
      this.#sendToProcess("pool", { filename, name });
    }
  }

  /** Sends a task. Throws when its value can't be sent. */
  post(task: TaskInfo): void {
    if (task.channel !== undefined) this.worker.setChannel?.(task.channel);
    const request: RequestMessage = { taskId: task.taskId, task: task.task, filename: task.filename, name: task.name };
    if (this.#mailbox === undefined) this.#sendToProcess("port", request);
    else this.#mailbox.send(request, task.transferList as TransferListItem[]);
    task.hasStarted = true;
    this.addTask(task);
    if (this.#mailbox === undefined) this.worker.ref?.();
    else this.#mailbox.port.ref();
  }

  override get takesTasks(): boolean {
    return !this.isToBeRecycled && super.takesTasks;
  }

  override drain(): void {
    if (!this.isDestroyed) this.#mailbox?.drain();
  }

  /**
   * Ends the worker; its tasks are rejected with `error`. Rejects when it takes longer than
   * `timeoutMs`.
   */
  destroy(timeoutMs: number | undefined, error: unknown): Promise<void> {
    this.#ending ??= this.#destroy(timeoutMs, error);
    return this.#ending;
  }

  async #destroy(timeoutMs: number | undefined, error: unknown): Promise<void> {
    this.markDestroyed();
    this.failTasks(error);
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<never>((_, reject) => {
      if (timeoutMs === undefined || timeoutMs <= 0) return;
      timer = setTimeout(() => reject(new Error("Failed to terminate worker")), Math.min(timeoutMs, TIMEOUT_MAX));
    });
    try {
      this.#mailbox?.port.close();
      await Promise.race([this.worker.terminate(), timeout]);
    } finally {
      clearTimeout(timer);
    }
  }

  #sendToProcess(source: "pool" | "port", message: object): void {
    this.worker.postMessage({ ...message, source, ["__tinypool_worker_message__"]: true });
  }

  #die(error: unknown): void {
    if (!this.isDestroyed) this.#events.onDeath(this, error);
  }

  #take(message: Incoming): void {
    if (this.isDestroyed) return;
    if ("ready" in message) {
      this.isReady = true;
      this.#events.onReady(this);
    } else {
      const task = this.takeTask(message.taskId);
      this.usedMemory = message.usedMemory;
      const error = this.#mailbox === undefined ? errorOf(message.error) : message.error;
      this.#events.onDone(this, task, { ...message, error });
    }
    // A worker without tasks keeps no process alive.
    if (this.tasks.size === 0) this.#leave();
  }

  #leave(): void {
    if (this.#mailbox !== undefined) this.unrefSoon(this.#mailbox.port);
    else if (!this.isDestroyed) this.worker.unref?.();
  }
}
