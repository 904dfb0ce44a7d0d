/** The intake as its user sees it: publish records, learn what became of them, command, end it. */
import { decode } from "@millrace/codec";
import { type BackupSummary, type Journal, RECORD_TYPE } from "@millrace/journal";
import type { Histogram } from "@millrace/metrics";
import { bindHandlers, type CallOf, type Handler, type HandlerOf, type ResultOf } from "@millrace/scheduler";
import { ThreadTable } from "@millrace/atomics-sync";
import { ControlServer } from "../control/server.ts";
import type { HandlerReport, LaneReport } from "../delivery/reports.ts";
import { scheduleRefused } from "../delivery/schedules.ts";
import type {
  BackpressureOptions,
  PublishedName,
  PublishedNow,
  PublishedNowAnswer,
  PublishOptions,
  RecordOptions,
  RecordToPublish,
} from "../format/publication.ts";
import { termsOf } from "../format/record-header.ts";
import { DeadLetters } from "../letters/dead-letters.ts";
import { replay, type Replayed, type ReplayHost, type ReplayOptions } from "../replay/replay.ts";
import { shadow, type ShadowOptions } from "../shadow/shadow.ts";
import type { ShadowReport } from "../shadow/report.ts";
import { isHeard, PUBLISH, tellPublish } from "../spans/channels.ts";
import type { PublishCall, Spans } from "../spans/spans.ts";
import type { WindowLimits } from "../states/dedupe-window.ts";
import type { RecordState } from "../states/record-states.ts";
import type { Acknowledgement } from "./acknowledgement.ts";
import { type DrainOptions, Ending } from "./ending.ts";
import type { Events } from "./events.ts";
import { type JournalView, journalView } from "./journal-view.ts";
import { headerReader, type IntakeParts, type IntakeSeat, openParts } from "./opening.ts";
import { type IntakeOptions, intakeOptions } from "./options.ts";
import { Producer, type ProducerHost, type ProducerOptions } from "./producer.ts";
import type { Producers } from "./producers.ts";
import { retained, type Retained } from "./retained.ts";
import {
  checkScheduleName,
  scheduleDefinition,
  scheduleInfo,
  type ScheduleInfo,
  type ScheduleOptions,
} from "./schedules.ts";
import { type Drained, type IntakeStats, intakeStats, type IntakeVitals, intakeVitals } from "./stats.ts";
import type { Level } from "./water.ts";

/** The handlers of a module, as calls that publish. */
export type Publish<Handlers, Options = PublishOptions> = {
  readonly [Name in PublishedName<Handlers>]: CallOf<
    HandlerOf<Handlers, Name>,
    Options,
    Acknowledgement<ResultOf<HandlerOf<Handlers, Name>>>
  >;
};

export class Intake<Handlers = Record<string, Handler>> {
  readonly #parts: IntakeParts;
  readonly #ending: Ending;
  readonly #dedupe: WindowLimits;
  readonly #spans: Spans | undefined;

  /** Publishing by handler name: `await intake.publish.settle(payment)`. */
  readonly publish: Publish<Handlers>;
  /** The same, but never waits: rejects at once with `ERR_INTAKE_FULL` when the intake is full. */
  readonly tryPublish: Publish<Handlers, RecordOptions>;
  readonly events: Events;
  /**
   * The metrics of the whole runtime, for the control socket. The runtime sets this once it is
   * there.
   */
  metrics: () => readonly object[] = () => [];
  readonly producers: Producers;
  readonly dead: DeadLetters;
  /** The journal, to be read. */
  readonly journal: JournalView;

  private constructor(parts: IntakeParts, dedupe: WindowLimits, spans: Spans | undefined) {
    const { journal, delivery, admission, redactor } = parts;
    this.#parts = parts;
    this.#spans = spans;
    if (spans !== undefined) spans.traceOfRecord = (sequence) => this.#traceOf(sequence);
    this.#dedupe = dedupe;
    this.#ending = new Ending(parts);
    this.publish = this.#publishing("publish");
    this.tryPublish = this.#publishing("tryPublish");
    this.events = parts.events;
    this.producers = parts.producers;
    this.journal = journalView(journal, redactor);
    this.dead = new DeadLetters({
      get: (place) => journal.get(place),
      scan: (query, behind) => delivery.command({ kind: "scanDead", query, behind }),
      find: (sequence) => delivery.command({ kind: "findDead", sequence }),
      redrive: (letters, handler) => delivery.command({ kind: "redrive", letters, handler }),
      drop: (letters) => delivery.command({ kind: "drop", letters }),
      mustBeHandler: (name) => admission.mustBeHandler(name),
      redacted: (handler, value) => redactor.redacted(handler, value),
    });
  }

  /** Reserves the number of the delivery thread: the scheduler must know it as a guest. */
  static reserveThread(): number {
    return ThreadTable.current().reserve();
  }

  /** Gives that number back, of an opening that failed: once the scheduler has ended. */
  static releaseThread(thread: number): void {
    ThreadTable.current().release(thread);
  }

  /**
   * The module that gives handlers their records, for the scheduler's option `headerReader`.
   * `spans`: as in the intake's seat.
   */
  static headerReader(spans?: Spans): URL {
    return headerReader(spans);
  }

  /**
   * Opens the journal, reads which records are unfinished, and begins to deliver them. Throws the
   * journal's errors, `ERR_INVALID_OPTION`, and what kept the scheduler from opening.
   */
  static async open<Handlers = Record<string, Handler>>(
    given: IntakeOptions,
    seat: IntakeSeat,
  ): Promise<Intake<Handlers>> {
    const options = intakeOptions(given);
    const { directory } = options.forJournal;
    const parts = await openParts(options, seat);
    const intake = new Intake<Handlers>(parts, options.forDelivery.dedupe, seat.spans);
    await parts.producers.begin();
    parts.publisher.begin();
    parts.events.begin();
    if (options.forControl.isListening && directory !== undefined) await intake.#listen(directory);
    return intake;
  }

  /** An intake without a control socket works all the same. */
  async #listen(directory: string): Promise<void> {
    const running = {
      stats: () => this.stats(),
      health: () => this.#parts.journal.health(),
      metrics: () => this.metrics(),
      schedules: () => this.schedules(),
      drain: (options: DrainOptions) => this.drain(options),
    };
    const { dead } = this;
    const pause = (handler: string): Promise<void> => this.pause(handler);
    const resume = (handler: string): Promise<void> => this.resume(handler);
    const again = (options: ReplayOptions): Promise<Replayed> => this.replay(options);
    try {
      this.#ending.control = await ControlServer.listen(directory, { dead, pause, resume, replay: again, running });
    } catch (thrown) {
      process.emitWarning(thrown as Error);
    }
  }

  /** The range of records that are still in the journal: see the option `retain`. */
  retained(): Promise<Retained> {
    return retained(this.#parts.journal);
  }

  /** The part of `stats` that is for health checks: some loads from shared memory. */
  vitals(): IntakeVitals {
    return intakeVitals(this.#parts);
  }

  /**
   * From the call of a publish to its acknowledgement in µs, of one in 64; and the journal's. For
   * exporters.
   */
  histograms(): ReturnType<Journal["histograms"]> & { readonly acknowledgeMicroseconds: Histogram } {
    const { journal, publisher } = this.#parts;
    return { ...journal.histograms(), acknowledgeMicroseconds: publisher.acknowledgeMicroseconds };
  }

  stats(): IntakeStats {
    return intakeStats(this.#parts);
  }

  // ── publishing ────────────────────────────────────────────────────────────────────────────────

  /**
   * Publishes records that are stored together or not at all; resolves when they are on disk, with
   * an acknowledgement each. Rejects as `publish` does. A group over the limits of a batch is
   * refused with `ERR_JOURNAL_RECORD_TOO_LARGE` before anything is stored. When the idempotency key
   * of one belongs to another payload, none is handled: `ERR_IDEMPOTENCY_MISMATCH`, whose
   * `details.member` counts from 0.
   */
  publishMany(records: Iterable<RecordToPublish>, options?: BackpressureOptions): Promise<Acknowledgement[]> {
    const publish = (each: Iterable<RecordToPublish>): Promise<Acknowledgement[]> =>
      this.#parts.publisher.publishMany(each, options);
    if (this.#spans === undefined || typeof records?.[Symbol.iterator] !== "function") return publish(records);
    return this.#spans.publishingMany(records, (each) => publish(each as Iterable<RecordToPublish>));
  }

  #publishing(call: "publish" | "tryPublish"): Publish<Handlers> {
    const { admission, publisher } = this.#parts;
    return bindHandlers(admission.handlerNames, (name) => {
      const plain: PublishCall<Acknowledgement> = (record, given, admitted) =>
        publisher[call](name, record, given, admitted);
      const publish = this.#spans === undefined ? plain : this.#spans.publishing(name, plain);
      return (record: unknown, given?: PublishOptions) =>
        isHeard(PUBLISH) ? tellPublish(name, () => publish(record, given)) : publish(record, given);
    }) as Publish<Handlers>;
  }

  /** "ok", "slow" or "reject": whether a publish is taken at once. */
  get level(): Level {
    return this.#parts.publisher.level;
  }

  /** As `level`, for publishes to one handler. Throws `ERR_HANDLER_UNKNOWN`. */
  levelOf(handler: string): Level {
    const { admission, publisher } = this.#parts;
    admission.mustBeHandler(handler);
    return publisher.levelOf(handler);
  }

  /**
   * A source of many records for `handler`, as JSON text. `id` names the source; records with a
   * sequence of it that is durable are never delivered twice. Throws `ERR_HANDLER_UNKNOWN`,
   * `ERR_INVALID_OPTION`, `ERR_PRODUCERS_FULL`.
   */
  async producer(handler: string, id: string, options: ProducerOptions = {}): Promise<Producer> {
    const { admission, delivery, journal, publisher } = this.#parts;
    admission.mustBeOpen();
    admission.mustBeHandler(handler);
    const known = await delivery.command({ kind: "producer", id });
    this.producers.admit(id);
    const host: ProducerHost = {
      recordBytesMax: journal.partsBytesMax,
      append: (records, waiter) => publisher.appendGroup(records, waiter),
    };
    return new Producer(host, handler, id, known, options);
  }

  /** Carries out a handler's request: to publish at once. */
  async asked(value: unknown): Promise<PublishedNowAnswer> {
    const [handler, payload, options] = value as PublishedNow;
    const plain: PublishCall<Acknowledgement> = (record, given) =>
      this.#parts.publisher.publishNow(handler, record, given);
    const publish = this.#spans === undefined ? plain : this.#spans.publishing(handler, plain);
    const { sequence, duplicate } = await publish(decode(payload), options);
    return { sequence, duplicate };
  }

  /**
   * The result of the handler for this record, if the handler has `result: "keep"`. Waits until the
   * record is done. Works after a restart, too. Rejects as `Acknowledgement.result` does, and with
   * `ERR_INVALID_OPTION` for a sequence that isn't there.
   */
  result(sequence: number): Promise<unknown> {
    return this.#parts.questions.readResult(sequence);
  }

  /** Publishes recorded payloads again, as new records. See `Millrace.replay`. */
  async replay(options: ReplayOptions): Promise<Replayed> {
    const { admission, delivery, journal, producers, publisher } = this.#parts;
    admission.mustBeOpen();
    const host: ReplayHost = {
      journal,
      dedupe: this.#dedupe,
      producer: (id) => delivery.command({ kind: "producer", id }),
      admit: (id) => producers.admit(id),
      dropProducer: (id) => producers.drop(id),
      append: (records, waiter, signal) => publisher.appendPatiently(records, waiter, signal),
      // It has to have room for its dead letters as well.
      mustBeHandler: (name) => void admission.headerOf(name),
    };
    return await replay(host, options);
  }

  /** Recorded records through another module's handlers. See `Millrace.shadow`. */
  async shadow(options: ShadowOptions): Promise<ShadowReport> {
    const { admission, journal, redactor } = this.#parts;
    admission.mustBeOpen();
    const host = {
      log: journal,
      logId: journal.logId,
      dedupe: this.#dedupe,
      recordBytesMax: journal.partsBytesMax,
      redacted: (handler: string, value: unknown) => redactor.redacted(handler, value),
    };
    return await shadow(host, options);
  }

  /**
   * The state of the record with this sequence; undefined if no record of a handler has it, or had
   * it, as far as is known.
   */
  async recordState(sequence: number): Promise<RecordState | undefined> {
    const { journal, delivery } = this.#parts;
    if (delivery.isOver) throw delivery.endError();
    if (!Number.isSafeInteger(sequence) || sequence < 1 || sequence > journal.durableSequence) return undefined;
    const record = sequence < journal.firstSequence ? undefined : await journal.get(sequence);
    if (record !== undefined && record.type !== RECORD_TYPE.data) return undefined;
    return delivery.command({ kind: "recordState", sequence });
  }

  /** The trace context of a record; undefined without, or when it was given up. */
  async #traceOf(sequence: number): Promise<string | undefined> {
    const record = await this.#parts.journal.get(sequence);
    return record === undefined ? undefined : termsOf(record.header).trace;
  }

  // ── commands ──────────────────────────────────────────────────────────────────────────────────

  /**
   * Nothing of this handler is begun until `resume`, across restarts. Resolves when that is
   * durable.
   */
  pause(handler: string): Promise<void> {
    return this.#pauseOrResume("pause", handler);
  }

  resume(handler: string): Promise<void> {
    return this.#pauseOrResume("resume", handler);
  }

  #pauseOrResume(kind: "pause" | "resume", handler: string): Promise<void> {
    this.#parts.admission.mustBeHandler(handler);
    return this.#parts.delivery.command({ kind, handler });
  }

  /**
   * Publishes a record whenever it is due, across restarts, until `unschedule`. The same definition
   * again changes nothing; another one replaces it. Resolves when that is durable. Throws
   * `ERR_INVALID_OPTION`, `ERR_HANDLER_UNKNOWN`, `ERR_SCHEDULE_REFUSED`.
   */
  async schedule(name: string, options: ScheduleOptions): Promise<void> {
    const definition = scheduleDefinition(name, options);
    this.#parts.admission.mustBeHandler(definition.handler);
    const refusal = await this.#parts.delivery.command({ kind: "schedule", name, definition });
    if (refusal !== undefined) throw scheduleRefused(name, refusal);
  }

  /**
   * Ends a schedule. Resolves with whether there was one, when its end is durable. The records that
   * it has published stay.
   */
  async unschedule(name: string): Promise<boolean> {
    checkScheduleName(name);
    return this.#parts.delivery.command({ kind: "unschedule", name });
  }

  /** All schedules, by name. */
  async schedules(): Promise<ScheduleInfo[]> {
    const reports = await this.#parts.delivery.command({ kind: "schedules" });
    return reports.map((report) => scheduleInfo(report)).toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }

  // ── looking ───────────────────────────────────────────────────────────────────────────────────

  /** Each handler, and whether its records are begun now. */
  handlers(): Promise<readonly HandlerReport[]> {
    return this.#parts.delivery.command({ kind: "handlers" });
  }

  /** Where records wait for their turn. */
  lanes(): Promise<readonly LaneReport[]> {
    return this.#parts.delivery.command({ kind: "lanes" });
  }

  // ── the end ───────────────────────────────────────────────────────────────────────────────────

  /**
   * Resolves when no record can run: everything that was acknowledged before the call is finished
   * or dead, or waits for a time, a handler or a command; says how many do. With `all` it waits
   * until none does.
   */
  drain(options: DrainOptions = {}): Promise<Drained> {
    return this.#ending.drain(options);
  }

  /**
   * Copies everything that is durable now into an empty or absent directory; nothing is deleted
   * meanwhile.
   */
  backup(directory: string): Promise<BackupSummary> {
    return this.#parts.journal.backup(directory);
  }

  /**
   * Takes no more records, lets running handlers finish, makes all acknowledgements durable.
   * Records that were not delivered stay in the journal for the next opening. Idempotent.
   */
  stop(): Promise<void> {
    return this.#ending.stop();
  }

  /**
   * `stop` waits for no handler any more. The next opening delivers the records that handlers have
   * in hand again. They are under no suspicion there: the log says that this process has ended in
   * order.
   */
  abandon(): void {
    this.#parts.delivery.abandon();
  }

  /**
   * As `stop`, but waits for no handler, and no longer than a second for the disk: then the
   * delivery thread is ended, and the next opening finds an end without a word.
   */
  stopNow(): Promise<void> {
    return this.#ending.stopNow();
  }

  /**
   * Closes the journal, after `stop`; the directory is free then. No thread may run a handler any
   * more. Idempotent.
   */
  close(): Promise<void> {
    return this.#ending.close();
  }

  /**
   * As `close`, for a disk that may hang: appends under way reject with `ERR_JOURNAL_UNCERTAIN`
   * after a while, and so does this promise if the write doesn't return. The directory stays locked
   * then.
   */
  closeSoon(): Promise<void> {
    return this.#ending.closeSoon();
  }
}
