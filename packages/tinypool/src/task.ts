/** A task of the pool, and the queue of waiting tasks. */
import { AsyncResource } from "node:async_hooks";
import type { Transferable as TransferListItem } from "node:worker_threads";
import { type AbortSignalAny, LinkedQueue, onAbort } from "@millrace/thread-pool";
import type { TinypoolChannel } from "./protocol.ts";
import { kQueueOptions, mover } from "./symbols.ts";

export type TransferList = readonly TransferListItem[];

export interface Task {
  /** What the caller put under `Tinypool.queueOptionsSymbol` of the task's value. */
  readonly [kQueueOptions]: object | null;
  /** Rejects the task because nobody waits for it any more. */
  cancel(): void;
}

export interface TaskQueue {
  readonly size: number;
  shift(): Task | null;
  remove(task: Task): void;
  push(task: Task): void;
  /** Empties the queue, and cancels what was in it. */
  cancel(): void;
}

export function isTaskQueue(value: any): boolean {
  if (typeof value !== "object" || value === null || !("size" in value)) return false;
  return ["shift", "remove", "push"].every((method) => typeof value[method] === "function");
}

/** First in, first out. */
export class WaitingTasks extends LinkedQueue<Task> implements TaskQueue {
  cancel(): void {
    for (let task = this.shift(); task !== null; task = this.shift()) task.cancel();
  }
}

/** The task waited and was cancelled. */
class CancelError extends Error {
  constructor() {
    super("The task has been cancelled");
  }

  override get name(): string {
    return "CancelError";
  }
}

export interface TaskInfoOptions {
  readonly task: unknown;
  readonly transferList: TransferList;
  readonly filename: string;
  readonly name: string;
  readonly signal: AbortSignalAny | null;
  readonly channel: TinypoolChannel | undefined;
  readonly triggerAsyncId: number;
}

export interface Failure {
  readonly error: unknown;
}

export type TaskCallback = (failure: Failure | undefined, result: unknown) => void;

let tasks = 0;

/** An `AsyncResource`, so that async hooks see who waits for the result. */
export class TaskInfo extends AsyncResource implements Task {
  readonly taskId: number = tasks++;
  readonly filename: string;
  readonly name: string;
  readonly channel: TinypoolChannel | undefined;
  readonly transferList: TransferList;
  /** Whether it was sent to a worker. */
  hasStarted = false;
  /** The value; null once it is sent. Queues of users look at it. */
  task: unknown;
  readonly #signal: AbortSignalAny | null;
  readonly #callback: TaskCallback;
  #isOver = false;
  #stopListening: (() => void) | undefined;

  constructor(options: TaskInfoOptions, callback: TaskCallback) {
    super("Tinypool.Task", { requireManualDestroy: true, triggerAsyncId: options.triggerAsyncId });
    const parcel = mover.parcel(options.task, options.transferList);
    this.task = parcel.value;
    this.transferList = parcel.transferList;
    this.filename = options.filename;
    this.name = options.name;
    this.channel = options.channel;
    this.#signal = options.signal;
    this.#callback = callback;
  }

  get [kQueueOptions](): object | null {
    return (this.task as { [kQueueOptions]?: object } | null | undefined)?.[kQueueOptions] ?? null;
  }

  get isAbortable(): boolean {
    return this.#signal !== null;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** Calls `listener` when the task is aborted before it is over. */
  listen(listener: () => void): void {
    if (this.#signal !== null) this.#stopListening = onAbort(this.#signal, listener);
  }

  cancel(): void {
    this.fail(new CancelError());
  }

  complete(result: unknown): void {
    this.#settle(undefined, result);
  }

  fail(error: unknown): void {
    this.#settle({ error }, undefined);
  }

  /** The first outcome counts. */
  #settle(failure: Failure | undefined, result: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#stopListening?.();
    this.runInAsyncScope(this.#callback, null, failure, result);
    this.emitDestroy();
  }
}
