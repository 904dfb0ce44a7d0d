/** Jobs whose turn comes again: out of memory if they are there, otherwise out of the log. */
import type { LogRecord } from "../format/log-record.ts";
import { decodeFate, historyBytes } from "../format/state-records.ts";
import type { LogWalk } from "../states/log-walk.ts";
import type { RecordStates } from "../states/record-states.ts";
import { type Job, JobCache, jobOf } from "./job.ts";
import type { Log } from "./ports.ts";
import type { Steady } from "./steady.ts";

/** Jobs that wait and are kept in memory. */
const CACHE_BYTES_MAX: number = 64 * 2 ** 20;

export class Jobs {
  readonly #log: Log;
  readonly #states: RecordStates;
  readonly #steady: Steady;
  readonly #handlerOf: (record: LogRecord) => number;
  readonly #cache = new JobCache(CACHE_BYTES_MAX);
  #walk: LogWalk | undefined;
  /** The walk stands before this place. */
  #at = Infinity;

  constructor(log: Log, states: RecordStates, steady: Steady, handlerOf: (record: LogRecord) => number) {
    this.#log = log;
    this.#steady = steady;
    this.#states = states;
    this.#handlerOf = handlerOf;
  }

  /** The job of a record that isn't finished, with what is known of its attempts. */
  again(origin: number): Job {
    const known = this.#cache.take(origin);
    if (known !== undefined) return known;
    const job = this.at(this.#states.placeOf(origin));
    job.key = Uint8Array.from(job.key);
    job.headers = Uint8Array.from(job.headers);
    job.payload = Uint8Array.from(job.payload);
    const retry = this.#states.retries.get(origin);
    if (retry === undefined) return job;
    job.attempts = retry.attempts;
    job.firstMs = this.#steady.fromWall(retry.firstMs);
    const payload = this.#recordAt(retry.place).payload();
    if (retry.dueMs === Infinity) job.reason = decodeFate(payload).reason;
    job.history = Uint8Array.from(historyBytes(payload));
    return job;
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

  /** Throws `ERR_JOURNAL_DAMAGED`, since what isn't finished must be there. */
  #recordAt(place: number): LogRecord {
    this.#walk ??= this.#log.walk();
    if (place < this.#at) this.#walk.seek(place);
    else this.#walk.skipTo(place);
    // Ends: at the place, or behind the last durable record.
    for (;;) {
      const record = this.#walk.next();
      if (record === undefined) throw new RangeError(`place ${place} isn't in the log`);
      this.#at = record.sequence + 1;
      if (record.sequence === place) return record;
    }
  }
}
