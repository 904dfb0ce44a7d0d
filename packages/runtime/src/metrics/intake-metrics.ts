/** Metrics of the journal, of records, and of dead letters; none without a journal. */
import type { IntakeStats } from "@millrace/intake";
import type { MetricSample } from "@millrace/metrics";
import { by, counter, gauge, type MetricDefinition, records, seconds, stateSet } from "./definition.ts";
import type { MetricsSnapshot } from "./snapshot.ts";

type Numbers = number | MetricSample[];

/** Left out without a journal. */
function ofIntake(read: (intake: IntakeStats) => Numbers): (snapshot: MetricsSnapshot) => Numbers | undefined {
  return ({ intake }) => intake && read(intake);
}

const intakeCounts: readonly MetricDefinition[] = [
  counter(
    "millrace_intake_records_total",
    "Records that a publish has stored, or refused for want of room.",
    ofIntake(({ stored, refused, journal }) => by("result", { stored, rejected: refused + journal.refused })),
    ["result"],
  ),
  counter(
    "millrace_intake_duplicates_total",
    "Stored records that are not handled, because their key was already known.",
    ofIntake(({ duplicates }) => duplicates),
  ),
  counter(
    "millrace_intake_scheduled_total",
    "Records that schedules have published.",
    ofIntake(({ scheduled }) => scheduled),
  ),
  seconds(
    "millrace_intake_ack_seconds",
    "From the call of publish to its acknowledgement, of one publish in 64.",
    ({ histograms }) => histograms.acknowledgeMicroseconds,
  ),
  gauge(
    "millrace_intake_level",
    "1 for the level that holds: whether publishes are taken.",
    ofIntake(({ level }) => stateSet("level", ["ok", "slow", "reject"], level.level)),
    ["level"],
  ),
  gauge(
    "millrace_backpressure_active",
    "1 while publishes wait or are refused.",
    ofIntake(({ level }) => (level.level === "reject" ? 1 : 0)),
  ),
  gauge(
    "millrace_intake_waiting_publishes",
    "Publishes that wait because the intake is full.",
    ofIntake(({ waitingPublishes }) => waitingPublishes),
  ),
  gauge(
    "millrace_intake_drain_records_per_second",
    "How fast the fullest part of the intake drains.",
    ofIntake(({ level }) => level.ratePerSecond),
  ),
  gauge(
    "millrace_intake_dedupe_keys",
    "Idempotency keys that are remembered.",
    ofIntake(({ dedupeKeys }) => dedupeKeys),
  ),
  counter(
    "millrace_intake_dedupe_evicted_total",
    "Idempotency keys that were forgotten before their time.",
    ofIntake(({ dedupeEvicted }) => dedupeEvicted),
  ),
];

const logCounts: readonly MetricDefinition[] = [
  counter(
    "millrace_log_append_bytes_total",
    "Bytes that the journal has made durable.",
    ofIntake(({ journal }) => journal.bytes),
  ),
  counter(
    "millrace_log_records_total",
    "Records that the journal has made durable, state records included.",
    ofIntake(({ journal }) => journal.records),
  ),
  seconds("millrace_log_fsync_seconds", "Write and sync of a batch.", ({ histograms }) => histograms.syncMicroseconds),
  records("millrace_log_batch_records", "Records of a batch.", ({ histograms }) => histograms.batchRecords),
  counter(
    "millrace_log_fsync_errors_total",
    "Writes and syncs that failed: the first one stops the journal.",
    ofIntake(({ journal }) => (journal.state === "poisoned" ? 1 : 0)),
  ),
  gauge(
    "millrace_log_fsync_running_seconds",
    "How long the running write and sync has taken so far; 0 while none runs.",
    ofIntake(({ journal }) => journal.syncRunningMs / 1000),
  ),
  gauge(
    "millrace_log_unsynced_records",
    "Records of the opening thread that are not durable yet.",
    ofIntake(({ journal }) => journal.outstanding),
  ),
  gauge(
    "millrace_log_durable_sequence",
    "The last sequence that is durable.",
    ofIntake(({ journal }) => journal.durableSequence),
  ),
  gauge(
    "millrace_log_consumed_sequence",
    "Everything up to this sequence is finished.",
    ofIntake(({ finishedUpTo }) => finishedUpTo),
  ),
  gauge(
    "millrace_log_first_sequence",
    "The first sequence that is still in the journal.",
    ofIntake(({ firstSequence }) => firstSequence),
  ),
  gauge(
    "millrace_log_segment",
    "The number of the segment that is written.",
    ofIntake(({ journal }) => journal.segment),
  ),
  counter(
    "millrace_log_spare_waits_total",
    "How often the writer had to wait for a segment to be prepared.",
    ofIntake(({ journal }) => journal.spareWaits),
  ),
  gauge("millrace_log_disk_free_bytes", "Free bytes of the journal's disk.", ({ intake, freeBytes }) =>
    intake === undefined || freeBytes === Infinity ? undefined : freeBytes,
  ),
  gauge(
    "millrace_log_damaged_places",
    "Places of old segments that can't be read.",
    ofIntake(({ journal }) => journal.damage.length),
  ),
  counter(
    "millrace_log_copied_records_total",
    "Old records written again, so that older segments could be deleted.",
    ofIntake(({ copiedForward }) => copiedForward),
  ),
  gauge(
    "millrace_log_oldest_unprocessed_timestamp_seconds",
    "When the oldest waiting record was published; 0 for none.",
    ({ intake, oldestMs }) => intake && oldestMs / 1000,
  ),
  counter(
    "millrace_replay_records_total",
    "Records that waited in the journal when it was opened.",
    ofIntake(({ recovered }) => recovered),
  ),
  counter(
    "millrace_replay_torn_bytes_total",
    "Bytes of a torn tail that the opening set aside.",
    ofIntake(({ journal }) => journal.recovery.tornBytes),
  ),
  gauge(
    "millrace_replay_last_duration_seconds",
    "How long the opening of the journal took.",
    ofIntake(({ journal }) => journal.recovery.durationMs / 1000),
  ),
];

const deliveryCounts: readonly MetricDefinition[] = [
  counter(
    "millrace_delivery_attempts_total",
    "Attempts that were started.",
    ofIntake(({ delivered }) => delivered),
  ),
  counter(
    "millrace_delivery_records_total",
    "What became of records: done, retried, dead, expired or dropped.",
    ofIntake(({ done, retried, dead, expired }) => by("result", { done, retried, dead, expired })),
    ["result"],
  ),
  gauge(
    "millrace_delivery_unfinished_records",
    "Records that were published and aren't finished.",
    ofIntake(({ unfinished }) => unfinished),
  ),
  gauge(
    "millrace_delivery_waiting_records",
    "Records that run, or wait for a retry, their key or their handler.",
    ofIntake(({ running, waitingRetries, keyWaiting, held, unroutable }) =>
      by("state", { running, retry: waitingRetries, key: keyWaiting, held, unroutable }),
    ),
    ["state"],
  ),
  gauge(
    "millrace_delivery_retries_scheduled",
    "Records that wait for a time: their next attempt, or their first.",
    ofIntake(({ waitingRetries }) => waitingRetries),
  ),
  counter(
    "millrace_delivery_breaker_opened_total",
    "How often a handler kept failing, and rested.",
    ofIntake(({ breakersOpened }) => breakersOpened),
  ),
  gauge(
    "millrace_dlq_records",
    "Dead letters that are kept.",
    ofIntake(({ deadKept }) => deadKept),
  ),
  counter(
    "millrace_dlq_added_total",
    "Records that became dead letters.",
    ofIntake(({ dead }) => dead),
  ),
  gauge(
    "millrace_dlq_size_bytes",
    "Bytes of dead letters in the journal.",
    ofIntake(({ deadBytes }) => deadBytes),
  ),
  gauge(
    "millrace_dlq_waiting_records",
    "Records that wait for room among the dead letters.",
    ofIntake(({ deadWaiting }) => deadWaiting),
  ),
  gauge(
    "millrace_shutdown_state",
    "1 for the state of the intake.",
    ofIntake(({ state }) => stateSet("state", ["running", "draining", "stopped"], state)),
    ["state"],
  ),
];

export const intakeMetrics: readonly MetricDefinition[] = [...intakeCounts, ...logCounts, ...deliveryCounts];
