/**
 * Tasks that a handler spawns and waits for together.
 *
 * A group belongs to the machine whose handler made it, and all its outcomes come back to that
 * machine, so its counter is a plain number and a spawn needs neither a promise nor a shared word.
 */
import { schedulerError } from "../errors.ts";
import type { Parent } from "./parent.ts";

/** The parts of its machine that a group needs. */
export interface TaskGroupHost {
  spawn(group: TaskGroup, index: number, name: string, argument: unknown): void;
  /** Runs other tasks until the group has nothing pending. */
  join(group: TaskGroup): void;
}

export class TaskGroup {
  readonly #host: TaskGroupHost;
  /** The task that has made the group. */
  readonly parent: Parent;
  /** Undefined where the results aren't kept. */
  readonly #results: unknown[] | undefined;
  #spawned = 0;
  #pending = 0;
  #hasFailed = false;
  #error: unknown;
  #whenDone: (() => void) | undefined;

  constructor(host: TaskGroupHost, parent: Parent, keepsResults: boolean) {
    this.#host = host;
    this.parent = parent;
    this.#results = keepsResults ? [] : undefined;
  }

  /** Tasks that are not over yet. */
  get pending(): number {
    return this.#pending;
  }

  /** Whether something is pending, or has failed without anybody having been told. */
  get needsJoin(): boolean {
    return this.#pending > 0 || this.#hasFailed;
  }

  spawn(name: string, argument: unknown): void {
    this.#mustRun("spawn");
    const index = this.#spawned;
    this.#pending += 1;
    this.#spawned = index + 1;
    try {
      this.#host.spawn(this, index, name, argument);
    } catch (thrown) {
      // Refused before it became a task: a wrong name, a value that can't be sent.
      this.#pending -= 1;
      this.#spawned = index;
      throw thrown;
    }
  }

  /** As `spawn`, where the caller makes the task: `submit` returns whether it did. */
  adopt(submit: (index: number) => boolean): boolean {
    if (!submit(this.#spawned)) return false;
    this.#spawned += 1;
    this.#pending += 1;
    return true;
  }

  /** From the machine: a task of the group is over. */
  settled(index: number, ok: boolean, value: unknown): void {
    if (ok) {
      if (this.#results !== undefined) this.#results[index] = value;
    } else if (!this.#hasFailed) {
      this.#hasFailed = true;
      this.#error = value;
    }
    this.#pending -= 1;
    if (this.#pending === 0) this.#whenDone?.();
  }

  join(): unknown[] {
    this.#mustRun("join");
    if (this.#pending > 0) this.#host.join(this);
    return this.#take();
  }

  async done(): Promise<unknown[]> {
    this.#mustRun("done");
    if (this.#whenDone !== undefined) {
      throw schedulerError("ERR_GROUP_AWAITED", "a group of tasks is awaited by one party only");
    }
    if (this.#pending > 0) await new Promise<void>((resolve) => (this.#whenDone = resolve));
    this.#whenDone = undefined;
    return this.#take();
  }

  #mustRun(what: string): void {
    if (!this.parent.isOver) return;
    throw schedulerError("ERR_TASK_OVER", `${what}() of a group was called after the task that made it was over`, {
      details: { what },
    });
  }

  /** The results in the order of the spawns, or the first error; the group is empty afterwards. */
  #take(): unknown[] {
    const hasFailed = this.#hasFailed;
    const error = this.#error;
    const results = this.#results?.splice(0) ?? [];
    this.#spawned = 0;
    this.#hasFailed = false;
    this.#error = undefined;
    if (hasFailed) throw error;
    return results;
  }
}

/**
 * The outcome of a task whose spawned children are still pending: its own, or else the first error
 * among theirs.
 */
export async function withChildren(own: PromiseLike<unknown>, children: TaskGroup): Promise<unknown> {
  let result: unknown;
  let error: unknown;
  let hasFailed = false;
  try {
    result = await own;
  } catch (thrown) {
    hasFailed = true;
    error = thrown;
  }
  try {
    await children.done();
  } catch (thrown) {
    if (!hasFailed) throw thrown;
  }
  if (hasFailed) throw error;
  return result;
}
