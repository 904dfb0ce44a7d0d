/** Jobs whose turn comes again: out of memory if they are there, otherwise out of the log. */
import { RECORD_TYPE } from "@millrace/journal";
import type { LogRecord } from "../format/log-record.ts";
import { decodeFate, historyBytes, reasonName, withFailure } from "../format/state-records.ts";
import type { LogWalk } from "../states/log-walk.ts";
import type { RecordStates } from "../states/record-states.ts";
import type { FailedAttempts } from "./failed-attempts.ts";
import { type Job, JobCache, jobOf, ownBytes } from "./job.ts";
import { PassedRecords } from "./passed-records.ts";
import type { Log } from "./ports.ts";
import type { Steady } from "./steady.ts";

/** Jobs that wait and are kept in memory. */
const CACHE_BYTES_MAX: number = 64 * 2 ** 20;
/** The part of that for records that a reading of the log has met on its way. */
const PASSED_PART: number = 1 / 4;
/** So many records are read one by one on the way to a place, and kept; more are skipped. */
const READ_THROUGH = 1024;

export interface JobsParts {
  readonly log: Log;
  readonly states: RecordStates;
  readonly steady: Steady;
  readonly failedAttempts: FailedAttempts;
  readonly handlerOf: (record: LogRecord) => number;
  /** Bytes of jobs in memory. Default 64 MiB. */
  readonly bytesMax?: number | undefined;
}

export class Jobs {
  readonly #log: Log;
  readonly #states: RecordStates;
  readonly #steady: Steady;
  readonly #failedAttempts: FailedAttempts;
  readonly #handlerOf: (record: LogRecord) => number;
  readonly #cache: JobCache;
  readonly #passed: PassedRecords;
  #walk: LogWalk | undefined;
  /** The walk stands before this place. */
  #at = Infinity;

  constructor({ log, states, steady, failedAttempts, handlerOf, bytesMax = CACHE_BYTES_MAX }: JobsParts) {
    this.#log = log;
    this.#steady = steady;
    this.#states = states;
    this.#failedAttempts = failedAttempts;
    this.#handlerOf = handlerOf;
    this.#cache = new JobCache(bytesMax * (1 - PASSED_PART));
    this.#passed = new PassedRecords(bytesMax * PASSED_PART, (place) => this.#isOver(place));
  }

  /** Whether nobody will ask for the record at a place: it is finished, or its job is in memory. */
  #isOver(place: number): boolean {
    return this.#states.settled.has(place) || this.#cache.peek(this.#states.originOf(place)) !== undefined;
  }

  /** The job of a record that isn't finished, with what is known of its attempts. */
  again(origin: number): Job {
    const known = this.#cache.take(origin);
    if (known !== undefined) return known;
    const job = this.at(this.#states.placeOf(origin));
    ownBytes(job);
    this.#readFailures(job);
    return job;
  }

  /** The failures of a job that is in memory; undefined when it isn't. */
  historyOf(origin: number): Uint8Array | undefined {
    return this.#cache.peek(origin)?.history;
  }

  #readFailures(job: Job): void {
    const { origin } = job;
    const written = this.#states.retries.get(origin);
    const retry = this.#failedAttempts.of(origin) ?? written;
    if (retry === undefined) return;
    job.attempts = retry.attempts;
    job.firstMs = this.#steady.firstOf(retry);
    const payload = written === undefined ? undefined : this.#recordAt(written.place).payload();
    if (retry.dueMs === Infinity) {
      job.reason = this.#failedAttempts.reasonOf(origin) ?? decodeFate(payload as Buffer).reason;
    }
    if (payload !== undefined) job.history = Uint8Array.from(historyBytes(payload));
    if (job.history.length > 0 || retry.attempts === 0) return;
    const error = new Error("the error wasn't kept, since the disk was full");
    const failure = { attempt: retry.attempts, atMs: this.#steady.nowMs(), reason: reasonName(job.reason), error };
    job.history = withFailure(job.history, failure, this.#log.payloadBytesMax);
  }

  /** The job of the record at a place; its bytes are valid until the next call. */
  at(place: number): Job {
    const record = this.#recordAt(place);
    return jobOf(record, this.#handlerOf(record));
  }

  /** Keeps a job, with bytes of its own, for the next time that its turn comes. */
  keep(job: Job): void {
    this.#cache.add(job);
  }

  /**
   * The job stands in line behind others of its key. It is kept if there is room beside those that
   * are kept already: they stand further ahead, and come sooner.
   */
  standsInLine(job: Job): void {
    if (!this.#cache.hasRoomFor(job)) return;
    ownBytes(job);
    this.#cache.add(job);
  }

  /** The record is over without another turn. */
  forget(origin: number): void {
    this.#cache.take(origin);
  }

  /** The first place that the walk needs on its way; the settled ones may have been given up. */
  #firstUnsettled(place: number): number {
    return Math.min(place, this.#states.settled.endOf(this.#at) + 1);
  }

  /** Throws `ERR_JOURNAL_DAMAGED`, since what isn't finished must be there. */
  #recordAt(place: number): LogRecord {
    const passed = this.#passed.take(place);
    if (passed !== undefined) return passed;
    this.#walk ??= this.#log.walk();
    if (place < this.#at) this.#walk.seek(place);
    else this.#walk.skipTo(place - this.#at > READ_THROUGH ? place : this.#firstUnsettled(place));
    // Ends: at the place, or behind the last durable record.
    for (;;) {
      const record = this.#walk.next();
      if (record === undefined) throw new RangeError(`place ${place} isn't in the log`);
      this.#at = record.sequence + 1;
      if (record.sequence === place) return record;
      if (record.type === RECORD_TYPE.data) this.#passed.passed(record);
    }
  }
}
