/**
 * A running runtime: scheduler, blocking calls and intake as one object, and the order in which
 * they end.
 */
import { clearInterval, performance, setInterval } from "@millrace/base";
import type { BackupSummary } from "@millrace/journal";
import {
  type Acknowledgement,
  type BackpressureOptions,
  type DeadLetters,
  type Drained,
  type DrainOptions,
  type HandlerReport,
  type Intake,
  intakeError,
  type IntakeEvents,
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
  type ShadowOptions,
  type ShadowReport,
  type Spans,
  tell,
} from "@millrace/intake";
import type { MetricFamily } from "@millrace/metrics";
import type { Blocking, BlockingRun } from "@millrace/pool";
import {
  type ChromeTrace,
  closeAborted,
  closeLimits,
  type CloseOptions,
  isOverdue,
  type ParallelMap,
  type ParallelReduce,
  type Run,
  type RunMany,
  type Scheduler,
  type TasksAlive,
} from "@millrace/scheduler";
import { isUp } from "./health/groups.ts";
import { Health, type HealthLimits, type MillraceHealth } from "./health/health.ts";
import { version } from "./health/version.ts";
import { familiesOf } from "./metrics/metrics.ts";
import type { Millrace, MillraceStats } from "./millrace.ts";
import { type TraceFile, traceOf } from "./trace-file.ts";
import { watchedCalls } from "./watched-calls.ts";

/**
 * How long a close without a limit waits for the handlers of records: they are given to handlers
 * again, so nothing is lost when they aren't waited for. Docker and Kubernetes give 10 s and 30 s.
 */
const HANDLERS_MS = 10_000;

export class Runtime<Handlers> implements Millrace<Handlers> {
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
    spans: Spans | undefined,
  ) {
    this.#scheduler = scheduler;
    this.#blocking = blocking;
    this.#intake = intake;
    this.#traceFile = traceFile;
    const { handlerNames } = scheduler;
    this.run = watchedCalls("run", handlerNames, scheduler.run, spans);
    this.blocking = watchedCalls("blocking", handlerNames, blocking.run, spans);
    this.runMany = watchedCalls("runMany", handlerNames, scheduler.runMany, spans);
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
    tell("open", () => ({ handlerNames: this.handlerNames, directory: intake?.journal.directory }));
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

  async shadow(options: ShadowOptions): Promise<ShadowReport> {
    return await this.#theIntake("shadow").shadow(options);
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

  levelOf(handler: string): Level {
    return this.#theIntake("levelOf").levelOf(handler);
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
    tell("close", () => ({ handlerNames: this.handlerNames, directory: this.#intake?.journal.directory }));
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
