/** A moment as the page shows it: metrics of the runtime, and the reports of delivery. */
import type { HandlerReport, LaneReport, LevelReport } from "@millrace/intake";
import { type Figures, figuresOf, type Millrace, quantileMs, type Reading } from "@millrace/runtime";

/** Undefined when nothing was counted. */
interface Latency {
  readonly p50: number | undefined;
  readonly p99: number | undefined;
}

export interface HandlerMoment extends HandlerReport {
  readonly donePerSecond: number;
  readonly failedPerSecond: number;
}

export interface Moment extends Figures {
  /** Ms since 1970. */
  readonly at: number;
  readonly uptimeMs: number;
  readonly water: LevelReport;
  readonly reasons: readonly { readonly code: string; readonly status: string; readonly text: string }[];
  /** Of the last seconds; of publishes and tasks one in 64 is measured. */
  readonly latencyMs: Readonly<Record<keyof typeof HISTOGRAMS, Latency>>;
  readonly handlers: readonly HandlerMoment[];
  readonly lanes: readonly LaneReport[];
  readonly log: {
    readonly state: string;
    readonly firstSequence: number;
    readonly storage: string;
    readonly isSynced: boolean;
    readonly damagedPlaces: number;
    readonly unverifiedSegments: number;
    readonly checkpointError: string | undefined;
    readonly tornBytes: number;
    readonly openingMs: number;
    readonly recovered: number;
  };
  /** Whether the option `trace` is on. */
  readonly isTraced: boolean;
}

const HISTOGRAMS = {
  ack: "millrace_intake_ack_seconds",
  sync: "millrace_log_fsync_seconds",
  wait: "millrace_sched_wait_seconds",
  run: "millrace_task_run_seconds",
} as const;

/** Latencies are those of this time: in one second there may be none. */
export const LATENCY_READINGS = 10;

/** Readings, handlers as they were at the last of them, and what doesn't change. */
export interface Before {
  /** The oldest of the last `LATENCY_READINGS` first. */
  readonly readings: readonly Reading[];
  readonly handlers: readonly HandlerReport[];
  readonly isTraced: boolean;
}

export function readingOf(mill: Millrace): Reading {
  return { atMs: Date.now(), families: new Map(mill.metrics().map((family) => [family.name, family])) };
}

export async function momentOf(mill: Millrace, now: Reading, before: Before): Promise<Moment> {
  const [handlers, lanes] = await Promise.all([mill.handlers(), mill.lanes()]);
  const last = before.readings.at(-1) ?? now;
  const [oldest = now] = before.readings;
  const { intake } = mill.stats();
  if (intake === undefined) throw new TypeError("a server has an intake");
  const { journal, level } = intake;
  const latency = (name: string): Latency => ({
    p50: quantileMs(oldest, now, name, 0.5),
    p99: quantileMs(oldest, now, name, 0.99),
  });
  return {
    ...figuresOf(last, now),
    at: now.atMs,
    uptimeMs: process.uptime() * 1000,
    water: level,
    reasons: mill.health().reasons.map(({ code, status, text }) => ({ code, status, text })),
    latencyMs: {
      ack: latency(HISTOGRAMS.ack),
      sync: latency(HISTOGRAMS.sync),
      wait: latency(HISTOGRAMS.wait),
      run: latency(HISTOGRAMS.run),
    },
    handlers: withRates(handlers, before.handlers, (now.atMs - last.atMs) / 1000),
    lanes,
    log: {
      state: journal.state,
      firstSequence: intake.firstSequence,
      storage: journal.storage.fileSystem,
      isSynced: journal.isSynced,
      damagedPlaces: journal.damage.length,
      unverifiedSegments: journal.unverifiedSegments,
      checkpointError: intake.checkpointError,
      tornBytes: journal.recovery.tornBytes,
      openingMs: journal.recovery.durationMs,
      recovered: intake.recovered,
    },
    isTraced: before.isTraced,
  };
}

function withRates(
  now: readonly HandlerReport[],
  before: readonly HandlerReport[],
  seconds: number,
): readonly HandlerMoment[] {
  const known = new Map(before.map((report) => [report.handler, report]));
  const rate = (is: number, was: number | undefined): number =>
    was === undefined || seconds <= 0 ? 0 : Math.max(0, is - was) / seconds;
  return now.map((report) => {
    const was = known.get(report.handler);
    return {
      ...report,
      donePerSecond: rate(report.done, was?.done),
      failedPerSecond: rate(report.failed, was?.failed),
    };
  });
}

/** One line of each chart. */
export const COLUMNS = [
  "at",
  "stored",
  "done",
  "failed",
  "unfinished",
  "busy",
  "ackP50",
  "ackP99",
  "syncP50",
  "syncP99",
  "waitP99",
  "runP99",
] as const;

/** The values of `COLUMNS`; null where nothing was counted. `at` is in seconds. */
export function rowOf({ at, perSecond, records, workers, latencyMs }: Moment): (number | null)[] {
  const { ack, sync, wait, run } = latencyMs;
  const values: Record<(typeof COLUMNS)[number], number | undefined> = {
    at: at / 1000,
    stored: perSecond.stored,
    done: perSecond.done,
    failed: perSecond.retried + perSecond.dead,
    unfinished: records.unfinished,
    busy: workers.busy.reduce((sum, share) => sum + share, 0),
    ackP50: ack.p50,
    ackP99: ack.p99,
    syncP50: sync.p50,
    syncP99: sync.p99,
    waitP99: wait.p99,
    runP99: run.p99,
  };
  return COLUMNS.map((name) => values[name] ?? null);
}
