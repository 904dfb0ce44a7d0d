/** A worker thread as a worker of the pool. */
import { fileURLToPath } from "node:url";
import { type Transferable as TransferListItem, Worker } from "node:worker_threads";
import type { TinypoolChannel, TinypoolWorker, WorkerOptions } from "./protocol.ts";

const ENTRY = fileURLToPath(new URL("./thread.worker.js", import.meta.url));

export class ThreadWorker implements TinypoolWorker {
  readonly name = "ThreadWorker";
  readonly runtime = "worker_threads";
  thread!: Worker;
  threadId!: number;
  #channel: TinypoolChannel | undefined;

  initialize({ env, argv, execArgv, resourceLimits, workerData, trackUnmanagedFds }: WorkerOptions): void {
    const given = { env, argv, execArgv, resourceLimits, workerData, trackUnmanagedFds };
    // Every member that `Worker` reads is an own one, so that no prototype can add to them.
    const others = { eval: undefined, stdin: undefined, stdout: undefined, stderr: undefined, name: undefined };
    this.thread = new Worker(ENTRY, { ...others, transferList: undefined, ...given } as never);
    this.threadId = this.thread.threadId;
  }

  async terminate(): Promise<number> {
    const code = await this.thread.terminate();
    this.#channel?.onClose?.();
    this.#channel = undefined;
    return code;
  }

  postMessage(message: unknown, transferList: TransferListItem[] = []): void {
    this.thread.postMessage(message, transferList);
  }

  setChannel(channel: TinypoolChannel): void {
    for (const name of ["onMessage", "postMessage"] as const) {
      if (channel[name] === undefined) continue;
      throw new Error(
        `{ runtime: 'worker_threads' } doesn't support channel.${name}. Use transferListItem for messages instead.`,
      );
    }
    if (this.#channel !== channel) this.#channel?.onClose?.();
    this.#channel = channel;
  }

  on(event: string, listener: (...args: any[]) => void): void {
    this.thread.on(event, listener);
  }

  once(event: string, listener: (...args: any[]) => void): void {
    this.thread.once(event, listener);
  }

  emit(event: string, ...data: unknown[]): void {
    this.thread.emit(event as "message", ...(data as [unknown]));
  }

  ref(): void {
    this.thread.ref();
  }

  unref(): void {
    this.thread.unref();
  }
}
