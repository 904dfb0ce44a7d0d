/** A task of the pool, and the queues of waiting tasks. */
import { AsyncResource } from "node:async_hooks";
import type { Transferable as TransferListItem } from "node:worker_threads";
import { type AbortSignalAny, LinkedQueue, Mover, onAbort } from "@millrace/thread-pool";
import { moveSymbols, queueOptionsSymbol } from "./symbols.ts";

export type TransferList = readonly TransferListItem[];

export interface Task {
  /** What the caller put under `Piscina.queueOptionsSymbol` of the task's value. */
  readonly [queueOptionsSymbol]: object | null;
}

/** What a balancer sees of a task. */
export interface PiscinaTask extends Task {
  taskId: number;
  filename: string;
  name: string;
  /** As `performance.now()`. */
  created: number;
  isAbortable: boolean;
}

/** Where tasks wait. `shift` takes the next one, `remove` takes out one that was aborted. */
export interface TaskQueue {
  readonly size: number;
  shift(): Task | null;
  remove(task: Task): void;
  push(task: Task): void;
  /** Puts a task back at the head; without it, the task is pushed again. */
  unshift?(task: Task): void;
}

export function isTaskQueue(value: unknown): value is TaskQueue {
  if (typeof value !== "object" || value === null || !("size" in value)) return false;
  const queue = value as Record<string, unknown>;
  return ["shift", "remove", "push"].every((method) => typeof queue[method] === "function");
}

/** The default: first in, first out; `remove` costs the same anywhere. */
export class FixedQueue implements TaskQueue {
  readonly #tasks = new LinkedQueue<Task>();

  get size(): number {
    return this.#tasks.size;
  }

  isEmpty(): boolean {
    return this.#tasks.size === 0;
  }

  shift(): Task | null {
    return this.#tasks.shift();
  }

  push(task: Task): void {
    this.#tasks.push(task);
  }

  unshift(task: Task): void {
    this.#tasks.unshift(task);
  }

  remove(task: Task): void {
    this.#tasks.remove(task);
  }
}

/** First in, first out, over an array: for short queues. */
export class ArrayTaskQueue implements TaskQueue {
  tasks: Task[] = [];

  get size(): number {
    return this.tasks.length;
  }

  shift(): Task | null {
    return this.tasks.shift() ?? null;
  }

  push(task: Task): void {
    this.tasks.push(task);
  }

  unshift(task: Task): void {
    this.tasks.unshift(task);
  }

  remove(task: Task): void {
    const index = this.tasks.indexOf(task);
    if (index >= 0) this.tasks.splice(index, 1);
  }
}

export const mover: Mover = new Mover(moveSymbols);

export interface TaskInfoOptions {
  readonly task: unknown;
  readonly transferList: TransferList;
  readonly filename: string;
  readonly name: string;
  readonly signal: AbortSignalAny | null;
  readonly triggerAsyncId: number;
}

/** `failure` is undefined when the task has a result; a task may throw anything, undefined too. */
export type TaskCallback = (failure: Failure | undefined, result: unknown) => void;

export interface Failure {
  readonly error: unknown;
}

let tasks = 0;

/** An `AsyncResource`, so that async hooks see who waits for the result. */
export class TaskInfo extends AsyncResource implements Task {
  readonly taskId: number = tasks++;
  readonly filename: string;
  readonly name: string;
  readonly signal: AbortSignalAny | null;
  readonly transferList: TransferList;
  readonly created: number = performance.now();
  /** When it was sent to a thread; 0 while it waits. */
  started = 0;
  /** The value; null once it is sent. Queues of users look at it. */
  task: unknown;
  #isOver = false;
  readonly #callback: TaskCallback;
  #stopListening: (() => void) | undefined;

  constructor({ task, transferList, filename, name, signal, triggerAsyncId }: TaskInfoOptions, callback: TaskCallback) {
    super("Piscina.Task", { requireManualDestroy: true, triggerAsyncId });
    const parcel = mover.parcel(task, transferList);
    this.task = parcel.value;
    this.transferList = parcel.transferList;
    this.filename = filename;
    this.name = name;
    this.signal = signal;
    this.#callback = callback;
  }

  get [queueOptionsSymbol](): object | null {
    return (this.task as { [queueOptionsSymbol]?: object } | null | undefined)?.[queueOptionsSymbol] ?? null;
  }

  get isAbortable(): boolean {
    return this.signal !== null;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** What a balancer sees. */
  get interface(): PiscinaTask {
    const { taskId, filename, name, created, isAbortable } = this;
    const options: Task = { [queueOptionsSymbol]: this[queueOptionsSymbol] };
    return { taskId, filename, name, created, isAbortable, ...options };
  }

  /** Calls `listener` when the task is aborted before it is over. */
  listen(listener: () => void): void {
    if (this.signal !== null) this.#stopListening = onAbort(this.signal, listener);
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
