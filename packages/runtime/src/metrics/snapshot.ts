/** The data under the metrics: one look at everything that a runtime counts. */
import type { IntakeStats } from "@millrace/intake";
import type { Histogram } from "@millrace/metrics";
import type { BlockingStats } from "@millrace/pool";
import type { SchedulerStats } from "@millrace/scheduler";
import type { HealthGroup } from "../health/groups.ts";
import type { MillraceHealth } from "../health/health.ts";

export interface MetricsSnapshot {
  readonly version: string;
  /** `performance.now()` when the look began. */
  readonly startedMs: number;
  readonly scheduler: SchedulerStats;
  readonly blocking: BlockingStats;
  /** Undefined without a journal; so are the histograms that need one. */
  readonly intake: IntakeStats | undefined;
  readonly health: MillraceHealth;
  readonly isUp: (group: HealthGroup) => boolean;
  /** When the oldest record was published that waits for its turn, ms since 1970; 0 for none. */
  readonly oldestMs: number;
  /** Infinity when nobody knows. */
  readonly freeBytes: number;
  /** The longest delay of the last seconds. */
  readonly eventLoopDelayMs: number;
  readonly histograms: {
    readonly waitingMicroseconds: Histogram;
    readonly runningMicroseconds: Histogram;
    readonly acknowledgeMicroseconds?: Histogram;
    readonly syncMicroseconds?: Histogram;
    readonly batchRecords?: Histogram;
  };
}
