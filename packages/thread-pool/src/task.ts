/** A task of a pool, from the call to its outcome. */
import { AsyncResource } from "node:async_hooks";
import type { Transferable as TransferListItem } from "node:worker_threads";
import type { Mover } from "./movable.ts";
import { type AbortSignalAny, onAbort } from "./signal.ts";

export type TransferList = readonly TransferListItem[];

export interface TaskOptions {
  readonly task: unknown;
  readonly transferList: TransferList;
  readonly filename: string;
  readonly name: string;
  readonly signal: AbortSignalAny | null;
  readonly triggerAsyncId: number;
}

export interface Failure {
  readonly error: unknown;
}

/** `failure` is undefined when the task has a result; a task may throw anything, undefined too. */
export type TaskCallback = (failure: Failure | undefined, result: unknown) => void;

let tasks = 0;

/** An `AsyncResource`, so that async hooks see who waits for the result. */
export class PoolTask extends AsyncResource {
  readonly taskId: number = tasks++;
  readonly filename: string;
  readonly name: string;
  readonly signal: AbortSignalAny | null;
  readonly transferList: TransferList;
  /** The value; null once it is sent. Queues of users look at it. */
  task: unknown;
  #isOver = false;
  readonly #callback: TaskCallback;
  #stopListening: (() => void) | undefined;

  /** `type` is the resource's, as async hooks see it. */
  constructor(type: string, mover: Mover, options: TaskOptions, callback: TaskCallback) {
    super(type, { requireManualDestroy: true, triggerAsyncId: options.triggerAsyncId });
    const parcel = mover.parcel(options.task, options.transferList);
    this.task = parcel.value;
    this.transferList = parcel.transferList;
    this.filename = options.filename;
    this.name = options.name;
    this.signal = options.signal;
    this.#callback = callback;
  }

  get isAbortable(): boolean {
    return this.signal !== null;
  }

  get isOver(): boolean {
    return this.#isOver;
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
