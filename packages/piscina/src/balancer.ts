/** The interface for a user's function that chooses threads for tasks. */
import type { PiscinaHistogramSummary } from "./histogram.ts";
import type { threadSymbol } from "./symbols.ts";
import type { PiscinaTask } from "./task.ts";

/** A thread as a balancer sees it. The members follow the thread. */
export interface PiscinaWorker {
  /** The thread's id; -1 once it has ended. */
  readonly id: number;
  /** Tasks on the thread; Infinity while an abortable task runs alone there. */
  readonly currentUsage: number;
  readonly isRunningAbortableTask: boolean;
  /** With `workerHistogram` only. */
  readonly histogram: PiscinaHistogramSummary | null;
  readonly terminating: boolean;
  readonly destroyed: boolean;
  readonly [threadSymbol]: unknown;
}

/** Chooses a thread for a task; null leaves the task in the queue until a thread has room. */
export type PiscinaLoadBalancer = (task: PiscinaTask, workers: PiscinaWorker[]) => PiscinaWorker | null;
