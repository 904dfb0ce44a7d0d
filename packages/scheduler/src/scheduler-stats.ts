/** The figures of a scheduler: a plain value. */
import type { HistogramSummary, MachineCounts } from "./machine/stats.ts";
import type { DeathReason } from "./supervisor/death.ts";

export interface SchedulerStats {
  readonly processors: number;
  /** Worker threads that run now. */
  readonly threads: number;
  /** Of those, how many sleep with a processor, and how many without. */
  readonly idle: number;
  readonly spare: number;
  readonly outstanding: number;
  readonly restarts: number;
  /** Number of threads that ended before their time, by the reason. */
  readonly deaths: Readonly<Partial<Record<DeathReason, number>>>;
  /**
   * Bytes of shared memory that hold arguments and results, or have held some in the last seconds.
   */
  readonly mappedBytes: number;
  /** Tasks that had lost their queue entry; 0 in a correct scheduler. */
  readonly sweptTasks: number;
  /** Outcomes and tasks that no bell had announced; 0 in a correct scheduler. */
  readonly wakeupsMissed: number;
  /** How often tasks of a stuck machine were given to others. */
  readonly rescues: number;
  readonly machines: readonly MachineCounts[];
  /** µs from submission to start, and from start to return, of one task in 64. */
  readonly waitingMicroseconds: HistogramSummary;
  readonly runningMicroseconds: HistogramSummary;
}
