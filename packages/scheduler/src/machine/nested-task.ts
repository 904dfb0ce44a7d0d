/** A task that a handler of this machine has submitted, and the receiver of its outcome. */
import type { Parent } from "../handler/parent.ts";
import type { TaskGroup } from "../handler/task-group.ts";

/** A call by `context.run`. */
export interface Call {
  readonly parent: Parent;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

export type TaskOwner = TaskGroup | Call;

/** A task of this machine without a slot. */
export interface OwnTask {
  readonly handler: number;
  readonly argument: unknown;
  readonly owner: TaskOwner;
  /** Its place in a group. */
  readonly index: number;
}
