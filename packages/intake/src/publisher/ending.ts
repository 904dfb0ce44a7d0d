/**
 * How an intake comes to its end: drain, stop, close. Each is idempotent, and `close` stops first.
 *
 *   drain      waits until no record can run; publishing goes on
 *   stop       takes no more records; handlers in hand finish; every acknowledgement is durable,
 *              unless the disk has no room: then `close` says so
 *   stopNow    `stop` without waiting for handlers, and not for long
 *   close      gives up the journal, and with it the directory
 *   closeSoon  `close` for a disk that may hang
 */
import {
  abortSignal,
  boolean,
  clearTimeout,
  onAbort,
  optional,
  resolveOptions,
  type Rules,
  setTimeout,
} from "@millrace/base";
import type { Journal } from "@millrace/journal";
import { journalError } from "@millrace/journal/kernel";
import type { Quarantine } from "@millrace/pool";
import type { ControlServer } from "../control/server.ts";
import { intakeError } from "../errors.ts";
import type { Admission } from "./admission.ts";
import type { Checkpoints } from "./checkpoints.ts";
import type { DeliveryClient } from "./delivery-client.ts";
import type { Publisher } from "./publisher.ts";
import type { Questions } from "./questions.ts";
import type { DeliveryCounts } from "../delivery/control.ts";
import { type Drained, leftWaiting } from "./stats.ts";

export interface DrainOptions {
  readonly signal?: AbortSignal;
  /** Wait for what waits for a time, a handler or a command as well. Default false. */
  readonly all?: boolean;
}

const drainRules = { signal: optional(abortSignal()), all: boolean(false) } satisfies Rules;

/** The most that `stopNow` waits for delivery, and `closeSoon` twice for the journal. */
const STOP_MS = 1000;
const DISK_MS = 3000;
/** How often `drain({ all: true })` looks again. */
const LOOK_MS = 20;

/** The parts that have to end. */
export interface Endable {
  readonly journal: Journal;
  readonly cells: DeliveryCounts;
  readonly delivery: DeliveryClient;
  readonly publisher: Publisher;
  readonly questions: Questions;
  readonly admission: Admission;
  readonly checkpoints: Checkpoints;
  readonly quarantine: Quarantine;
}

export class Ending {
  readonly #parts: Endable;
  /** Undefined without a control socket. */
  control: ControlServer | undefined;
  /** The disk had no room for what became of records: all of it, or what handlers have left. */
  #unwritten: Error | undefined;
  /** Nobody waits for what handlers leave. */
  #isAbandoned = false;
  #stopping: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  constructor(parts: Endable) {
    this.#parts = parts;
    parts.delivery.onWithoutRoom = (seconds) => this.#giveUpWriting(seconds);
    parts.delivery.onGroupsGivenUp = (count) => {
      this.#unwritten ??= this.#fullError(
        `the disk had no room for what the handlers of ${count} records have left: these are delivered again`,
      );
    };
  }

  /** As `Intake.drain`. */
  async drain(options: DrainOptions): Promise<Drained> {
    const { signal, all } = resolveOptions("drain", drainRules, options);
    const { delivery, questions, cells } = this.#parts;
    // Ends: when nothing is left, or at the first look unless all of it is wanted.
    for (;;) {
      signal?.throwIfAborted();
      if (delivery.isOver) throw delivery.endError();
      await orAborted(questions.all(), signal);
      const left = leftWaiting(cells);
      if (!all || left.waitingRetry + left.scheduled + left.paused + left.unroutable === 0) return left;
      await new Promise((next) => setTimeout(next, LOOK_MS));
    }
  }

  /** As `Intake.stop`. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  /** As `Intake.stopNow`. */
  async stopNow(): Promise<void> {
    const { delivery } = this.#parts;
    this.#isAbandoned = true;
    delivery.abandon();
    const stopped = this.stop();
    if (await isOverWithin(stopped, STOP_MS)) return await stopped;
    await delivery.terminate();
  }

  /** As `Intake.close`. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** As `Intake.closeSoon`. */
  async closeSoon(): Promise<void> {
    const { journal } = this.#parts;
    const closed = this.close();
    if (await isOverWithin(closed, DISK_MS)) return await closed;
    journal.poison();
    if (await isOverWithin(closed, DISK_MS)) return await closed;
    throw journal.stoppedError();
  }

  async #stop(): Promise<void> {
    const { admission, publisher, journal, delivery, checkpoints, quarantine, questions } = this.#parts;
    admission.close();
    delivery.expectEnd();
    publisher.end(intakeError("ERR_INTAKE_CLOSED", "the intake closed while a publish waited: it isn't stored"));
    // A client that keeps its end open holds nothing up.
    if (this.control !== undefined) await isOverWithin(this.control.close(), STOP_MS / 2);
    await journal.settle();
    delivery.drain();
    await delivery.exited();
    await checkpoints.settled();
    await quarantine.close();
    questions.abandon(
      intakeError("ERR_INTAKE_CLOSED", "the intake closed before the record was done"),
      intakeError("ERR_INTAKE_CLOSED", "the intake is closed: the next opening says what became of its records"),
    );
  }

  /**
   * Delivery ends, and the disk has no room for the ends of its last records, not even in the
   * reserve. Callers that wait get an error, and the journal ends without a clean end.
   */
  #giveUpWriting(seconds: number): void {
    const { journal } = this.#parts;
    // A write that is under way may succeed.
    if (journal.vitals().syncRunningMs > 0) return;
    const text = `the disk has had no room for ${seconds} s for what became of the last records: they are delivered again`;
    this.#unwritten ??= this.#fullError(text);
    journal.poison();
  }

  #fullError(text: string): Error {
    return journalError("ERR_JOURNAL_FULL", text, { details: { directory: this.#parts.journal.directory } });
  }

  async #close(): Promise<void> {
    await this.stop();
    const { journal, delivery } = this.#parts;
    try {
      await journal.close();
    } catch (thrown) {
      throw this.#unwritten ?? thrown;
    } finally {
      delivery.release();
    }
    if (this.#unwritten !== undefined && !this.#isAbandoned) throw this.#unwritten;
  }
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

/** Rejects with the signal's reason when that comes first. */
async function orAborted(promise: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  if (signal === undefined) return promise;
  let forget: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    forget = onAbort(signal, () => reject(signal.reason as Error));
  });
  try {
    await Promise.race([promise, aborted]);
  } finally {
    forget?.();
    promise.catch(() => {});
  }
}
