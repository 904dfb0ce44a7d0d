/** A task of the pool, and the queue of waiting tasks. */
import { LinkedQueue, PoolTask, type TaskCallback, type TaskOptions } from "@millrace/thread-pool";
import type { TinypoolChannel } from "./protocol.ts";
import { kQueueOptions, mover } from "./symbols.ts";

export interface Task {
  /** The value that the caller put under `Tinypool.queueOptionsSymbol` of the task's value. */
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

export interface TaskInfoOptions extends TaskOptions {
  readonly channel: TinypoolChannel | undefined;
}

export class TaskInfo extends PoolTask implements Task {
  readonly channel: TinypoolChannel | undefined;
  /** Whether it was sent to a worker. */
  hasStarted = false;

  constructor(options: TaskInfoOptions, callback: TaskCallback) {
    super("Tinypool.Task", mover, options, callback);
    this.channel = options.channel;
  }

  get [kQueueOptions](): object | null {
    return (this.task as { [kQueueOptions]?: object } | null | undefined)?.[kQueueOptions] ?? null;
  }

  cancel(): void {
    this.fail(new CancelError());
  }
}
