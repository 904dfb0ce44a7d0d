/**
 * The options of `open()`, and the runtime that it returns, as its user sees it. The class behind
 * it is in runtime.ts.
 */
import type { MillraceError } from "@millrace/base";
import type { BackupSummary } from "@millrace/journal";
import type {
  Acknowledgement,
  BackpressureOptions,
  DeadLetters,
  Drained,
  DrainOptions,
  HandlerReport,
  IntakeEvents,
  IntakeOptions,
  IntakeStats,
  JournalView,
  LaneReport,
  Level,
  Producer,
  ProducerOptions,
  Producers,
  Publish,
  PublishedName,
  RecordOptions,
  RecordState,
  RecordToPublish,
  Replayed,
  ReplayOptions,
  Retained,
  ScheduleInfo,
  ScheduleOptions,
  ShadowOptions,
  ShadowReport,
  SpanOptions,
} from "@millrace/intake";
import type { MetricFamily } from "@millrace/metrics";
import type { BlockingOptions, BlockingRun, BlockingStats } from "@millrace/pool";
import type {
  ChromeTrace,
  CloseOptions,
  Handler,
  ParallelMap,
  ParallelReduce,
  Run,
  RunMany,
  SchedulerOptions,
  SchedulerStats,
} from "@millrace/scheduler";
import type { HealthOptions, MillraceHealth } from "./health/health.ts";

export interface MillraceOptions extends Omit<SchedulerOptions, "guests" | "headerReader" | "onAsk"> {
  /**
   * Where records are kept, and how. Without it the runtime makes parallel calls only, and touches
   * no disk.
   */
  readonly journal?: IntakeOptions;
  /** The threads of `mill.blocking`; none is started before its first call. */
  readonly blocking?: BlockingOptions;
  /** Limits from which on `health()` reports something. */
  readonly health?: HealthOptions;
  /**
   * Spans of OpenTelemetry for records, and for some calls. The SDK decides what happens to them:
   * the program sets it up on its own thread, and the module's `initialize` does so on worker
   * threads. Needs the package `@opentelemetry/api`. Default none.
   */
  readonly spans?: boolean | SpanOptions;
  /**
   * Called when the journal or its delivery has stopped for good, on a failed disk for instance.
   * Restart the process then.
   */
  readonly onFailure?: (error: MillraceError) => void;
}

export interface MillraceStats {
  readonly scheduler: SchedulerStats;
  readonly blocking: BlockingStats;
  /** Undefined without a journal. */
  readonly intake: IntakeStats | undefined;
}

/** A running runtime. */
export interface Millrace<Handlers = Record<string, Handler>> {
  /** Calls a handler on a worker thread: `await mill.run.settle(payment)`. */
  readonly run: Run<Handlers>;
  /**
   * Makes many calls of one handler at once: `await mill.runMany.settle(payments)`. Resolves with
   * the results in order.
   */
  readonly runMany: RunMany<Handlers>;
  /**
   * Applies a handler to each value of a list, many values to a task:
   * `await mill.parallelMap.parse(lines)`.
   */
  readonly parallelMap: ParallelMap<Handlers>;
  /**
   * Joins a list into one value by a handler that takes pairs:
   * `await mill.parallelReduce.sum(numbers)`.
   */
  readonly parallelReduce: ParallelReduce<Handlers>;
  /**
   * Calls a handler on a thread of an elastic pool instead: for long synchronous work, native
   * addons, blocking I/O. Cancelling a call ends its thread. `context.machine` is -1 there.
   */
  readonly blocking: BlockingRun<Handlers>;
  /**
   * Publishes a record. Resolves when the record is on disk. The handler gets it afterwards, and
   * again after a crash: at least once. Rejects with `ERR_JOURNAL_UNCERTAIN` when the record may or
   * may not be stored. Rejects with `ERR_IDEMPOTENCY_MISMATCH` when its key belongs to another
   * payload; no handler will get it. With any other code the record certainly isn't stored.
   */
  readonly publish: Publish<Handlers>;
  /**
   * As `publish`, but never waits. When the level is "reject", it stores nothing and rejects at
   * once with `ERR_INTAKE_FULL`, whose details have `retryAfterMs`.
   */
  readonly tryPublish: Publish<Handlers, RecordOptions>;
  /**
   * Publishes records together: all are stored, or none is. Resolves with an acknowledgement for
   * each.
   */
  publishMany(
    records: Iterable<RecordToPublish<PublishedName<Handlers>>>,
    options?: BackpressureOptions,
  ): Promise<Acknowledgement[]>;
  /**
   * How full the intake is. "ok" and "slow": it takes a publish at once. "reject": a publish waits,
   * or is refused, as `whenFull` says. `stats().intake.level` says why, and how fast it drains.
   */
  readonly level: Level;
  /**
   * As `level`, for publishes to one handler: also "reject" while that handler is stopped and too
   * many records are unfinished. Throws `ERR_HANDLER_UNKNOWN`.
   */
  levelOf(handler: PublishedName<Handlers>): Level;
  /** Calls `listener` for each event of this name from now on; see `IntakeEvents`. */
  on<Name extends keyof IntakeEvents>(name: Name, listener: (event: IntakeEvents[Name]) => void): void;
  off<Name extends keyof IntakeEvents>(name: Name, listener: (event: IntakeEvents[Name]) => void): void;
  /**
   * A source of many records for one handler, as JSON text, that resumes where it stopped: see
   * `Producer`. Its id names it across runs. Throws `ERR_HANDLER_UNKNOWN`, `ERR_INVALID_OPTION`.
   */
  producer(handler: PublishedName<Handlers>, id: string, options?: ProducerOptions): Promise<Producer>;
  /** The producers that have stored records: list them, and drop those that won't come back. */
  readonly producers: Producers;
  /**
   * The result of the handler for this record, if the handler has `result: "keep"`. Waits until the
   * record is done, also for a record of an earlier process. Rejects with `ERR_RESULT_EXPIRED`,
   * `ERR_RESULT_TOO_LARGE`, `ERR_RESULT_UNSUPPORTED`, and as `Acknowledgement.done` does.
   */
  result(sequence: number): Promise<unknown>;
  /**
   * The state of the record with this sequence; undefined when no record has it, or had it, as far
   * as is known.
   */
  recordState(sequence: number): Promise<RecordState | undefined>;
  /** Dead letters, the records that failed for the last time: list, redrive and drop them. */
  readonly dead: DeadLetters;
  /**
   * Gives this handler no records until `resume`, also across restarts. Resolves when that is
   * durable. Throws `ERR_HANDLER_UNKNOWN`.
   */
  pause(handler: PublishedName<Handlers>): Promise<void>;
  resume(handler: PublishedName<Handlers>): Promise<void>;
  /**
   * Publishes a record whenever it is due, one for each due time across restarts and crashes, until
   * `unschedule`. The same definition again changes nothing; another one replaces it. Resolves when
   * that is durable. Throws `ERR_INVALID_OPTION`, `ERR_HANDLER_UNKNOWN`, `ERR_SCHEDULE_REFUSED`.
   */
  schedule(name: string, options: ScheduleOptions<PublishedName<Handlers>>): Promise<void>;
  /**
   * Ends a schedule. Resolves with whether there was one, when its end is durable. The records that
   * it has published stay.
   */
  unschedule(name: string): Promise<boolean>;
  /** All schedules, by name. */
  schedules(): Promise<ScheduleInfo[]>;
  /** Each handler: whether its records are begun now, and how many ended in which way. */
  handlers(): Promise<readonly HandlerReport[]>;
  /** Where records wait for their turn, by priority. */
  lanes(): Promise<readonly LaneReport[]>;
  readonly handlerNames: readonly string[];
  stats(): MillraceStats;
  /**
   * Whether records are taken and handled, and every reason for doubt, with codes. Costs some loads
   * from shared memory, and never throws, not even while the disk hangs or after the end.
   */
  health(): MillraceHealth;
  /**
   * Publishes recorded payloads again, as new records: `context.record.replay` names the one that
   * each replays. Resolves when they are stored, with counts. Duplicates and replays aren't
   * replayed. Throws `ERR_INVALID_OPTION`, `ERR_REPLAY_RANGE`, `ERR_HANDLER_UNKNOWN`,
   * `ERR_PRODUCERS_FULL`, the errors of a publish, and the signal's reason.
   */
  replay(options?: ReplayOptions): Promise<Replayed>;
  /**
   * Gives recorded records to the handlers of another module, on threads of their own, and compares
   * how they end with how they ended. **What those handlers do outside of Millrace, they really
   * do.** The records that they publish are compared, and not stored. A handler that throws, hangs
   * or ends its thread is a difference in the report. Throws `ERR_INVALID_OPTION`,
   * `ERR_REPLAY_RANGE`, `ERR_HANDLER_MODULE`, `ERR_JOURNAL_DAMAGED`, and the signal's reason.
   */
  shadow(options: ShadowOptions): Promise<ShadowReport>;
  /**
   * The range of records that are still in the journal, finished ones as well: see `retain`. Throws
   * `ERR_JOURNAL_DAMAGED`.
   */
  retained(): Promise<Retained>;
  /**
   * All metrics as plain values, read from counters that the threads keep anyway: for
   * `metricsText`, `registerMetrics` and other exporters. Takes about a millisecond.
   */
  metrics(): readonly MetricFamily[];
  /** A view of the journal, for reading. Throws `ERR_INTAKE_ABSENT` without one. */
  readonly journal: JournalView;
  /**
   * The records of the option `trace` so far, as a document for ui.perfetto.dev; undefined without
   * the option.
   */
  trace(): ChromeTrace | undefined;
  /**
   * Resolves when no record can run: all acknowledged records are finished or dead, or wait for a
   * time, a handler or a command. The result says how many wait. With `all` it waits until none
   * does.
   */
  drain(options?: DrainOptions): Promise<Drained>;
  /**
   * Copies the journal, as far as it is durable now, into an empty or absent directory. The journal
   * may be in use meanwhile. The copy opens like the journal after a crash at this moment. Throws
   * `ERR_JOURNAL_STORAGE`, `ERR_JOURNAL_DAMAGED`.
   */
  backup(directory: string): Promise<BackupSummary>;
  /**
   * Takes no more calls and records, waits for running handlers, calls the module's `teardown` in
   * each worker thread, and ends the threads. Records that were not delivered stay for the next
   * opening. Idempotent.
   *
   * When `signal` aborts first, or `timeoutMs` are over, `terminate()` ends the rest, and the
   * promise rejects with `ERR_CLOSE_ABORTED`, whose `details.tasks` names the handlers that were
   * still running. Without either, it waits for calls as long as they take, and for handlers of
   * records for 10 s. After that it rejects in the same way, and the next opening delivers the
   * records again. Rejects with `ERR_TEARDOWN_FAILED` when a `teardown` failed, and with
   * `ERR_JOURNAL_POISONED`.
   */
  close(options?: CloseOptions): Promise<void>;
  /**
   * Ends the threads at once. Calls under way reject with `ERR_SCHEDULER_CLOSED`. The next opening
   * delivers the records again whose handlers were running. `teardown` isn't called. Idempotent.
   * Rejects with `ERR_JOURNAL_POISONED` when a write to the disk hangs: that thread stays.
   */
  terminate(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}
