/** Queues of waiting tasks, a user's own too. */
import type { PoolTask } from "./task.ts";

export function isTaskQueue(value: unknown): boolean {
  if (typeof value !== "object" || value === null || !("size" in value)) return false;
  const queue = value as Record<string, unknown>;
  return ["shift", "remove", "push"].every((method) => typeof queue[method] === "function");
}

/** Rejects what waits. Returns whether something did. */
export function rejectWaiting(queue: { readonly size: number; shift(): unknown }, error: unknown): boolean {
  let isHeard = false;
  while (queue.size > 0) {
    const task = queue.shift() as PoolTask | null;
    if (task === null) break;
    task.fail(error);
    isHeard = true;
  }
  return isHeard;
}
