/**
 * The intake as the opener sees it: publish records to handlers, each acknowledged when it is durable and delivered until it is
 * finished.
 */
import type { Worker } from "node:worker_threads";
import {
  custom,
  isMillraceError,
  messageOf,
  type MillraceError,
  oneOf,
  optional,
  resolveOptions,
  type Resolved,
  type Rules,
  startThread,
  workerUrl,
} from "@millrace/base";
import { decode, encode } from "@millrace/codec";
import { Reactor, ThreadTable, unpark } from "@millrace/atomics-sync";
import { type BackupSummary, Journal, type JournalStats, RECORD_TYPE } from "@millrace/journal";
import type { AppendWaiter } from "@millrace/journal/kernel";
import { bindHandlers, type Handler, PRIORITY, type Priority, type SubmitterHandle } from "@millrace/scheduler";
import { CELLS, CHECKPOINTS, controlBytes, DRAINING, STATE, STATS_BYTES, STOPPED } from "./control.ts";
import type { CheckpointRequest, DeadReport, DeliveryData, DeliveryOptions } from "./delivery.ts";
import type { DeliveryReport } from "./delivery.worker.ts";
import { intakeError } from "./errors.ts";
import { intakeOptions, type IntakeOptions } from "./options.ts";
import { Questions } from "./questions.ts";
import { encodeHandler, withHeaders } from "./record-header.ts";

export interface PublishOptions {
  /** Which records are started first. Default "normal". */
  readonly priority?: Priority;
  /** Anything that is stored with the record and given to the handler as `context.record.headers`. */
  readonly headers?: object;
}

/** A record is durable. */
export interface Acknowledgement {
  /** The record's place in the journal: unique, growing. */
  readonly sequence: number;
  /**
   * Resolves when the handler has finished and that is durable too; rejects with `ERR_RECORD_DEAD` after the last attempt. Asked for
   * only when it is read.
   */
  readonly done: Promise<void>;
}

/** The handlers of a module, as calls that publish. */
export type Publish<Handlers> = {
  readonly [Name in keyof Handlers as Handlers[Name] extends Handler ? Name : never]: Handlers[Name] extends (
    ...parameters: infer Parameters
  ) => unknown
    ? Parameters extends []
      ? (record?: undefined, options?: PublishOptions) => Promise<Acknowledgement>
      : (record: Parameters[0], options?: PublishOptions) => Promise<Acknowledgement>
    : never;
};

export interface IntakeStats {
  readonly state: "running" | "draining" | "stopped";
  /** Deliveries started, records done, attempts repeated, records dead, records without a handler; since the opening. */
  readonly delivered: number;
  readonly done: number;
  readonly retried: number;
  readonly dead: number;
  readonly parked: number;
  /** Records that wait for another attempt now. */
  readonly waitingRetries: number;
  /** Everything up to here is finished. */
  readonly finishedUpTo: number;
  /** Records that waited in the journal when it was opened. */
  readonly recovered: number;
  /** How often delivery fell behind the rings, and whether it reads from the segments now. */
  readonly fallBacks: number;
  readonly isReadingSegments: boolean;
  /** Records that were written again at the end of the log so that older ones could be deleted; since the opening. */
  readonly copiedForward: number;
  /** Dead records that are kept in the journal. */
  readonly deadKept: number;
  /** The first sequence that is still in the journal. */
  readonly firstSequence: number;
  /** Why the latest checkpoint, or the deletion after it, failed; undefined when it didn't. It is tried again. */
  readonly checkpointError: string | undefined;
  readonly journal: JournalStats;
}

const publishRules = {
  priority: oneOf(["high", "normal", "low"], "normal"),
  headers: optional(custom("an object", (value): value is object => typeof value === "object" && value !== null)),
} satisfies Rules;
const PUBLISH_DEFAULTS: Resolved<typeof publishRules> = resolveOptions("publish", publishRules);

const NO_BYTES = new Uint8Array(0);

export class Intake<Handlers = Record<string, Handler>> {
  readonly #journal: Journal;
  readonly #words: Int32Array;
  readonly #cells: Float64Array;
  readonly #threads: ThreadTable;
  readonly #deliveryThread: number;
  readonly #delivery: Worker;
  readonly #deliveryExited: Promise<void>;
  readonly #questions: Questions;
  readonly #onFailure: (error: MillraceError) => void;
  #deliveryError: unknown;
  #isDeliveryOver = false;
  /** Until the delivery thread is ready, its end is reported by `open`. */
  #isOpen = false;
  #closing: Promise<void> | undefined;
  #isTerminated = false;
  #checkpointing: Promise<void> | undefined;
  #checkpointError: unknown;

  /** Publishing by handler name: `await intake.publish.settle(payment)`. */
  readonly publish: Publish<Handlers>;

  private constructor(
    parts: { readonly journal: Journal; readonly scheduler: SubmitterHandle; readonly delivery: Worker },
    options: DeliveryOptions,
    onFailure: (error: MillraceError) => void,
  ) {
    const { journal, scheduler, delivery } = parts;
    const words = new SharedArrayBuffer(controlBytes());
    const stats = new SharedArrayBuffer(STATS_BYTES);
    this.#journal = journal;
    this.#words = new Int32Array(words);
    this.#cells = new Float64Array(stats);
    this.#threads = ThreadTable.current();
    this.#deliveryThread = scheduler.thread;
    this.#onFailure = onFailure;
    this.#questions = new Questions(words, this.#threads.words, scheduler.thread, Reactor.current());
    this.#delivery = delivery;
    this.#delivery.on("error", (thrown) => (this.#deliveryError = thrown));
    this.#deliveryExited = new Promise((resolve) => {
      this.#delivery.once("exit", () => {
        this.#deliveryIsOver();
        resolve();
      });
    });
    this.publish = this.#bindHandlers(scheduler.handlerNames) as Publish<Handlers>;
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

  /** The module that reads the headers of the intake's tasks, for the scheduler's option `headerReader`. */
  static get headerReader(): URL {
    return workerUrl("./record-header", import.meta.url);
  }

  /**
   * Opens the journal, reads which records are unfinished, and begins to deliver them. `thread` is from `reserveThread`, `scheduler` the
   * handle for that guest; the journal opens while the scheduler starts. `onFailure` is told when intake and delivery have
   * stopped for good. Throws the journal's errors.
   */
  static async open<Handlers = Record<string, Handler>>(
    given: IntakeOptions,
    thread: number,
    scheduler: Promise<SubmitterHandle>,
    onFailure: (error: MillraceError) => void,
  ): Promise<Intake<Handlers>> {
    const { forDelivery, forJournal } = intakeOptions(given);
    const opening = Journal.open({ ...forJournal, deliveryThread: thread });
    const delivery = startThread(workerUrl("./delivery.worker", import.meta.url), { name: "millrace delivery" });
    const [journal, guest] = await Promise.allSettled([opening, scheduler]);
    if (journal.status === "rejected" || guest.status === "rejected") {
      await delivery.terminate();
      if (journal.status === "fulfilled") await journal.value.close();
      throw (journal as PromiseRejectedResult).reason ?? (guest as PromiseRejectedResult).reason;
    }
    const intake = new Intake<Handlers>(
      { journal: journal.value, scheduler: guest.value, delivery },
      forDelivery,
      onFailure,
    );
    try {
      await intake.#deliveryReady();
    } catch (thrown) {
      await intake.#deliveryExited;
      await journal.value.close().catch(() => {});
      throw thrown;
    }
    return intake;
  }

  get journal(): Journal {
    return this.#journal;
  }

  stats(): IntakeStats {
    const cells = this.#cells;
    const cell = (name: keyof typeof CELLS): number => cells[CELLS[name]] as number;
    const state = Atomics.load(this.#words, STATE);
    return {
      state: this.#isDeliveryOver || state === STOPPED ? "stopped" : state === DRAINING ? "draining" : "running",
      delivered: cell("delivered"),
      done: cell("done"),
      retried: cell("retried"),
      dead: cell("dead"),
      parked: cell("parked"),
      waitingRetries: cell("waitingRetries"),
      finishedUpTo: cell("floor"),
      recovered: cell("recovered"),
      fallBacks: cell("fallBacks"),
      isReadingSegments: cell("isReading") === 1,
      copiedForward: cell("copied"),
      deadKept: cell("deadKept"),
      firstSequence: this.#journal.firstSequence,
      checkpointError: this.#checkpointError === undefined ? undefined : messageOf(this.#checkpointError),
      journal: this.#journal.stats(),
    };
  }

  /** Resolves when every record that was acknowledged before the call is finished or dead. */
  async drain(options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    const { signal } = options;
    signal?.throwIfAborted();
    if (this.#isDeliveryOver) throw this.#overError();
    const all = this.#questions.all();
    if (signal === undefined) return all;
    let abort: (() => void) | undefined;
    const aborted = new Promise<never>((_, reject) => {
      abort = () => reject(signal.reason as Error);
      signal.addEventListener("abort", abort, { once: true });
    });
    try {
      await Promise.race([all, aborted]);
    } finally {
      signal.removeEventListener("abort", abort as () => void);
      all.catch(() => {});
    }
  }

  /** Copies everything that is durable now into an empty or absent directory; nothing is deleted meanwhile. */
  backup(directory: string): Promise<BackupSummary> {
    return this.#journal.backup(directory);
  }

  /**
   * Takes no more records, lets running handlers finish, makes all acknowledgements durable, closes the journal. What was not
   * delivered stays in the journal for the next opening. Idempotent.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /**
   * As `close`, but doesn't wait for handlers: ends the delivery thread at once. The records whose handlers run are delivered again at the
   * next opening. Idempotent.
   */
  async terminate(): Promise<void> {
    this.#isTerminated = true;
    const closing = this.close();
    await this.#delivery.terminate();
    await closing;
  }

  async #close(): Promise<void> {
    await this.#journal.settle();
    Atomics.store(this.#words, STATE, DRAINING);
    unpark(this.#threads.words, this.#deliveryThread);
    await this.#deliveryExited;
    await this.#checkpointing;
    this.#questions.abandon(intakeError("ERR_INTAKE_CLOSED", "the intake closed before the record was done"));
    await this.#journal.close();
    this.#threads.release(this.#deliveryThread);
  }

  #deliveryReady(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#delivery.on("message", (report: DeliveryReport) => {
        if ("ready" in report) {
          this.#isOpen = true;
          resolve();
        } else if ("dead" in report) this.#dead(report.dead);
        else if ("checkpoint" in report) void this.#checkpoint(report.checkpoint);
        else {
          this.#deliveryError = decode(report.error);
          reject(this.#deliveryError as Error);
        }
      });
      this.#delivery.once("exit", () => reject(this.#overError()));
    });
  }

  /** Keeps what delivery knows, and gives up what nobody needs. A failure costs time at the next opening, and disk space. */
  async #checkpoint({ bytes, from, before }: CheckpointRequest): Promise<void> {
    this.#checkpointing = (async () => {
      try {
        await this.#journal.checkpoint(bytes, from);
        if (before > 0) await this.#journal.truncateBefore(before);
        this.#checkpointError = undefined;
      } catch (thrown) {
        this.#checkpointError = thrown;
      }
      Atomics.add(this.#words, CHECKPOINTS, 1);
      unpark(this.#threads.words, this.#deliveryThread);
    })();
    await this.#checkpointing;
  }

  #dead({ sequence, error }: DeadReport): void {
    const cause = error.length === 0 ? undefined : decode(error);
    const failure = intakeError("ERR_RECORD_DEAD", `record ${sequence} failed at every attempt`, {
      cause,
      details: { sequence },
    });
    this.#questions.dead(sequence, failure);
  }

  /** The delivery thread has ended. Unless the intake closes, that is a failure of everything. */
  #deliveryIsOver(): void {
    this.#isDeliveryOver = true;
    const hasStopped = Atomics.load(this.#words, STATE) === STOPPED && this.#closing !== undefined;
    if (hasStopped || this.#isTerminated) return;
    this.#journal.poison();
    const error = this.#overError();
    this.#questions.abandon(error);
    if (this.#isOpen) this.#onFailure(error);
  }

  #overError(): MillraceError {
    const cause = this.#deliveryError;
    if (isMillraceError(cause)) return cause;
    return intakeError("ERR_DELIVERY_DIED", "the delivery thread has ended", { cause });
  }

  #bindHandlers(names: readonly string[]): object {
    return bindHandlers(names, (name) => {
      const header = encodeHandler(name);
      return (record: unknown, options?: PublishOptions): Promise<Acknowledgement> =>
        this.#publish(name, header, record, options);
    });
  }

  #publish(
    name: string,
    handlerHeader: Uint8Array,
    value: unknown,
    given: PublishOptions | undefined,
  ): Promise<Acknowledgement> {
    return new Promise((resolve, reject) => {
      if (this.#closing !== undefined) throw intakeError("ERR_INTAKE_CLOSED", "the intake is closed");
      const options = given === undefined ? PUBLISH_DEFAULTS : resolveOptions(`publish.${name}`, publishRules, given);
      const header = options.headers === undefined ? handlerHeader : withHeaders(handlerHeader, options.headers);
      const record = {
        type: RECORD_TYPE.data,
        priority: PRIORITY[options.priority],
        timeMs: Date.now(),
        header,
        key: NO_BYTES,
        payload: encode(value),
      };
      this.#journal.appendParts(record, new Published(this.#questions, resolve, reject));
    });
  }
}

/** A published record: waits for its sequence, then is the acknowledgement. */
class Published implements AppendWaiter, Acknowledgement {
  sequence = 0;
  readonly #questions: Questions;
  readonly #resolve: (acknowledgement: Acknowledgement) => void;
  readonly #reject: (error: unknown) => void;
  #done: Promise<void> | undefined;

  constructor(
    questions: Questions,
    resolve: (acknowledgement: Acknowledgement) => void,
    reject: (error: unknown) => void,
  ) {
    this.#questions = questions;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  get done(): Promise<void> {
    this.#done ??= this.#questions.finished(this.sequence);
    return this.#done;
  }

  durable(sequence: number): void {
    this.sequence = sequence;
    this.#resolve(this);
  }

  failed(error: MillraceError): void {
    this.#reject(error);
  }
}
