/**
 * Refuses nested calls before the handlers that wait for them have used up their thread's heap.
 *
 * A task that waits for its children holds heap memory and nothing else, so a recursion without an
 * end is stopped by memory alone. V8 would end the thread, and every task on it. The guard looks at
 * the heap once per `CHECK_EVERY` submissions, and only where many tasks wait: a heap that is full
 * for other reasons is none of its business.
 */
import { getHeapStatistics } from "node:v8";
import { resourceLimits } from "node:worker_threads";
import { schedulerError } from "../errors.ts";

/** Submissions between two looks at the heap; a look takes a few µs. */
const CHECK_EVERY = 1024;
/** Tasks on this thread from which on the guard may refuse; each takes up at least 1 KB. */
const TASKS_MIN = 8192;
/**
 * Part of the old generation from which on it refuses. Garbage counts as well, and V8 keeps less of
 * it the nearer the limit is; beyond this part it spends most of its time looking for some.
 */
const HEAP_PART = 0.8;
const MIB: number = 2 ** 20;

export class MemoryGuard {
  #untilLook = CHECK_EVERY;
  #isFull = false;

  /** Before a submission by a handler: whether `check` has to be asked. */
  isDue(): boolean {
    this.#untilLook -= 1;
    return this.#untilLook <= 0 || this.#isFull;
  }

  /** With `tasks` on this thread. Throws `ERR_TASK_MEMORY`. */
  check(tasks: number): void {
    this.#untilLook = CHECK_EVERY;
    this.#isFull = tasks >= TASKS_MIN && isHeapFull();
    if (!this.#isFull) return;
    throw schedulerError("ERR_TASK_MEMORY", `${tasks} tasks of this thread take up its memory`, {
      details: { tasks, heapBytesMax: oldBytesMax() },
    });
  }
}

function isHeapFull(): boolean {
  return getHeapStatistics().used_heap_size > HEAP_PART * oldBytesMax();
}

/** V8's limit covers both generations; tasks that wait for long lie in the old one. */
function oldBytesMax(): number {
  return getHeapStatistics().heap_size_limit - (resourceLimits.maxYoungGenerationSizeMb ?? 0) * MIB;
}
