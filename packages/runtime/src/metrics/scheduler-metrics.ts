/** Metrics of worker threads and their tasks. */
import type { MetricSample } from "@millrace/metrics";
import type { MachineCounts } from "@millrace/scheduler";
import { by, counter, gauge, type MetricDefinition, seconds } from "./definition.ts";
import type { MetricsSnapshot } from "./snapshot.ts";

/** A sample for each worker thread that there was. */
function perWorker(count: (counts: MachineCounts) => number): (snapshot: MetricsSnapshot) => MetricSample[] {
  return ({ scheduler }) =>
    scheduler.machines.map((counts, machine) => ({ labels: { worker: String(machine) }, value: count(counts) }));
}

function total({ scheduler }: MetricsSnapshot, count: (counts: MachineCounts) => number): number {
  return scheduler.machines.reduce((sum, counts) => sum + count(counts), 0);
}

export const schedulerMetrics: readonly MetricDefinition[] = [
  gauge(
    "millrace_workers",
    "Worker threads: running, parked with a processor, spare without one.",
    ({ scheduler: { threads, idle, spare } }) =>
      by("state", { running: Math.max(0, threads - idle - spare), parked: idle, spare }),
    ["state"],
  ),
  gauge("millrace_processors", "Tasks that can run at once.", ({ scheduler }) => scheduler.processors),
  counter(
    "millrace_worker_busy_seconds_total",
    "Time in which a worker thread ran tasks.",
    perWorker(({ busyMs }) => busyMs / 1000),
    ["worker"],
  ),
  counter(
    "millrace_worker_parks_total",
    "How often a worker thread slept.",
    perWorker(({ parks }) => parks),
    ["worker"],
  ),
  counter(
    "millrace_worker_noop_wakeups_total",
    "How often a worker thread was woken and found nothing to do.",
    perWorker(({ wakesForNothing }) => wakesForNothing),
    ["worker"],
  ),
  counter(
    "millrace_worker_restarts_total",
    "Worker threads that were started to replace one that had ended.",
    ({ scheduler }) => scheduler.restarts,
  ),
  counter(
    "millrace_worker_deaths_total",
    "Worker threads that ended before their time.",
    ({ scheduler }) => by("reason", scheduler.deaths),
    ["reason"],
  ),
  counter(
    "millrace_tasks_completed_total",
    "Tasks that returned (ok) or threw (error); an attempt is a task.",
    (snapshot) => by("result", { ok: total(snapshot, ({ ok }) => ok), error: total(snapshot, ({ failed }) => failed) }),
    ["result"],
  ),
  gauge(
    "millrace_tasks_inflight",
    "Calls of the opening thread that wait or run.",
    ({ scheduler }) => scheduler.outstanding,
  ),
  seconds(
    "millrace_sched_wait_seconds",
    "From the submission of a task to its start, of one task in 64.",
    ({ histograms }) => histograms.waitingMicroseconds,
  ),
  seconds(
    "millrace_task_run_seconds",
    "From the start of a handler to its return, of one task in 64.",
    ({ histograms }) => histograms.runningMicroseconds,
  ),
  gauge(
    "millrace_queue_depth",
    "Entries in a worker's run queue when it last looked.",
    perWorker(({ queueDepth }) => queueDepth),
    ["worker"],
  ),
  counter(
    "millrace_queue_overflows_total",
    "How often a run queue had no room.",
    perWorker(({ overflows }) => overflows),
    ["worker"],
  ),
  counter(
    "millrace_steals_total",
    "How often a worker took tasks from another.",
    perWorker(({ steals }) => steals),
    ["worker"],
  ),
  counter(
    "millrace_stolen_tasks_total",
    "Tasks that a worker took from others.",
    perWorker(({ stolenTasks }) => stolenTasks),
    ["worker"],
  ),
  counter(
    "millrace_sched_faults_total",
    "Tasks without a queue entry, missed wake-ups, rescues from a stuck worker.",
    ({ scheduler: { sweptTasks, wakeupsMissed, rescues } }) =>
      by("kind", { swept: sweptTasks, wakeup: wakeupsMissed, rescue: rescues }),
    ["kind"],
  ),
  gauge(
    "millrace_memory_mapped_bytes",
    "Shared memory that holds arguments and results.",
    ({ scheduler }) => scheduler.mappedBytes,
  ),
  gauge("millrace_blocking_threads", "Threads of mill.blocking.", ({ blocking }) => blocking.threads),
  gauge(
    "millrace_blocking_calls",
    "Calls of mill.blocking that run, and that wait.",
    ({ blocking: { running, waiting } }) => by("state", { running, waiting }),
    ["state"],
  ),
  counter(
    "millrace_blocking_completed_total",
    "Calls of mill.blocking that ended, with any outcome.",
    ({ blocking }) => blocking.completed,
  ),
];
