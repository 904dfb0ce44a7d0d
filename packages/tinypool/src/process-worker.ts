/** A child process as a worker of the pool. */
import { type ChildProcess, fork } from "node:child_process";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import type { TinypoolChannel, TinypoolWorker, TinypoolWorkerMessage, WorkerOptions } from "./protocol.ts";

const ENTRY = fileURLToPath(new URL("./process.worker.js", import.meta.url));

/** A process that doesn't end when it is asked to is killed after this. */
const KILL_AFTER_MS = 1000;

export class ProcessWorker implements TinypoolWorker {
  readonly name = "ProcessWorker";
  readonly runtime = "child_process";
  process!: ChildProcess;
  threadId!: number;
  #exited!: Promise<unknown>;
  #channel: TinypoolChannel | undefined;
  #isTerminating = false;

  initialize({ env, argv, execArgv, workerData, serialization }: WorkerOptions): void {
    this.process = fork(ENTRY, argv ?? [], {
      ...(execArgv === undefined ? {} : { execArgv }),
      ...(serialization === undefined ? {} : { serialization }),
      env: { ...env, TINYPOOL_WORKER_ID: String(workerData[0].workerId) },
      stdio: "pipe",
    });
    this.threadId = this.process.pid as number;
    this.#exited = new Promise((resolve) => {
      this.process.once("exit", resolve);
      // One that couldn't be started has no end.
      this.process.once("error", resolve);
    });
    this.#pipe(this.process.stdout, process.stdout);
    this.#pipe(this.process.stderr, process.stderr);
    this.process.on("exit", () => {
      if (!this.#isTerminating) this.process.emit("error", new Error("Worker exited unexpectedly"));
    });
    this.process.on("message", (message: Partial<TinypoolWorkerMessage> | null) => {
      if (message?.["__tinypool_worker_message__"] !== true) this.#channel?.postMessage?.(message);
    });
  }

  #pipe(from: Readable | null, to: NodeJS.WriteStream): void {
    // Each worker listens to the same stream: that many listeners are no leak.
    const limit = to.getMaxListeners();
    to.setMaxListeners(0);
    from?.pipe(to, { end: false });
    to.setMaxListeners(limit);
    void this.#exited.then(() => from?.unpipe(to));
  }

  async terminate(): Promise<void> {
    this.#isTerminating = true;
    const timer = setTimeout(() => this.process.kill("SIGKILL"), KILL_AFTER_MS);
    this.process.kill();
    await this.#exited;
    clearTimeout(timer);
    this.#channel?.onClose?.();
    this.#channel = undefined;
  }

  /** Sends to the process, unless it is about to end. */
  postMessage(message: unknown): void {
    if (!this.#isTerminating && this.process.connected) this.process.send(message as object, () => {});
  }

  setChannel(channel: TinypoolChannel): void {
    if (this.#channel === channel) return;
    this.#channel?.onClose?.();
    this.#channel = channel;
    channel.onMessage?.((message) => this.postMessage(message));
  }

  on(event: string, listener: (...args: any[]) => void): void {
    this.process.on(event, listener);
  }

  once(event: string, listener: (...args: any[]) => void): void {
    this.process.once(event, listener);
  }

  emit(event: string, ...data: unknown[]): void {
    this.process.emit(event, ...data);
  }

  ref(): void {
    this.process.ref();
    this.process.channel?.ref();
  }

  unref(): void {
    this.process.unref();
    this.process.channel?.unref();
    for (const stream of [this.process.stdout, this.process.stderr]) (stream as { unref?(): void } | null)?.unref?.();
  }
}
