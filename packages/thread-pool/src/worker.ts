/** A worker of a pool, as far as it is the same for threads and child processes. */
import type { MessagePort } from "node:worker_threads";
import type { PoolTask } from "./task.ts";

/** Milliseconds. A longer time would overflow, and the timer would fire at once. */
export const TIMEOUT_MAX: number = 2 ** 31 - 1;

export abstract class PoolWorker<Task extends PoolTask> {
  readonly tasks: Map<number, Task> = new Map();
  /** Whether it has loaded its module. */
  isReady = false;
  #isDestroyed = false;
  #isUnrefPending = false;
  #idleTimer: NodeJS.Timeout | undefined;

  /** Takes in what it has sent already. */
  abstract drain(): void;

  get isDestroyed(): boolean {
    return this.#isDestroyed;
  }

  /** Whether a task runs here whose abort ends the worker. */
  get isRunningAbortableTask(): boolean {
    for (const task of this.tasks.values()) if (task.isAbortable) return true;
    return false;
  }

  /** Whether it may get a task beside those that it has. */
  get takesTasks(): boolean {
    return !this.isRunningAbortableTask;
  }

  /** Calls `listener` when the worker has had nothing to do for this time. */
  idle(timeoutMs: number, listener: () => void): void {
    this.#stopIdling();
    this.#idleTimer = setTimeout(listener, Math.min(timeoutMs, TIMEOUT_MAX)).unref();
  }

  /** Notes a task that has been sent. */
  protected addTask(task: Task): void {
    // The worker has the value now.
    task.task = null;
    this.tasks.set(task.taskId, task);
    this.#stopIdling();
  }

  protected takeTask(taskId: number): Task {
    const task = this.tasks.get(taskId) as Task;
    this.tasks.delete(taskId);
    return task;
  }

  protected failTasks(error: unknown): void {
    const tasks = [...this.tasks.values()];
    this.tasks.clear();
    for (const task of tasks) task.fail(error);
  }

  protected markDestroyed(): void {
    this.#isDestroyed = true;
    this.#stopIdling();
  }

  /**
   * Lets the process end, unless the thread gets another task meanwhile. Messages that the thread
   * sent over its parent port before its last answer may come two turns of the event loop later.
   */
  protected unrefSoon(port: MessagePort): void {
    if (this.#isUnrefPending) return;
    this.#isUnrefPending = true;
    setImmediate(() =>
      setImmediate(() => {
        this.#isUnrefPending = false;
        if (this.tasks.size === 0) port.unref();
      }),
    );
  }

  #stopIdling(): void {
    clearTimeout(this.#idleTimer);
    this.#idleTimer = undefined;
  }
}

/** Workers of a pool: all of them, or those that get tasks. */
export class WorkerSet<Worker extends PoolWorker<PoolTask>> extends Set<Worker> {
  #isDraining = false;

  /**
   * An idle worker, else the one with the fewest tasks below `usageMax`. An abortable task gets a
   * worker for itself, since its abort ends the worker: for it, `usageMax` is 1.
   */
  leastBusy(usageMax: number): Worker | undefined {
    let found: Worker | undefined;
    let least = usageMax;
    for (const worker of this) {
      const usage = worker.tasks.size;
      if (usage >= least || !worker.takesTasks) continue;
      found = worker;
      least = usage;
      if (usage === 0) break;
    }
    return found;
  }

  /**
   * Takes in what all workers have answered meanwhile, in the same turn of the event loop. The pool
   * may call this again for each answer: the first call reaches all workers anyway.
   */
  drain(): void {
    if (this.#isDraining) return;
    this.#isDraining = true;
    try {
      for (const worker of this) worker.drain();
    } finally {
      this.#isDraining = false;
    }
  }
}
