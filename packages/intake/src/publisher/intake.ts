/** The intake as the opener sees it: publish records, learn what became of them, end in order. */
import type { Worker } from "node:worker_threads";
import {
  clearTimeout,
  isMillraceError,
  messageOf,
  type MillraceError,
  setTimeout,
  startThread,
  workerUrl,
  abortSignal,
  boolean,
  optional,
  resolveOptions,
  type Rules,
} from "@millrace/base";
import { Reactor, ThreadTable, unpark } from "@millrace/atomics-sync";
import { decode, encodeThrown } from "@millrace/codec";
import { type BackupSummary, Journal, type JournalStats, type JournalVitals } from "@millrace/journal";
import type { Histogram } from "@millrace/metrics";
import { Quarantine } from "@millrace/pool";
import {
  bindHandlers,
  type CallOf,
  type Handler,
  type HandlerOf,
  type ResultOf,
  type SubmitterHandle,
  unknownHandler,
} from "@millrace/scheduler";
import { CELLS, COMMANDS, controlBytes, STATS_BYTES } from "../delivery/control.ts";
import type { DeadPiece } from "../delivery/dead-scan.ts";
import type { Checkpoint } from "../delivery/housekeeping.ts";
import { scheduleRefused, type ScheduleRefusal, type ScheduleReport } from "../delivery/schedules.ts";
import type { Command, DeliveryData, DeliveryOptions, DeliveryOrder, DeliveryReport } from "../delivery/messages.ts";
import { ABANDONING, DRAINING, StateWord, STOPPED } from "../delivery/state-word.ts";
import { intakeError } from "../errors.ts";
import type {
  BackpressureOptions,
  PublishedName,
  PublishedNow,
  PublishedNowAnswer,
  PublishOptions,
  RecordToPublish,
} from "../format/publication.ts";
import { encodeHandler } from "../format/record-header.ts";
import { lastError } from "../format/state-records.ts";
import type { KeptResult } from "../states/results.ts";
import type { Acknowledgement } from "./acknowledgement.ts";
import { intakeOptions, type IntakeOptions, type PublisherOptions } from "./options.ts";
import { type JournalView, journalView } from "./journal-view.ts";
import { DeadLetters } from "../letters/dead-letters.ts";
import { ControlServer } from "../control/server.ts";
import { Redactor, storeRules } from "../letters/redact.ts";
import { Events } from "./events.ts";
import { Publisher } from "./publisher.ts";
import { type ProducerInfo, Producers } from "./producers.ts";
import { Producer, type ProducerHost, type ProducerOptions } from "./producer.ts";
import type { ProducerSnapshot } from "../states/producer-state.ts";
import { Questions } from "./questions.ts";
import { readResult } from "./results.ts";
import { retained, type Retained } from "./retained.ts";
import {
  checkScheduleName,
  scheduleDefinition,
  scheduleInfo,
  type ScheduleInfo,
  type ScheduleOptions,
} from "./schedules.ts";
import type { Level, LevelReport } from "./water.ts";

/** The handlers of a module, as calls that publish. */
export type Publish<Handlers> = {
  readonly [Name in PublishedName<Handlers>]: CallOf<
    HandlerOf<Handlers, Name>,
    PublishOptions,
    Acknowledgement<ResultOf<HandlerOf<Handlers, Name>>>
  >;
};

export interface IntakeStats {
  readonly state: "running" | "draining" | "stopped";
  /**
   * Records that publishing has stored, duplicates among them, and those that were refused because
   * the intake was full; since the opening.
   */
  readonly stored: number;
  readonly refused: number;
  /**
   * Attempts started, records done, attempts that failed and are repeated, records dead; since the
   * opening.
   */
  readonly delivered: number;
  readonly done: number;
  readonly retried: number;
  readonly dead: number;
  /** Records that expired or were dropped, and records whose key came before; since the opening. */
  readonly expired: number;
  readonly duplicates: number;
  /** Records in hand now. */
  readonly running: number;
  /** Records that wait for a time now: their next attempt, or their first. */
  readonly waitingRetries: number;
  /** Of those, how many wait on the disk, since the memory keeps 65,536 of each kind. */
  readonly waitingOnDisk: number;
  /** Records that wait behind others of their key. */
  readonly keyWaiting: number;
  /** Records in memory whose handler is paused, at a limit or resting. */
  readonly held: number;
  /** Records in memory for handlers that aren't there. */
  readonly parked: number;
  /** Records that may have ended an earlier process, and weren't tried yet. */
  readonly suspects: number;
  /** Records that schedules have published; since the opening. */
  readonly scheduled: number;
  /** Everything up to here is finished. */
  readonly finishedUpTo: number;
  /** Records that waited in the journal when it was opened. */
  readonly recovered: number;
  /** Whether a lane reads from the segments now. */
  readonly isReadingSegments: boolean;
  /**
   * Records that were written again at the end of the log so that older ones could be deleted;
   * since the opening.
   */
  readonly copiedForward: number;
  /** Dead records that are kept in the journal. */
  readonly deadKept: number;
  /** Their bytes in the journal, and the records that wait for room among them. */
  readonly deadBytes: number;
  readonly deadWaiting: number;
  /**
   * Idempotency keys that are remembered, and those that left before their time because there were
   * too many.
   */
  readonly dedupeKeys: number;
  readonly dedupeEvicted: number;
  /** Records that were published and aren't finished. */
  readonly unfinished: number;
  /** How often a handler kept failing, and rested; since the opening. */
  readonly breakersOpened: number;
  /** How full the intake is. */
  readonly level: LevelReport;
  /** Publishes that wait because it is full. */
  readonly waitingPublishes: number;
  /** The first sequence that is still in the journal. */
  readonly firstSequence: number;
  /**
   * Why the latest checkpoint, or the deletion after it, failed; undefined when it didn't. It is
   * tried again.
   */
  readonly checkpointError: string | undefined;
  readonly journal: JournalStats;
}

export interface DrainOptions {
  readonly signal?: AbortSignal;
  /** Wait for what waits for a time, a handler or a command as well. Default false. */
  readonly all?: boolean;
}

const drainRules = { signal: optional(abortSignal()), all: boolean(false) } satisfies Rules;

/** What health checks look at. */
export interface IntakeVitals {
  readonly journal: JournalVitals;
  readonly isDeliveryRunning: boolean;
  readonly level: Level;
  /** When the oldest record was published that waits for its turn, ms since 1970; 0 for none. */
  readonly oldestMs: number;
  readonly deadLetters: number;
  readonly unroutable: number;
}

/** How long an end at once waits for the delivery thread's last records, and for the journal. */
const STOP_MS = 1000;
const DISK_MS = 3000;
/** How often `drain({ all: true })` looks again. */
const LOOK_MS = 20;

/** A module with handlers, and how long it may take to load. */
interface HandlersModule {
  readonly url: string;
  readonly startTimeoutMs: number;
}

/** Who has given the delivery thread a command. */
interface Asked {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** What is left when `drain` resolves. */
export interface Drained {
  /** Records that wait for their next attempt. */
  readonly waitingRetry: number;
  /** Records that wait for their first time. */
  readonly scheduled: number;
  /** Records whose handler is paused, at a limit or resting. */
  readonly paused: number;
  /** Records for handlers that aren't there. */
  readonly unroutable: number;
}

export class Intake<Handlers = Record<string, Handler>> {
  readonly #journal: Journal;
  readonly #words: Int32Array;
  readonly #state: StateWord;
  readonly #cells: Float64Array;
  readonly #threads: ThreadTable;
  readonly #deliveryThread: number;
  readonly #delivery: Worker;
  readonly #deliveryExited: Promise<void>;
  readonly #questions: Questions;
  readonly #publisher: Publisher;
  readonly #quarantine: Quarantine;
  readonly #names: readonly string[];
  readonly #headers = new Map<string, Uint8Array>();
  readonly #onFailure: (error: MillraceError) => void;
  readonly #commands = new Map<number, Asked>();
  #nextCommand = 1;
  /** Handlers with records that wait for room among the dead letters. */
  #fullHandlers: ReadonlySet<string> = new Set();
  #control: ControlServer | undefined;
  #deliveryError: unknown;
  #isDeliveryOver = false;
  /** Until the delivery thread is ready, its end is reported by `open`. */
  #isOpen = false;
  #stopping: Promise<void> | undefined;
  #closing: Promise<void> | undefined;
  #view: JournalView | undefined;
  #isTerminated = false;
  #checkpointing: Promise<void> | undefined;
  #checkpointError: unknown;

  /** Publishing by handler name: `await intake.publish.settle(payment)`. */
  readonly publish: Publish<Handlers>;
  /** The same, but never waits: rejects at once with `ERR_INTAKE_FULL` when the intake is full. */
  readonly tryPublish: Publish<Handlers>;
  readonly events: Events = new Events();
  /** Called when a thread is to end, because attempts that were given up hold it. */
  onEndMachine: (machine: number, ifBlocked: boolean) => void = () => {};
  readonly producers: Producers;
  readonly dead: DeadLetters;

  private constructor(
    parts: { readonly journal: Journal; readonly scheduler: SubmitterHandle; readonly delivery: Worker },
    options: DeliveryOptions,
    forPublisher: PublisherOptions,
    redactor: Redactor,
    handlers: HandlersModule,
    onFailure: (error: MillraceError) => void,
  ) {
    const { journal, scheduler, delivery } = parts;
    const words = new SharedArrayBuffer(controlBytes());
    const stats = new SharedArrayBuffer(STATS_BYTES);
    this.#journal = journal;
    this.#words = new Int32Array(words);
    this.#state = new StateWord(this.#words);
    this.#cells = new Float64Array(stats);
    this.#threads = ThreadTable.current();
    this.#deliveryThread = scheduler.thread;
    this.#names = scheduler.handlerNames;
    this.#onFailure = onFailure;
    this.#questions = new Questions(words, this.#threads.words, scheduler.thread, Reactor.current());
    this.#quarantine = new Quarantine(handlers.url, Intake.headerReader, handlers.startTimeoutMs);
    this.#delivery = delivery;
    this.#delivery.on("error", (thrown) => (this.#deliveryError = thrown));
    this.#deliveryExited = new Promise((resolve) => {
      this.#delivery.once("exit", () => {
        this.#deliveryIsOver();
        resolve();
      });
    });
    for (const name of this.#names) this.#headers.set(name, encodeHandler(name));
    this.#questions.readResult = (sequence) => this.result(sequence);
    this.#publisher = new Publisher(
      {
        journal,
        questions: this.#questions,
        words: this.#words,
        cells: this.#cells,
        mustBeOpen: () => this.#mustBeOpen(),
        headerOf: (name) => this.#headerOf(name),
        admitProducer: (id) => this.producers.admit(id),
        levelChanged: (report) => this.events.emit("level", report),
      },
      forPublisher,
    );
    this.producers = new Producers(
      {
        list: () => this.#command({ kind: "producers" }) as Promise<readonly ProducerInfo[]>,
        drop: (id) => this.#commandDone({ kind: "dropProducer", id }),
      },
      forPublisher.producersMax,
    );
    this.publish = this.#publishing(false);
    this.tryPublish = this.#publishing(true);
    this.dead = new DeadLetters({
      get: (place) => journal.get(place),
      scan: (query, behind) => this.#command({ kind: "scanDead", query, behind }) as Promise<DeadPiece>,
      find: (sequence) => this.#command({ kind: "findDead", sequence }) as Promise<DeadPiece>,
      redrive: (letters, handler) => this.#commandDone({ kind: "redrive", letters, handler }),
      drop: (letters) => this.#commandDone({ kind: "drop", letters }),
      mustBeHandler: (name) => this.#mustBeHandler(name),
      redacted: (handler, value) => redactor.redacted(handler, value),
    });
    this.#delivery.postMessage({
      journal: journal.deliveryHandle(),
      scheduler,
      options,
      words,
      stats,
    } satisfies DeliveryData);
  }

  /** Reserves the number of the delivery thread: the scheduler must know it as a guest. */
  static reserveThread(): number {
    return ThreadTable.current().reserve();
  }

  /** The module that gives handlers their records, for the scheduler's option `headerReader`. */
  static get headerReader(): URL {
    return workerUrl("../handler/record-hooks", import.meta.url);
  }

  /**
   * Opens the journal, reads which records are unfinished, and begins to deliver them. `thread` is
   * from `reserveThread`, `scheduler` the handle for that guest; the journal opens while the
   * scheduler starts. `handlers`: the module with the handlers, for records in quarantine.
   * `onFailure` is told when intake and delivery have stopped for good. Throws the journal's errors
   * and `ERR_INVALID_OPTION`.
   */
  static async open<Handlers = Record<string, Handler>>(
    given: IntakeOptions,
    thread: number,
    scheduler: Promise<SubmitterHandle>,
    handlers: HandlersModule,
    onFailure: (error: MillraceError) => void,
  ): Promise<Intake<Handlers>> {
    const { forDelivery, forJournal, forPublisher, forControl } = intakeOptions(given);
    // Without handlers there is nothing to wait for another process for.
    const giveUp = new AbortController();
    scheduler.catch((reason: unknown) => giveUp.abort(reason));
    const signals = [giveUp.signal, ...(forJournal.lockSignal === undefined ? [] : [forJournal.lockSignal])];
    const opening = Journal.open({ ...forJournal, deliveryThread: thread, lockSignal: AbortSignal.any(signals) });
    const delivery = startThread(workerUrl("../delivery/delivery.worker", import.meta.url), {
      name: "millrace delivery",
    });
    const ready = scheduler.then((handle) => {
      for (const { definition } of forDelivery.schedules ?? []) mustBeOne(handle.handlerNames, definition.handler);
      return handle;
    });
    const [journal, guest] = await Promise.allSettled([opening, ready]);
    if (journal.status === "rejected" || guest.status === "rejected") {
      await delivery.terminate();
      if (journal.status === "fulfilled") await journal.value.close();
      throw (journal as PromiseRejectedResult).reason ?? (guest as PromiseRejectedResult).reason;
    }
    const parts = { journal: journal.value, scheduler: guest.value, delivery };
    const redactor = new Redactor(forControl.redact);
    const intake = new Intake<Handlers>(parts, forDelivery, forPublisher, redactor, handlers, onFailure);
    try {
      if (forJournal.directory !== undefined) storeRules(forJournal.directory, forControl.redact);
      await intake.#deliveryReady();
    } catch (thrown) {
      await intake.#deliveryExited;
      await journal.value.close().catch(() => {});
      throw thrown;
    }
    await intake.producers.begin();
    intake.#publisher.begin();
    intake.events.begin();
    if (forControl.isListening && forJournal.directory !== undefined) await intake.#listen(forJournal.directory);
    return intake;
  }

  /** An intake without a control socket works all the same. */
  async #listen(directory: string): Promise<void> {
    const running = {
      stats: () => this.stats(),
      health: () => this.#journal.health(),
      schedules: () => this.schedules(),
      drain: (options: DrainOptions) => this.drain(options),
    };
    const { dead } = this;
    const pause = (handler: string): Promise<void> => this.pause(handler);
    const resume = (handler: string): Promise<void> => this.resume(handler);
    try {
      this.#control = await ControlServer.listen(directory, { dead, pause, resume, running });
    } catch (thrown) {
      process.emitWarning(thrown as Error);
    }
  }

  /** The journal, to be read. */
  get journal(): JournalView {
    this.#view ??= journalView(this.#journal);
    return this.#view;
  }

  /** Which records are still in the journal: see the option `retain`. */
  retained(): Promise<Retained> {
    return retained(this.#journal);
  }

  /** The part of `stats` that is for health checks: some loads from shared memory. */
  vitals(): IntakeVitals {
    const cell = (name: keyof typeof CELLS): number => this.#cells[CELLS[name]] as number;
    return {
      journal: this.#journal.vitals(),
      isDeliveryRunning: !this.#isDeliveryOver,
      level: this.level,
      oldestMs: cell("oldestMs"),
      deadLetters: cell("deadKept"),
      unroutable: cell("unroutable"),
    };
  }

  /**
   * From the call of a publish to its acknowledgement in µs, of one in 64; and the journal's. For
   * exporters.
   */
  histograms(): ReturnType<Journal["histograms"]> & { readonly acknowledgeMicroseconds: Histogram } {
    return { ...this.#journal.histograms(), acknowledgeMicroseconds: this.#publisher.acknowledgeMicroseconds };
  }

  stats(): IntakeStats {
    const cells = this.#cells;
    const cell = (name: keyof typeof CELLS): number => cells[CELLS[name]] as number;
    const state = this.#state.value;
    return {
      state: this.#isDeliveryOver || state === STOPPED ? "stopped" : state >= DRAINING ? "draining" : "running",
      ...this.#publisher.counts(),
      delivered: cell("delivered"),
      done: cell("done"),
      retried: cell("retried"),
      dead: cell("dead"),
      expired: cell("expired"),
      duplicates: cell("duplicates"),
      running: cell("running"),
      waitingRetries: cell("waiting"),
      waitingOnDisk: cell("waitingOnDisk"),
      keyWaiting: cell("keyWaiting"),
      held: cell("held"),
      parked: cell("unroutable"),
      suspects: cell("suspects"),
      scheduled: cell("scheduled"),
      finishedUpTo: cell("floor"),
      recovered: cell("recovered"),
      isReadingSegments: cell("isReading") === 1,
      copiedForward: cell("copied"),
      deadKept: cell("deadKept"),
      deadBytes: cell("deadBytes"),
      deadWaiting: cell("deadWaiting"),
      dedupeKeys: cell("windowKeys"),
      dedupeEvicted: cell("windowEvicted"),
      breakersOpened: cell("breakersOpened"),
      unfinished: this.#publisher.unfinished,
      level: this.#publisher.levels(),
      waitingPublishes: this.#publisher.waiting,
      firstSequence: this.#journal.firstSequence,
      checkpointError: this.#checkpointError === undefined ? undefined : messageOf(this.#checkpointError),
      journal: this.#journal.stats(),
    };
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
    return this.#publisher.publishMany(records, options);
  }

  #publishing(isTrying: boolean): Publish<Handlers> {
    const call = isTrying ? "tryPublish" : "publish";
    return bindHandlers(this.#names, (name) => {
      return (record: unknown, given?: PublishOptions) => this.#publisher[call](name, record, given);
    }) as Publish<Handlers>;
  }

  /** "ok", "slow" or "reject": whether a publish is taken at once. */
  get level(): Level {
    return this.#publisher.level;
  }

  /**
   * A source of many records for `handler`, as JSON text. `id` names the source; records with a
   * sequence of it that is durable are never delivered twice. Throws `ERR_HANDLER_UNKNOWN`,
   * `ERR_INVALID_OPTION`, `ERR_PRODUCERS_FULL`.
   */
  async producer(handler: string, id: string, options: ProducerOptions = {}): Promise<Producer> {
    this.#mustBeOpen();
    this.#mustBeHandler(handler);
    const known = (await this.#command({ kind: "producer", id })) as ProducerSnapshot;
    this.producers.admit(id);
    const host: ProducerHost = {
      recordBytesMax: this.#journal.partsBytesMax,
      append: (records, waiter) => this.#publisher.appendGroup(records, waiter),
    };
    return new Producer(host, handler, id, known, options);
  }

  #mustBeOpen(): void {
    if (this.#stopping !== undefined) throw intakeError("ERR_INTAKE_CLOSED", "the intake is closed");
  }

  /** Throws when records of the handler can't die: their letters would have no room. */
  #mustHaveRoom(name: string): void {
    if (this.#fullHandlers.size === 0 || !this.#fullHandlers.has(name)) return;
    const { deadBytes, deadWaiting } = this.stats();
    throw intakeError("ERR_DEAD_LETTERS_FULL", `${name} takes no record: there is no room for its dead letters`, {
      details: { handler: name, deadBytes, deadWaiting },
    });
  }

  #mustBeHandler(name: string): void {
    mustBeOne(this.#names, name);
  }

  #headerOf(name: string): Uint8Array {
    const header = this.#headers.get(name);
    if (header === undefined) throw unknownHandler(name, this.#names);
    this.#mustHaveRoom(name);
    return header;
  }

  /** What a handler asks: to publish at once. */
  async asked(value: unknown): Promise<PublishedNowAnswer> {
    const [handler, payload, options] = value as PublishedNow;
    const { sequence, duplicate } = await this.#publisher.publishNow(handler, decode(payload), options);
    return { sequence, duplicate };
  }

  // ── results ───────────────────────────────────────────────────────────────────────────────────

  /**
   * What the handler returned for this record, of a handler with `result: "keep"`; waits until the
   * record is done. Also after a restart. Rejects as `Acknowledgement.result` does, and with
   * `ERR_INVALID_OPTION` for a sequence that isn't there.
   */
  result(sequence: number): Promise<unknown> {
    return readResult(
      {
        journal: this.#journal,
        finished: (each) => this.#questions.finished(each),
        find: (each) => this.#command({ kind: "findResult", sequence: each }) as Promise<KeptResult | undefined>,
      },
      sequence,
    );
  }

  // ── commands ──────────────────────────────────────────────────────────────────────────────────

  /**
   * Nothing of this handler is begun until `resume`, across restarts. Resolves when that is
   * durable.
   */
  pause(handler: string): Promise<void> {
    this.#mustBeHandler(handler);
    return this.#commandDone({ kind: "pause", handler });
  }

  resume(handler: string): Promise<void> {
    this.#mustBeHandler(handler);
    return this.#commandDone({ kind: "resume", handler });
  }

  // ── schedules ─────────────────────────────────────────────────────────────────────────────────

  /**
   * Publishes a record whenever it is due, across restarts, until `unschedule`. The same definition
   * again changes nothing; another one replaces it. Resolves when that is durable. Throws
   * `ERR_INVALID_OPTION`, `ERR_HANDLER_UNKNOWN`, `ERR_SCHEDULE_REFUSED`.
   */
  async schedule(name: string, options: ScheduleOptions): Promise<void> {
    const definition = scheduleDefinition(name, options);
    this.#mustBeHandler(definition.handler);
    const refusal = await this.#command({ kind: "schedule", name, definition });
    if (refusal !== undefined) throw scheduleRefused(name, refusal as ScheduleRefusal);
  }

  /**
   * Ends a schedule; resolves with whether there was one, when that is durable. What it has
   * published stays.
   */
  async unschedule(name: string): Promise<boolean> {
    checkScheduleName(name);
    return (await this.#command({ kind: "unschedule", name })) as boolean;
  }

  /** All schedules, by name. */
  async schedules(): Promise<ScheduleInfo[]> {
    const reports = (await this.#command({ kind: "schedules" })) as readonly ScheduleReport[];
    return reports.map((report) => scheduleInfo(report)).toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }

  #command(command: Command): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#isDeliveryOver) {
        reject(this.#endError());
        return;
      }
      const id = this.#nextCommand;
      this.#nextCommand += 1;
      this.#commands.set(id, { resolve, reject });
      this.#order({ id, command });
    });
  }

  /** Resolves when what the command has written is durable. */
  async #commandDone(command: Command): Promise<void> {
    await this.#command(command);
  }

  #order(order: DeliveryOrder): void {
    this.#delivery.postMessage(order);
    Atomics.add(this.#words, COMMANDS, 1);
    unpark(this.#threads.words, this.#deliveryThread);
  }

  // ── the delivery thread ───────────────────────────────────────────────────────────────────────

  #deliveryReady(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#delivery.on("message", (report: DeliveryReport) => {
        if ("ready" in report) {
          this.#isOpen = true;
          resolve();
        } else if ("error" in report) {
          this.#deliveryError = decode(report.error);
          reject(this.#deliveryError as Error);
        } else this.#reported(report);
      });
      this.#delivery.once("exit", () => reject(this.#overError()));
    });
  }

  #reported(report: Exclude<DeliveryReport, { readonly ready: true } | { readonly error: Uint8Array }>): void {
    if ("dead" in report) this.#dead(report.dead, report.history);
    else if ("died" in report) for (const death of report.died) this.events.emit("dead", death);
    else if ("fullHandlers" in report) this.#fullHandlers = report.fullHandlers;
    else if ("expired" in report) {
      const sequence = report.expired;
      this.#questions.lost(
        sequence,
        intakeError("ERR_RECORD_EXPIRED", `record ${sequence} expired, or was dropped`, { details: { sequence } }),
      );
    } else if ("endMachine" in report) this.onEndMachine(report.endMachine, report.ifBlocked);
    else if ("event" in report) this.events.told(report.event);
    else if ("quarantine" in report) void this.#quarantined(report);
    else if ("checkpoint" in report) void this.#checkpoint(report.checkpoint);
    else {
      this.#commands.get(report.id)?.resolve(report.result);
      this.#commands.delete(report.id);
    }
  }

  /** Handles a record in a process of its own, and tells delivery what became of it. */
  async #quarantined(report: Extract<DeliveryReport, { readonly quarantine: number }>): Promise<void> {
    const { quarantine, handler, header, payload } = report;
    let error: Uint8Array | undefined;
    let outcome: unknown;
    try {
      outcome = await this.#quarantine.call({ handler, header, argument: payload });
    } catch (thrown) {
      error = encodeThrown(thrown);
    }
    if (!this.#isDeliveryOver) this.#order({ quarantined: quarantine, error, outcome });
  }

  /**
   * Keeps what delivery knows, and gives up what nobody needs. A failure costs time at the next
   * opening, and disk space.
   */
  async #checkpoint({ bytes, from, before }: Checkpoint): Promise<void> {
    this.#checkpointing = (async () => {
      try {
        await this.#journal.checkpoint(bytes, from);
        if (before > 0) await this.#journal.truncateBefore(before);
        this.#checkpointError = undefined;
      } catch (thrown) {
        this.#checkpointError = thrown;
      }
      if (!this.#isDeliveryOver) this.#order({ checkpointDone: this.#checkpointError === undefined });
    })();
    await this.#checkpointing;
  }

  #dead(sequence: number, history: Uint8Array): void {
    const cause = lastError(history);
    const details = { sequence };
    const failure = intakeError("ERR_RECORD_DEAD", `record ${sequence} failed at every attempt`, { cause, details });
    this.#questions.lost(sequence, failure);
  }

  /** The delivery thread has ended. Unless the intake closes, that is a failure of everything. */
  #deliveryIsOver(): void {
    this.#isDeliveryOver = true;
    for (const { reject } of this.#commands.values()) reject(this.#endError());
    this.#commands.clear();
    const isMeant = this.#state.value === STOPPED && this.#stopping !== undefined;
    if (isMeant || this.#isTerminated) return;
    this.#journal.poison();
    const error = this.#overError();
    this.#publisher.end(error);
    this.#questions.abandon(error);
    if (this.#isOpen) this.#onFailure(error);
  }

  /** What is told to those whom the delivery thread answers no more. */
  #endError(): MillraceError {
    if (this.#stopping === undefined || this.#deliveryError !== undefined) return this.#overError();
    return intakeError("ERR_INTAKE_CLOSED", "the intake is closed");
  }

  #overError(): MillraceError {
    const cause = this.#deliveryError;
    if (isMillraceError(cause)) return cause;
    return intakeError("ERR_DELIVERY_DIED", "the delivery thread has ended", { cause });
  }

  // ── the end ───────────────────────────────────────────────────────────────────────────────────

  /**
   * Resolves when no record can run: everything that was acknowledged before the call is finished
   * or dead, or waits for a time, a handler or a command; says how many do. With `all` it waits
   * until none does.
   */
  async drain(options: DrainOptions = {}): Promise<Drained> {
    const { signal, all } = resolveOptions("drain", drainRules, options);
    // Ends: when nothing is left, or at the first look unless all of it is wanted.
    for (;;) {
      signal?.throwIfAborted();
      if (this.#isDeliveryOver) throw this.#endError();
      await orAborted(this.#questions.all(), signal);
      const left = this.#left();
      if (!all || left.waitingRetry + left.scheduled + left.paused + left.unroutable === 0) return left;
      await new Promise((next) => setTimeout(next, LOOK_MS));
    }
  }

  #left(): Drained {
    const cell = (name: keyof typeof CELLS): number => this.#cells[CELLS[name]] as number;
    return {
      waitingRetry: cell("leftWaiting"),
      scheduled: cell("leftScheduled"),
      paused: cell("leftHeld"),
      unroutable: cell("leftUnroutable"),
    };
  }

  /**
   * Copies everything that is durable now into an empty or absent directory; nothing is deleted
   * meanwhile.
   */
  backup(directory: string): Promise<BackupSummary> {
    return this.#journal.backup(directory);
  }

  /**
   * Takes no more records, lets running handlers finish, makes all acknowledgements durable. What
   * was not delivered stays in the journal for the next opening. Idempotent.
   */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  /**
   * `stop` waits for no handler any more. What handlers have in hand is delivered again at the next
   * opening, and is under no suspicion there: the log says that this process has ended in order.
   */
  abandon(): void {
    this.#state.tell(ABANDONING, this.#threads.words, this.#deliveryThread);
  }

  async #stop(): Promise<void> {
    this.#publisher.end(intakeError("ERR_INTAKE_CLOSED", "the intake closed while a publish waited: it isn't stored"));
    // A client that keeps its end open holds nothing up.
    if (this.#control !== undefined) await isOverWithin(this.#control.close(), STOP_MS / 2);
    await this.#journal.settle();
    this.#state.tell(DRAINING, this.#threads.words, this.#deliveryThread);
    await this.#deliveryExited;
    await this.#checkpointing;
    await this.#quarantine.close();
    this.#questions.abandon(intakeError("ERR_INTAKE_CLOSED", "the intake closed before the record was done"));
  }

  /**
   * As `stop`, but waits for no handler, and no longer than a second for the disk: then the
   * delivery thread is ended, and the next opening finds an end without a word.
   */
  async stopNow(): Promise<void> {
    this.abandon();
    const stopped = this.stop();
    if (await isOverWithin(stopped, STOP_MS)) return await stopped;
    this.#isTerminated = true;
    await this.#delivery.terminate();
  }

  /**
   * Closes the journal, after `stop`; the directory is free then. No thread may run a handler any
   * more. Idempotent.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.stop();
    await this.#journal.close();
    this.#threads.release(this.#deliveryThread);
  }

  /**
   * As `close`, for a disk that may hang: appends under way reject with `ERR_JOURNAL_UNCERTAIN`
   * after a while, and so does this promise if the write doesn't return. The directory stays locked
   * then.
   */
  async closeSoon(): Promise<void> {
    const closed = this.close();
    if (await isOverWithin(closed, DISK_MS)) return await closed;
    this.#journal.poison();
    if (await isOverWithin(closed, DISK_MS)) return await closed;
    throw this.#journal.stoppedError();
  }
}

function mustBeOne(names: readonly string[], name: string): void {
  if (!names.includes(name)) throw unknownHandler(name, names);
}

/** Whether `done` settles in this time. */
async function isOverWithin(done: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => (timer = setTimeout(() => resolve(false), ms)));
  const over = (): true => true;
  const isOver = await Promise.race([done.then(over, over), late]);
  clearTimeout(timer);
  return isOver;
}

async function orAborted(promise: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  if (signal === undefined) return promise;
  let abort: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason as Error);
    signal.addEventListener("abort", abort, { once: true });
  });
  try {
    await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", abort as () => void);
    promise.catch(() => {});
  }
}
