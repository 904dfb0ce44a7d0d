/** Publishing: records on their way into the journal, as far as the water level lets them. */
import { Reactor } from "@millrace/atomics-sync";
import { clearInterval, isMillraceError, type MillraceError, performance, setInterval } from "@millrace/base";
import type { Journal } from "@millrace/journal";
import type { AppendWaiter, RecordParts } from "@millrace/journal/kernel";
import { Histogram } from "@millrace/metrics";
import type { DeliveryCounts } from "../delivery/control.ts";
import {
  mustNotWait,
  type BackpressureOptions,
  prepare,
  type Prepared,
  type PublishOptions,
  type RecordOptions,
  type RecordToPublish,
  type Wait,
  waitOptions,
} from "../format/publication.ts";
import { type Acknowledgement, Published } from "./acknowledgement.ts";
import { prepareGroup } from "./group.ts";
import type { PublisherOptions } from "./options.ts";
import type { Producers } from "./producers.ts";
import type { Questions } from "./questions.ts";
import { type Patience, WaitingRoom } from "./waiting-room.ts";
import { type Level, type LevelReport, Water } from "./water.ts";

/** Time between two looks at the level when nothing is published. */
const LOOK_MS = 250;

/** One publish in this many is timed. */
const TIMED_EACH = 64;

type Resolve = (acknowledgement: Acknowledgement) => void;
type Reject = (error: unknown) => void;

/** How a publish ends. */
interface Settle {
  readonly resolve: Resolve;
  readonly reject: Reject;
}

/** Whether the record of a publish that was rejected may be in the log. */
function mayBeStored(error: unknown): boolean {
  return isMillraceError(error, "ERR_JOURNAL_UNCERTAIN") || isMillraceError(error, "ERR_IDEMPOTENCY_MISMATCH");
}

/** The parts of the intake that publishing needs. */
export interface PublisherHost {
  readonly journal: Journal;
  readonly questions: Questions;
  /** Counts of the delivery thread: see control.ts. */
  readonly cells: DeliveryCounts;
  /** Throws `ERR_INTAKE_CLOSED`. */
  mustBeOpen(): void;
  /** The encoded header of a handler without terms. Throws `ERR_HANDLER_UNKNOWN`. */
  headerOf(handler: string): Uint8Array;
  readonly producers: Producers;
  levelChanged(report: LevelReport): void;
}

export class Publisher {
  readonly #host: PublisherHost;
  readonly #water: Water;
  readonly #room: WaitingRoom;
  /** Of publishes without options. */
  readonly #patience: Patience;
  readonly #impatience: Patience = { isWaiting: false, timeoutMs: undefined, signal: undefined };
  #timer: NodeJS.Timeout | undefined;
  #untimed = 0;
  /** From the call of a publish to its acknowledgement, in µs, of one in 64. */
  readonly acknowledgeMicroseconds: Histogram = new Histogram();
  readonly #refused = (count: number): void => this.#water.refused(count);

  constructor(host: PublisherHost, { marks, isWaiting }: PublisherOptions) {
    const { journal, questions, cells } = host;
    this.#host = host;
    this.#patience = { isWaiting, timeoutMs: undefined, signal: undefined };
    const measures = {
      underWay: () => journal.ringUse().records,
      ringBytes: () => journal.ringUse().bytes,
      ringBytesMax: journal.ringUse().bytesMax,
      balance: () => questions.balance,
      runnableBalance: () => questions.runnableBalance,
      freeBytes: () => cells.get("freeBytes"),
    };
    this.#water = new Water(marks, measures, (report) => host.levelChanged(report));
    this.#room = new WaitingRoom(this.#water, journal, Reactor.current(), (balance) => questions.below(balance));
    questions.onBelow = () => this.#room.balanceFell();
  }

  /** Delivery runs, and knows how much there is. */
  begin(): void {
    this.#water.look();
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
    this.#timer.unref();
  }

  #look(): void {
    this.#water.look();
    this.#room.backlogMayHaveFallen();
  }

  /** These handlers, and no others, get no record now. */
  stopped(handlers: ReadonlySet<string>): void {
    this.#room.stopped(handlers);
  }

  get level(): Level {
    this.#water.look();
    return this.#water.level;
  }

  /** As `level`, for publishes to one handler. */
  levelOf(handler: string): Level {
    const { level } = this;
    return this.#water.refusedHandlers.has(handler) ? "reject" : level;
  }

  /** As of the last look. */
  get refusedHandlers(): readonly string[] {
    return [...this.#water.refusedHandlers];
  }

  levels(): LevelReport {
    return this.#water.report();
  }

  get unfinished(): number {
    return this.#water.unfinished;
  }

  /**
   * Records that publishing has stored, duplicates among them, and those refused because the intake
   * was full; since the opening.
   */
  counts(): { readonly stored: number; readonly refused: number } {
    this.#water.look();
    return { stored: this.#water.stored, refused: this.#room.refused };
  }

  /** Publishes that wait because the intake is full. */
  get waiting(): number {
    return this.#room.size;
  }

  /** `admitted` is called when a record that had to wait has got its room in the ring. */
  publish(
    handler: string,
    value: unknown,
    given: PublishOptions | undefined,
    admitted?: () => void,
  ): Promise<Acknowledgement> {
    return new Promise((resolve, reject) => {
      this.#host.mustBeOpen();
      const prepared = prepare(handler, this.#host.headerOf(handler), value, given);
      const patience = this.#patienceOf(prepared.wait);
      this.#admit(prepared, admitted === undefined ? patience : { ...patience, admitted }, resolve, reject);
    });
  }

  /** As `publish`, and never waits: options about waiting are refused. */
  tryPublish(handler: string, value: unknown, given: RecordOptions | undefined): Promise<Acknowledgement> {
    return new Promise((resolve, reject) => {
      this.#host.mustBeOpen();
      mustNotWait(`tryPublish.${handler}`, given);
      const prepared = prepare(handler, this.#host.headerOf(handler), value, given);
      this.#admit(prepared, this.#impatience, resolve, reject);
    });
  }

  /**
   * From a handler: waits for no level. Its own record is unfinished, and would keep the level up
   * that it waits for.
   */
  publishNow(handler: string, value: unknown, given: RecordOptions | undefined): Promise<Acknowledgement> {
    return new Promise((resolve, reject) => {
      this.#host.mustBeOpen();
      const { parts, isJudged, producer } = prepare(handler, this.#host.headerOf(handler), value, given, true);
      const settle = this.#ofProducer(producer, { resolve, reject });
      try {
        const published = new Published(this.#host.questions, isJudged, this.#refused, settle.resolve, settle.reject);
        this.#host.journal.appendParts(parts, published);
        this.#water.offered(1);
      } catch (thrown) {
        settle.reject(thrown);
      }
    });
  }

  #admit({ parts, isJudged, producer }: Prepared, patience: Patience, resolve: Resolve, reject: Reject): void {
    const settle = this.#ofProducer(producer, { resolve: this.#timed(resolve), reject });
    try {
      const published = new Published(this.#host.questions, isJudged, this.#refused, settle.resolve, settle.reject);
      this.#room.admit(parts, published, settle.reject, patience);
    } catch (thrown) {
      settle.reject(thrown);
    }
  }

  /** As `settle`; the producer's place depends on it as well. Throws `ERR_PRODUCERS_FULL`. */
  #ofProducer(id: string | undefined, settle: Settle): Settle {
    if (id === undefined) return settle;
    const { producers } = this.#host;
    producers.publishing(id);
    return {
      resolve: (acknowledgement) => {
        producers.settled(id, true);
        settle.resolve(acknowledgement);
      },
      reject: (error) => {
        producers.settled(id, mayBeStored(error));
        settle.reject(error);
      },
    };
  }

  /** One in 64 tells how long it took. */
  #timed(resolve: Resolve): Resolve {
    this.#untimed -= 1;
    if (this.#untimed >= 0) return resolve;
    this.#untimed = TIMED_EACH - 1;
    const startedMs = performance.now();
    return (acknowledgement) => {
      this.acknowledgeMicroseconds.record((performance.now() - startedMs) * 1000);
      resolve(acknowledgement);
    };
  }

  /** As `appendGroup`, and always waits. */
  appendPatiently(records: readonly RecordParts[], waiter: AppendWaiter, signal: AbortSignal | undefined): void {
    this.appendGroup(records, waiter, { isWaiting: true, timeoutMs: undefined, signal });
  }

  /** A group of a producer: waits as a publish without options does. */
  appendGroup(records: readonly RecordParts[], waiter: AppendWaiter, patience: Patience = this.#patience): void {
    this.#host.mustBeOpen();
    const count = records.length;
    const failed = (error: unknown): void => waiter.failed(error as MillraceError);
    const counted: AppendWaiter = {
      durable: (first) => waiter.durable(first),
      failed: (error) => {
        this.#water.refused(count);
        failed(error);
      },
    };
    this.#room.admitGroup(records, counted, failed, patience);
  }

  /** As `Intake.publishMany`. */
  publishMany(records: Iterable<RecordToPublish>, given: BackpressureOptions | undefined): Promise<Acknowledgement[]> {
    return new Promise((resolve, reject) => {
      this.#host.mustBeOpen();
      const patience = this.#patienceOf(waitOptions(given));
      const { journal, questions } = this.#host;
      const prepared = prepareGroup(records, (handler) => this.#host.headerOf(handler), journal.groupSize());
      if (prepared.length === 0) {
        resolve([]);
        return;
      }
      const producers = this.#producersOf(prepared);
      const settle = (isStored: boolean): void => {
        for (const id of producers) this.#host.producers.settled(id, isStored);
      };
      const failed = (error: unknown): void => {
        settle(mayBeStored(error));
        reject(error);
      };
      const waiters: Published[] = [];
      const acknowledged = prepared.map(
        ({ isJudged }, member) =>
          new Promise<Acknowledgement>((accept, refuse) => {
            waiters.push(new Published(questions, isJudged, this.#refused, accept, refuse, member));
          }),
      );
      const group = {
        durable: (first: number): void => {
          settle(true);
          for (const [index, waiter] of waiters.entries()) waiter.durable(first + index);
          resolve(Promise.all(acknowledged));
        },
        failed: (error: unknown): void => {
          this.#water.refused(prepared.length);
          failed(error);
        },
      };
      const parts = prepared.map((each) => each.parts);
      try {
        this.#room.admitGroup(parts, group, failed, patience);
      } catch (thrown) {
        failed(thrown);
      }
    });
  }

  /** The producers of a group, all of them or none. Throws `ERR_PRODUCERS_FULL`. */
  #producersOf(prepared: readonly Prepared[]): string[] {
    const { producers } = this.#host;
    const begun: string[] = [];
    try {
      for (const { producer } of prepared) {
        if (producer === undefined) continue;
        producers.publishing(producer);
        begun.push(producer);
      }
    } catch (thrown) {
      for (const id of begun) producers.settled(id, false);
      throw thrown;
    }
    return begun;
  }

  #patienceOf(wait: Wait | undefined): Patience {
    if (wait === undefined) return this.#patience;
    const { whenFull, timeoutMs, signal } = wait;
    if (whenFull === undefined && timeoutMs === undefined && signal === undefined) return this.#patience;
    const isWaiting =
      whenFull === undefined ? this.#patience.isWaiting || timeoutMs !== undefined : whenFull === "wait";
    return { isWaiting, timeoutMs, signal };
  }

  /** Rejects the publishes that wait: nothing of them is stored. */
  end(error: Error): void {
    clearInterval(this.#timer);
    this.#room.abandon(error);
  }
}
