/** Figures for people, from two readings of a runtime's metrics: rates, and the present state. */
import type { MetricFamily } from "@millrace/metrics";

export interface Reading {
  readonly atMs: number;
  readonly families: ReadonlyMap<string, MetricFamily>;
}

/** One worker thread, by its number; rates are per second. Spare ones may never have started. */
export interface WorkerFigures {
  /** Share of the time, 0 to 1. */
  readonly busy: number;
  readonly isStarted: boolean;
  readonly parks: number;
  readonly noopWakeups: number;
  readonly steals: number;
  readonly stolenTasks: number;
  readonly queueDepth: number;
}

export interface Figures {
  readonly version: string;
  readonly node: string;
  readonly isReady: boolean;
  /** Codes of `health()`. */
  readonly problems: readonly string[];
  readonly level: string;
  readonly perSecond: {
    readonly stored: number;
    readonly rejected: number;
    readonly done: number;
    readonly retried: number;
    readonly dead: number;
    readonly tasks: number;
    readonly syncs: number;
    readonly bytes: number;
  };
  readonly records: {
    readonly unfinished: number;
    readonly running: number;
    readonly waitingRetry: number;
    readonly waitingKey: number;
    readonly held: number;
    readonly unroutable: number;
    readonly dead: number;
    /** How long the oldest has waited for its turn; 0 for none. */
    readonly oldestMs: number;
  };
  readonly journal: {
    readonly durableSequence: number;
    readonly finishedUpTo: number;
    readonly segment: number;
    /** Undefined when nobody knows. */
    readonly freeBytes: number | undefined;
    /** Of the time between the readings; 0 without a sync in it. */
    readonly syncMeanMs: number;
    readonly syncRunningMs: number;
    readonly recordsPerBatch: number;
  };
  readonly workers: {
    readonly running: number;
    readonly parked: number;
    readonly spare: number;
    readonly restarts: number;
    /** Shares of the time, 0 to 1, by worker. */
    readonly busy: readonly number[];
    readonly each: readonly WorkerFigures[];
  };
  readonly eventLoopDelayMs: number;
}

type Labels = Readonly<Record<string, string>>;

function value({ families }: Reading, name: string, labels: Labels = {}, suffix?: string): number | undefined {
  const wanted = Object.entries(labels);
  return families
    .get(name)
    ?.samples.find((sample) => sample.suffix === suffix && wanted.every(([key, text]) => sample.labels[key] === text))
    ?.value;
}

function total({ families }: Reading, name: string): number {
  return (families.get(name)?.samples ?? []).reduce((sum, sample) => sum + sample.value, 0);
}

function workersOf(now: Reading, per: (name: string, labels: Labels) => number): WorkerFigures[] {
  const is = (name: string, labels: Labels): number => value(now, name, labels) ?? 0;
  return (now.families.get("millrace_worker_busy_seconds_total")?.samples ?? []).map(({ labels }) => ({
    busy: Math.min(1, per("millrace_worker_busy_seconds_total", labels)),
    // A thread that has started has slept.
    isStarted: is("millrace_worker_parks_total", labels) > 0,
    parks: per("millrace_worker_parks_total", labels),
    noopWakeups: per("millrace_worker_noop_wakeups_total", labels),
    steals: per("millrace_steals_total", labels),
    stolenTasks: per("millrace_stolen_tasks_total", labels),
    queueDepth: is("millrace_queue_depth", labels),
  }));
}

export function figuresOf(before: Reading, now: Reading): Figures {
  const seconds = Math.max(0.001, (now.atMs - before.atMs) / 1000);
  const is = (name: string, labels?: Labels): number => value(now, name, labels) ?? 0;
  const grown = (name: string, labels?: Labels, suffix?: string): number =>
    Math.max(0, (value(now, name, labels, suffix) ?? 0) - (value(before, name, labels, suffix) ?? 0));
  const per = (name: string, labels?: Labels, suffix?: string): number => grown(name, labels, suffix) / seconds;
  const outcome = (result: string): number => per("millrace_delivery_records_total", { result });
  const state = (name: string): number => is("millrace_delivery_waiting_records", { state: name });
  const samples = (name: string): MetricFamily["samples"] => now.families.get(name)?.samples ?? [];
  const { version = "", node = "" } = samples("millrace_build_info")[0]?.labels ?? {};
  const syncs = grown("millrace_log_fsync_seconds", {}, "_count");
  const oldest = is("millrace_log_oldest_unprocessed_timestamp_seconds");
  const each = workersOf(now, per);
  return {
    version,
    node,
    isReady: is("millrace_health_status", { group: "ready" }) === 1,
    problems: samples("millrace_health_problem")
      .filter((sample) => sample.value === 1)
      .map(({ labels }) => labels["code"] as string),
    level: samples("millrace_intake_level").find((sample) => sample.value === 1)?.labels["level"] ?? "",
    perSecond: {
      stored: per("millrace_intake_records_total", { result: "stored" }),
      rejected: per("millrace_intake_records_total", { result: "rejected" }),
      done: outcome("done"),
      retried: outcome("retried"),
      dead: outcome("dead"),
      tasks:
        Math.max(0, total(now, "millrace_tasks_completed_total") - total(before, "millrace_tasks_completed_total")) /
        seconds,
      syncs: syncs / seconds,
      bytes: per("millrace_log_append_bytes_total"),
    },
    records: {
      unfinished: is("millrace_delivery_unfinished_records"),
      running: state("running"),
      waitingRetry: state("retry"),
      waitingKey: state("key"),
      held: state("held"),
      unroutable: state("unroutable"),
      dead: is("millrace_dlq_records"),
      oldestMs: oldest === 0 ? 0 : Math.max(0, now.atMs - oldest * 1000),
    },
    journal: {
      durableSequence: is("millrace_log_durable_sequence"),
      finishedUpTo: is("millrace_log_consumed_sequence"),
      segment: is("millrace_log_segment"),
      freeBytes: value(now, "millrace_log_disk_free_bytes"),
      syncMeanMs: syncs === 0 ? 0 : (grown("millrace_log_fsync_seconds", {}, "_sum") * 1000) / syncs,
      syncRunningMs: is("millrace_log_fsync_running_seconds") * 1000,
      recordsPerBatch: syncs === 0 ? 0 : grown("millrace_log_records_total") / syncs,
    },
    workers: {
      running: is("millrace_workers", { state: "running" }),
      parked: is("millrace_workers", { state: "parked" }),
      spare: is("millrace_workers", { state: "spare" }),
      restarts: is("millrace_worker_restarts_total"),
      busy: each.map(({ busy }) => busy),
      each,
    },
    eventLoopDelayMs: is("millrace_event_loop_delay_seconds") * 1000,
  };
}

/**
 * The value in ms that a share of what was counted between two readings doesn't exceed, guessed
 * within a bucket as Prometheus' `histogram_quantile` does; undefined when nothing was counted.
 */
export function quantileMs(before: Reading, now: Reading, name: string, share: number): number | undefined {
  const buckets = (now.families.get(name)?.samples ?? []).filter(({ suffix }) => suffix === "_bucket");
  const counts = buckets.map(({ labels, value: count }) => count - (value(before, name, labels, "_bucket") ?? 0));
  const wanted = (counts.at(-1) ?? 0) * share;
  if (wanted <= 0) return undefined;
  const index = counts.findIndex((count) => count >= wanted);
  const bound = (at: number): number => (at < 0 ? 0 : Number(buckets[at]?.labels.le));
  const from = bound(index - 1);
  // Beyond the last bound nothing is known but that bound.
  if (bound(index) === Infinity || Number.isNaN(bound(index))) return from * 1000;
  const below = index === 0 ? 0 : (counts[index - 1] as number);
  return (from + ((bound(index) - from) * (wanted - below)) / ((counts[index] as number) - below)) * 1000;
}
