export { intakeError, intakeErrors } from "./errors.ts";
export type { BreakerEvent, HandlerMissingEvent, KeysEvictedEvent } from "./delivery/events.ts";
export { NonRetryable, type Retry, Snooze } from "./handler/retry.ts";
export type { Obstacle } from "./delivery/handler-gate.ts";
export type { HandlerReport, LaneReport } from "./delivery/reports.ts";
export type { HandlerOptions } from "./delivery/policy.ts";
export type { CatchUp } from "./format/schedule.ts";
export { RangeSet } from "./format/range-set.ts";
export { handlerName, publisherHeaders } from "./format/record-header.ts";
export { ackRanges, deadError, deadSequence, type Failure, type ReasonName } from "./format/state-records.ts";
export type { DeliveredRecord, RecordSchedule } from "./format/delivered-record.ts";
export {
  type DeadOptions,
  type DedupeOptions,
  intakeOptions,
  type IntakeOptions,
  type RetainOptions,
} from "./publisher/options.ts";
export type { Acknowledgement } from "./publisher/acknowledgement.ts";
export type {
  DeadExportOptions,
  DeadFilter,
  DeadLetters,
  DeadReason,
  DropOptions,
  RedriveOptions,
} from "./letters/dead-letters.ts";
export type { DeadLetter } from "./letters/letter.ts";
export type { ShownRecord } from "./letters/shown-record.ts";
export type { Timeline, TimelineEvent, TimelineOptions } from "./letters/timeline.ts";
export { ControlClient } from "./control/client.ts";
export { type Asking, carryOut } from "./control/commands.ts";
export { openStopped, readStopped, type Stopped } from "./control/stopped.ts";
export { type Redactor, storedRedactor } from "./letters/redact.ts";
export { toPlain } from "./letters/plain.ts";
export { stateFields } from "./letters/state-fields.ts";
export type { Redact } from "./delivery/policy.ts";
export type { RecordDeath } from "./delivery/messages.ts";
export { Intake, type Publish } from "./publisher/intake.ts";
export type { DrainOptions } from "./publisher/ending.ts";
export type { Drained, IntakeStats, IntakeVitals } from "./publisher/stats.ts";
export type { ScheduleInfo, ScheduleOptions } from "./publisher/schedules.ts";
export type { Producers } from "./publisher/producers.ts";
export type { ProducerInfo } from "./states/producer-state.ts";
export type { IntakeEvents } from "./publisher/events.ts";
export type { CountMarks, DiskMarks, LevelOptions } from "./publisher/level-options.ts";
export type { Gauge, Level, LevelCause, LevelReport } from "./publisher/water.ts";
export type {
  BackpressureOptions,
  PublishedName,
  PublishedNowAnswer,
  PublishNow,
  PublishOptions,
  PublishWithEnd,
  RecordOptions,
  RecordToPublish,
} from "./format/publication.ts";
export type { Producer, ProducerOptions } from "./publisher/producer.ts";
export { ContentSums } from "./states/producer-state.ts";
export { type RecordState, RecordStates } from "./states/record-states.ts";
export { foreignRecord } from "./states/foreign.ts";
export { readLogStates } from "./snapshot/read-states.ts";
export { snapshotParts, upgradeSnapshots } from "./snapshot/upgrade.ts";
export { encodeStates, foreignSnapshot } from "./snapshot/snapshot.ts";
export type { RecordedFilter, Replayed, ReplayOptions } from "./replay/replay.ts";
export type { Difference, DifferenceKind, ShadowPublished } from "./shadow/compare.ts";
export type { Unended } from "./shadow/finished.ts";
export type { Latencies, ShadowDifference, ShadowHandlerReport, ShadowReport, ShownEnd } from "./shadow/report.ts";
export type { ShadowOptions } from "./shadow/shadow.ts";
export { shadowOfStored } from "./shadow/stored-shadow.ts";
export type { Retained } from "./publisher/retained.ts";
export type { JournalView, StoredRecord } from "./publisher/journal-view.ts";
export { type SpanOptions, spanOptions, spansRule } from "./spans/options.ts";
export { Spans } from "./spans/spans.ts";
export { isHeard, RUN, tell, told } from "./spans/channels.ts";
export { isTraceparent, isTracestate } from "./format/trace-context.ts";
