/**
 * `open()`: worker threads for a module of handlers, and with a journal also the intake.
 */
import {
  callback,
  type MillraceError,
  optional,
  optionsObject,
  type Rules,
  clearInterval,
  performance,
  setInterval,
  withoutContext,
} from "@millrace/base";
import type { BackupSummary } from "@millrace/journal";
import {
  type Acknowledgement,
  type DeadLetters,
  type Drained,
  type DrainOptions,
  type HandlerReport,
  Intake,
  intakeError,
  intakeOptions,
  type IntakeOptions,
  type IntakeEvents,
  type IntakeStats,
  type JournalView,
  type LaneReport,
  type Level,
  type Producer,
  type ProducerOptions,
  type Producers,
  type Publish,
  type PublishedName,
  type RecordOptions,
  type RecordState,
  type RecordToPublish,
  type Replayed,
  type ReplayOptions,
  type Retained,
  type ScheduleInfo,
  type ScheduleOptions,
  type BackpressureOptions,
} from "@millrace/intake";
import { Blocking, type BlockingOptions, type BlockingRun, type BlockingStats } from "@millrace/pool";
import {
  type ChromeTrace,
  chromeTrace,
  closeAborted,
  type CloseOptions,
  closeLimits,
  type Handler,
  isOverdue,
  moduleUrl,
  type ParallelMap,
  type ParallelReduce,
  readTrace,
  resolveWithScheduler,
  type Run,
  type RunMany,
  Scheduler,
  type SchedulerOptions,
  type SchedulerStats,
  type TasksAlive,
} from "@millrace/scheduler";
import type { MetricFamily } from "@millrace/metrics";
import { isUp } from "./health/groups.ts";
import { Health, type HealthLimits, healthOptions, type HealthOptions, type MillraceHealth } from "./health/health.ts";
import { familiesOf } from "./metrics/metrics.ts";
import { version } from "./health/version.ts";
import { TraceFile, traceRequest } from "./trace-file.ts";

export interface MillraceOptions extends Omit<SchedulerOptions, "guests" | "headerReader" | "onAsk"> {
  /**
   * Where records are kept, and how. Leave it out for parallel calls only: nothing touches the disk
   * then.
   */
  readonly journal?: IntakeOptions;
  /** The threads of `mill.blocking`; none is started before its first call. */
  readonly blocking?: BlockingOptions;
  /** From when on `health()` tells of something. */
  readonly health?: HealthOptions;
  /**
   * Called when the journal or its delivery has stopped for good, on a failed disk for instance:
   * restart the process.
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
   * Many calls of one handler at once: `await mill.runMany.settle(payments)`; the results in order.
   */
  readonly runMany: RunMany<Handlers>;
  /**
   * A handler applied to each of a list, many values to a task: `await
   * mill.parallelMap.parse(lines)`.
   */
  readonly parallelMap: ParallelMap<Handlers>;
  /**
   * A list joined into one value by a handler that takes pairs: `await
   * mill.parallelReduce.sum(numbers)`.
   */
  readonly parallelReduce: ParallelReduce<Handlers>;
  /**
   * Calls a handler on a thread of an elastic pool instead: for long synchronous work, native
   * addons, blocking I/O. A call that is cancelled ends its thread. `context.machine` is -1 there.
   */
  readonly blocking: BlockingRun<Handlers>;
  /**
   * Publishes a record: resolves when it is on disk; the handler gets it afterwards, again after a
   * crash, at least once. Rejects with `ERR_JOURNAL_UNCERTAIN` when it may or may not be stored,
   * with any other code when it certainly isn't.
   */
  readonly publish: Publish<Handlers>;
  /**
   * As `publish`, but never waits: rejects at once with `ERR_INTAKE_FULL`, whose details have a
   * `retryAfterMs`, when the level is "reject". Nothing is stored then.
   */
  readonly tryPublish: Publish<Handlers, RecordOptions>;
  /**
   * Publishes records that are stored together or not at all; resolves with an acknowledgement
   * each.
   */
  publishMany(
    records: Iterable<RecordToPublish<PublishedName<Handlers>>>,
    options?: BackpressureOptions,
  ): Promise<Acknowledgement[]>;
  /**
   * How full the intake is. "ok" and "slow": a publish is taken at once. "reject": it waits, or is
   * refused, as `whenFull` says. `stats().intake.level` says why, and how fast it drains.
   */
  readonly level: Level;
  /** Calls `listener` for each event of this name from now on; see `IntakeEvents`. */
  on<Name extends keyof IntakeEvents>(name: Name, listener: (event: IntakeEvents[Name]) => void): void;
  off<Name extends keyof IntakeEvents>(name: Name, listener: (event: IntakeEvents[Name]) => void): void;
  /**
   * A source of many records for one handler, as JSON text, that resumes where it stopped: see
   * `Producer`. Its id names it across runs. Throws `ERR_HANDLER_UNKNOWN`, `ERR_INVALID_OPTION`.
   */
  producer(handler: PublishedName<Handlers>, id: string, options?: ProducerOptions): Promise<Producer>;
  /** The producers of which records are stored: list them, drop those that won't come back. */
  readonly producers: Producers;
  /**
   * What the handler returned for this record, of a handler with `result: "keep"`; waits until the
   * record is done, also one of an earlier process. Rejects with `ERR_RESULT_EXPIRED`,
   * `ERR_RESULT_TOO_LARGE`, `ERR_RESULT_UNSUPPORTED`, and as `Acknowledgement.done` does.
   */
  result(sequence: number): Promise<unknown>;
  /**
   * What has become of the record that a publish resolved with; undefined when no record has this
   * sequence, or had it as far as that is known.
   */
  recordState(sequence: number): Promise<RecordState | undefined>;
  /** Records that failed for the last time: list them, hand them out again, drop them. */
  readonly dead: DeadLetters;
  /**
   * Hands out nothing of this handler until `resume`, across restarts. Resolves when that is
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
   * Ends a schedule; resolves with whether there was one, when that is durable. What it has
   * published stays.
   */
  unschedule(name: string): Promise<boolean>;
  /** All schedules, by name. */
  schedules(): Promise<ScheduleInfo[]>;
  /** Each handler of records: whether they are begun now, how many ended how. */
  handlers(): Promise<readonly HandlerReport[]>;
  /** Where records wait for their turn, by priority. */
  lanes(): Promise<readonly LaneReport[]>;
  readonly handlerNames: readonly string[];
  stats(): MillraceStats;
  /**
   * Whether records are taken and handled, and every reason for doubt, with codes. Costs some loads
   * from shared memory, and never throws; also while the disk hangs, and after the end.
   */
  health(): MillraceHealth;
  /**
   * Publishes recorded payloads again, as new records: `context.record.replay` names the one that
   * each replays. Resolves when they are stored, with counts. A record that came as a duplicate
   * isn't replayed, nor one that is a replay itself. Throws `ERR_INVALID_OPTION`,
   * `ERR_REPLAY_RANGE`, `ERR_HANDLER_UNKNOWN`, `ERR_PRODUCERS_FULL`, what a publish throws, and the
   * signal's reason.
   */
  replay(options?: ReplayOptions): Promise<Replayed>;
  /**
   * Which records are still in the journal, finished ones as well: see `retain`. Throws
   * `ERR_JOURNAL_DAMAGED`.
   */
  retained(): Promise<Retained>;
  /**
   * All metrics as plain values, read from what the threads count anyway: for `metricsText`,
   * `registerMetrics` and exporters of other kinds. Takes about a millisecond.
   */
  metrics(): readonly MetricFamily[];
  /** The journal, to be read. Throws `ERR_INTAKE_ABSENT` without one. */
  readonly journal: JournalView;
  /**
   * The records of the option `trace` so far, as a document for ui.perfetto.dev; undefined without
   * the option.
   */
  trace(): ChromeTrace | undefined;
  /**
   * Resolves when no record can run: all that were acknowledged are finished or dead, or wait for a
   * time, a handler or a command; says how many do. With `all` it waits until none does.
   */
  drain(options?: DrainOptions): Promise<Drained>;
  /**
   * Copies the journal, as far as it is durable now, into an empty or absent directory, while it is
   * in use. The copy opens like the journal after a crash at this moment. Throws
   * `ERR_JOURNAL_STORAGE`, `ERR_JOURNAL_DAMAGED`.
   */
  backup(directory: string): Promise<BackupSummary>;
  /**
   * Takes nothing more, finishes what runs, calls the module's `teardown` in each worker thread,
   * ends the threads. Records that were not delivered stay for the next opening. Idempotent.
   *
   * When `signal` aborts first, or `timeoutMs` are over, `terminate()` ends the rest, and the
   * promise rejects with `ERR_CLOSE_ABORTED`, whose `details.tasks` names the handlers that were
   * alive. Without either, calls are waited for as long as they take, and handlers of records for
   * 10 s: then it rejects so as well, and the records are delivered again. Rejects with
   * `ERR_TEARDOWN_FAILED` when a `teardown` failed, and with `ERR_JOURNAL_POISONED`.
   */
  close(options?: CloseOptions): Promise<void>;
  /**
   * Ends the threads at once. Calls under way reject with `ERR_SCHEDULER_CLOSED`; records whose
   * handlers run are delivered again at the next opening. `teardown` isn't called. Idempotent.
   * Rejects with `ERR_JOURNAL_POISONED` when a write to the disk hangs: that thread stays.
   */
  terminate(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * How long a close without a limit waits for the handlers of records: they are given to handlers
 * again, so nothing is lost when they aren't waited for. Docker and Kubernetes give 10 s and 30 s.
 */
const HANDLERS_MS = 10_000;

const rules = {
  journal: optional(optionsObject<IntakeOptions>()),
  blocking: optional(optionsObject<BlockingOptions>()),
  health: optional(optionsObject<HealthOptions>()),
  onFailure: optional(callback<(error: MillraceError) => void>()),
} satisfies Rules;

/**
 * Starts a runtime. Throws `ERR_INVALID_OPTION`, `ERR_HANDLER_MODULE`, and with a journal
 * `ERR_JOURNAL_LOCKED`, `ERR_JOURNAL_STORAGE`, `ERR_JOURNAL_DAMAGED`, `ERR_JOURNAL_VERSION`.
 */
export function open<Handlers = Record<string, Handler>>(given: MillraceOptions): Promise<Millrace<Handlers>> {
  return withoutContext(() => openRuntime<Handlers>(given));
}

async function openRuntime<Handlers>(given: MillraceOptions): Promise<Millrace<Handlers>> {
  const {
    journal,
    blocking,
    health,
    onFailure = warn,
    ...schedulerOptions
  } = resolveWithScheduler("open", rules, given);
  Blocking.checkOptions(blocking);
  if (journal !== undefined) intakeOptions(journal);
  const healthLimits = healthOptions(health);
  const startTimeoutMs = schedulerOptions.startTimeoutMs as number;
  const request = traceRequest(process.env);
  const forScheduler =
    request === undefined
      ? schedulerOptions
      : { ...schedulerOptions, trace: schedulerOptions.trace || request.records };
  const runtime = (scheduler: Scheduler<Handlers>, intake: Intake<Handlers> | undefined): Runtime<Handlers> =>
    new Runtime(
      scheduler,
      new Blocking(moduleUrl(schedulerOptions.handlers), scheduler.handlerNames, blocking, startTimeoutMs),
      intake,
      // A request sets the option.
      request === undefined ? undefined : new TraceFile(request, () => traceOf(scheduler) as ChromeTrace),
      healthLimits,
    );
  if (journal === undefined) return runtime(await Scheduler.open<Handlers>(forScheduler), undefined);
  const thread = Intake.reserveThread();
  const opening = Scheduler.open<Handlers>({
    ...forScheduler,
    guests: [thread],
    headerReader: Intake.headerReader,
    // Records are delivered before it is open.
    onAsk: async (value): Promise<unknown> => (await intakeOpening).asked(value),
  });
  const guest = opening.then((scheduler) => scheduler.submitterHandle(0));
  const intakeOpening: Promise<Intake<Handlers>> = Intake.open<Handlers>(journal, {
    thread,
    scheduler: guest,
    handlers: { url: moduleUrl(schedulerOptions.handlers), startTimeoutMs },
    onFailure,
    // Attempts are given up only while the scheduler runs them.
    endMachine: (machine, ifBlocked) => void opening.then((scheduler) => scheduler.endMachine(machine, ifBlocked)),
  });
  try {
    const intake = await intakeOpening;
    const scheduler = await opening;
    return runtime(scheduler, intake);
  } catch (thrown) {
    await opening.then(
      (scheduler) => scheduler.terminate(),
      () => {},
    );
    Intake.releaseThread(thread);
    throw thrown;
  }
}

function traceOf<Handlers>(scheduler: Scheduler<Handlers>): ChromeTrace | undefined {
  const rings = scheduler.traceRings;
  return rings === undefined ? undefined : chromeTrace(rings, readTrace(rings), scheduler.handlerNames);
}

function warn(error: MillraceError): void {
  process.emitWarning(error);
}

class Runtime<Handlers> implements Millrace<Handlers> {
  readonly #scheduler: Scheduler<Handlers>;
  readonly #blocking: Blocking<Handlers>;
  readonly #intake: Intake<Handlers> | undefined;
  readonly #traceFile: TraceFile | undefined;
  readonly run: Run<Handlers>;
  readonly blocking: BlockingRun<Handlers>;
  readonly runMany: RunMany<Handlers>;
  readonly parallelMap: ParallelMap<Handlers>;
  readonly parallelReduce: ParallelReduce<Handlers>;
  /** Records wait to be delivered: the process stays until it is told to close. */
  readonly #keepAlive: NodeJS.Timeout | undefined;
  readonly #health: Health;
  #closing: Promise<void> | undefined;
  #terminating: Promise<void> | undefined;

  constructor(
    scheduler: Scheduler<Handlers>,
    blocking: Blocking<Handlers>,
    intake: Intake<Handlers> | undefined,
    traceFile: TraceFile | undefined,
    healthLimits: HealthLimits,
  ) {
    this.#scheduler = scheduler;
    this.#blocking = blocking;
    this.#intake = intake;
    this.#traceFile = traceFile;
    this.run = scheduler.run;
    this.blocking = blocking.run;
    this.runMany = scheduler.runMany;
    this.parallelMap = scheduler.parallelMap;
    this.parallelReduce = scheduler.parallelReduce;
    this.#health = new Health(
      {
        threads: () => scheduler.threads,
        isClosing: () => this.#closing !== undefined || this.#terminating !== undefined,
        directory: intake?.journal.directory,
        vitals: () => intake?.vitals(),
      },
      healthLimits,
    );
    if (intake === undefined) return;
    intake.metrics = () => this.metrics();
    this.#keepAlive = setInterval(() => {}, 2 ** 30);
  }

  get publish(): Publish<Handlers> {
    return this.#theIntake("publish").publish;
  }

  get handlerNames(): readonly string[] {
    return this.#scheduler.handlerNames;
  }

  stats(): MillraceStats {
    return {
      scheduler: this.#scheduler.stats(),
      blocking: this.#blocking.stats(),
      intake: this.#intake?.stats(),
    };
  }

  health(): MillraceHealth {
    return this.#health.now();
  }

  metrics(): readonly MetricFamily[] {
    const startedMs = performance.now();
    const health = this.health();
    return familiesOf({
      version: version(),
      startedMs,
      ...this.stats(),
      health,
      isUp: (group) => isUp(group, health),
      oldestMs: this.#intake?.vitals().oldestMs ?? 0,
      freeBytes: this.#health.freeBytes,
      eventLoopDelayMs: this.#health.eventLoopDelayMs,
      histograms: { ...this.#scheduler.histograms(), ...this.#intake?.histograms() },
    });
  }

  get journal(): JournalView {
    return this.#theIntake("journal").journal;
  }

  async replay(options: ReplayOptions = {}): Promise<Replayed> {
    return await this.#theIntake("replay").replay(options);
  }

  async retained(): Promise<Retained> {
    return await this.#theIntake("retained").retained();
  }

  trace(): ChromeTrace | undefined {
    return traceOf(this.#scheduler);
  }

  get tryPublish(): Publish<Handlers, RecordOptions> {
    return this.#theIntake("tryPublish").tryPublish;
  }

  async publishMany(
    records: Iterable<RecordToPublish<PublishedName<Handlers>>>,
    options?: BackpressureOptions,
  ): Promise<Acknowledgement[]> {
    return this.#theIntake("publishMany").publishMany(records, options);
  }

  get level(): Level {
    return this.#theIntake("level").level;
  }

  on<Name extends keyof IntakeEvents>(name: Name, listener: (event: IntakeEvents[Name]) => void): void {
    this.#theIntake("on").events.on(name, listener);
  }

  off<Name extends keyof IntakeEvents>(name: Name, listener: (event: IntakeEvents[Name]) => void): void {
    this.#theIntake("off").events.off(name, listener);
  }

  async producer(handler: PublishedName<Handlers>, id: string, options?: ProducerOptions): Promise<Producer> {
    return await this.#theIntake("producer").producer(handler, id, options);
  }

  get producers(): Producers {
    return this.#theIntake("producers").producers;
  }

  async result(sequence: number): Promise<unknown> {
    return await this.#theIntake("result").result(sequence);
  }

  async recordState(sequence: number): Promise<RecordState | undefined> {
    return await this.#theIntake("recordState").recordState(sequence);
  }

  get dead(): DeadLetters {
    return this.#theIntake("dead").dead;
  }

  async pause(handler: PublishedName<Handlers>): Promise<void> {
    await this.#theIntake("pause").pause(handler);
  }

  async resume(handler: PublishedName<Handlers>): Promise<void> {
    await this.#theIntake("resume").resume(handler);
  }

  async schedule(name: string, options: ScheduleOptions<PublishedName<Handlers>>): Promise<void> {
    await this.#theIntake("schedule").schedule(name, options);
  }

  async unschedule(name: string): Promise<boolean> {
    return this.#theIntake("unschedule").unschedule(name);
  }

  async schedules(): Promise<ScheduleInfo[]> {
    return this.#theIntake("schedules").schedules();
  }

  async handlers(): Promise<readonly HandlerReport[]> {
    return this.#theIntake("handlers").handlers();
  }

  async lanes(): Promise<readonly LaneReport[]> {
    return this.#theIntake("lanes").lanes();
  }

  async drain(options?: DrainOptions): Promise<Drained> {
    return this.#theIntake("drain").drain(options);
  }

  async backup(directory: string): Promise<BackupSummary> {
    return await this.#theIntake("backup").backup(directory);
  }

  async close(options?: CloseOptions): Promise<void> {
    const limits = closeLimits(options);
    const isLimited = limits.signal !== undefined || limits.timeoutMs !== undefined;
    this.#closing ??= this.#close(isLimited ? undefined : HANDLERS_MS);
    const overdue = await isOverdue(this.#closing, limits);
    if (overdue === undefined) return await this.#closing;
    const tasks = this.#tasksAlive();
    await this.terminate();
    throw closeAborted(tasks, overdue.reason);
  }

  terminate(): Promise<void> {
    this.#terminating ??= this.#terminate();
    return this.#terminating;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /**
   * The journal is last: as long as a thread may run a handler, no other process may open the
   * directory.
   */
  async #close(handlersMs: number | undefined): Promise<void> {
    this.#scheduler.refuseCalls();
    this.#blocking.refuseCalls();
    const [stopped] = await Promise.allSettled([this.#stopIntake(handlersMs)]);
    const outcomes: PromiseSettledResult<unknown>[] = [stopped];
    outcomes.push(...(await Promise.allSettled([this.#scheduler.close(), this.#blocking.close()])));
    outcomes.push(...(await Promise.allSettled([this.#intake?.close()])));
    this.#ended();
    throwFirst(outcomes);
  }

  /** Waits for the handlers of records, for `limitMs` at most; rejects with what is left then. */
  async #stopIntake(limitMs: number | undefined): Promise<void> {
    if (this.#intake === undefined) return;
    const stopped = this.#intake.stop();
    const overdue = limitMs === undefined ? undefined : await isOverdue(stopped, { timeoutMs: limitMs });
    const tasks = overdue === undefined ? [] : this.#tasksAlive();
    if (overdue !== undefined) this.#intake.abandon();
    await stopped;
    if (overdue !== undefined) throw closeAborted(tasks, overdue.reason);
  }

  async #terminate(): Promise<void> {
    const outcomes: PromiseSettledResult<unknown>[] = await Promise.allSettled([
      this.#intake?.stopNow(),
      this.#scheduler.terminate(),
      this.#blocking.terminate(),
    ]);
    outcomes.push(...(await Promise.allSettled([this.#intake?.closeSoon()])));
    this.#ended();
    throwFirst(outcomes);
  }

  #tasksAlive(): TasksAlive[] {
    return [...this.#scheduler.tasksAlive(), ...this.#blocking.tasksAlive()];
  }

  #ended(): void {
    this.#traceFile?.write();
    this.#health.stop();
    clearInterval(this.#keepAlive);
  }

  #theIntake(what: string): Intake<Handlers> {
    if (this.#intake !== undefined) return this.#intake;
    throw intakeError(
      "ERR_INTAKE_ABSENT",
      `${what} needs the option "journal": this runtime was opened for parallel calls only`,
    );
  }
}

function throwFirst(outcomes: readonly PromiseSettledResult<unknown>[]): void {
  for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
}
