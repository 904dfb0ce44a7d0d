/** A task of the pool, and the queues of waiting tasks. */
import { LinkedQueue, Mover, PoolTask, type TaskCallback, type TaskOptions } from "@millrace/thread-pool";
import { moveSymbols, queueOptionsSymbol } from "./symbols.ts";

export interface Task {
  /** The value that the caller put under `Piscina.queueOptionsSymbol` of the task's value. */
  readonly [queueOptionsSymbol]: object | null;
}

/** A task as a balancer sees it. */
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

export class TaskInfo extends PoolTask implements Task {
  readonly created: number = performance.now();
  /** When it was sent to a thread; 0 while it waits. */
  started = 0;

  constructor(options: TaskOptions, callback: TaskCallback) {
    super("Piscina.Task", mover, options, callback);
  }

  get [queueOptionsSymbol](): object | null {
    return (this.task as { [queueOptionsSymbol]?: object } | null | undefined)?.[queueOptionsSymbol] ?? null;
  }

  /** The task as a balancer sees it. */
  get interface(): PiscinaTask {
    const { taskId, filename, name, created, isAbortable } = this;
    const options: Task = { [queueOptionsSymbol]: this[queueOptionsSymbol] };
    return { taskId, filename, name, created, isAbortable, ...options };
  }
}
