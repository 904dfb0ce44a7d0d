/**
 * Tasks that wait for a slot. The oldest get the slots that become free; the machine runs the
 * youngest itself.
 */
import type { OwnTask, TaskOwner } from "./nested-task.ts";

export class WaitingTasks {
  /** From `#from` on; those before it were dropped. */
  #tasks: OwnTask[] = [];
  #from = 0;

  get size(): number {
    return this.#tasks.length - this.#from;
  }

  push(task: OwnTask): void {
    this.#tasks.push(task);
  }

  /** The youngest, taken out; with `owner`, the youngest of that one. Undefined without any. */
  takeYoungest(owner: TaskOwner | undefined): OwnTask | undefined {
    for (let at = this.#tasks.length - 1; at >= this.#from; at -= 1) {
      const task = this.#tasks[at] as OwnTask;
      if (owner !== undefined && task.owner !== owner) continue;
      if (at === this.#tasks.length - 1) this.#tasks.pop();
      else this.#tasks.splice(at, 1);
      return task;
    }
    return undefined;
  }

  get oldest(): OwnTask | undefined {
    return this.#tasks[this.#from];
  }

  dropOldest(): void {
    this.#from += 1;
  }

  /** Lets go of what was dropped, in steps that cost a constant for each task. */
  forgetDropped(): void {
    if (this.#from * 2 < this.#tasks.length) return;
    this.#tasks = this.#tasks.slice(this.#from);
    this.#from = 0;
  }
}
