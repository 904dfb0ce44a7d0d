/**
 * A record on its way to a handler: everything that is needed to run it, wherever its bytes come
 * from.
 */
import type { LogRecord } from "../format/log-record.ts";
import { deliveryTerms, encodedHeaders, type Terms } from "../format/record-header.ts";
import { keyName } from "../states/keys.ts";

const NO_BYTES = new Uint8Array(0);

export interface Job {
  readonly origin: number;
  readonly handler: number;
  readonly priority: number;
  /** When it was published, ms since 1970. */
  readonly timeMs: number;
  readonly terms: Terms;
  /** The name of its order key within the intake; undefined without. */
  readonly keyName: string | undefined;
  /** Attempts that have failed. */
  attempts: number;
  /** When the first one failed, by `Steady`; 0 before. */
  firstMs: number;
  /** Why it has no attempt left, one of REASON; 0 while it has. */
  reason: number;
  /** Failures so far, encoded. */
  history: Uint8Array;
  /** Bytes that are valid while the record is at hand; empty while a machine has them. */
  key: Uint8Array;
  headers: Uint8Array;
  payload: Uint8Array;
}

/** `handler` is the one that gets it, which a redrive may have chosen. */
export function jobOf(record: LogRecord, handler: number): Job {
  const header = record.header();
  const terms = deliveryTerms(header);
  const key = record.key();
  return {
    origin: record.origin,
    handler,
    priority: record.priority,
    timeMs: record.timeMs,
    terms,
    keyName: terms.isOrdered === true ? keyName(handler, record.priority, key) : undefined,
    attempts: 0,
    firstMs: 0,
    reason: 0,
    history: NO_BYTES,
    key,
    headers: encodedHeaders(header),
    payload: record.payload(),
  };
}

/** Gives a job bytes of its own, which stay when the ring or the batch goes on. */
export function ownBytes(job: Job): void {
  const { key, headers, payload } = job;
  const headersStart = key.length;
  const payloadStart = headersStart + headers.length;
  const bytes = Buffer.allocUnsafe(payloadStart + payload.length);
  bytes.set(key, 0);
  bytes.set(headers, headersStart);
  bytes.set(payload, payloadStart);
  job.key = bytes.subarray(0, headersStart);
  job.headers = bytes.subarray(headersStart, payloadStart);
  job.payload = bytes.subarray(payloadStart);
}

/** Memory of a job beside its bytes, about: four small buffers, terms, an entry. */
const JOB_BYTES = 1024;

function bytesOfJob(job: Job): number {
  return JOB_BYTES + job.history.length + recordBytesOf(job);
}

/** Bytes of its record in the log, but for what every record has. */
export function recordBytesOf({ key, headers, payload }: Job): number {
  return key.length + headers.length + payload.length;
}

/** Jobs that will be wanted again soon, within a limit of bytes; the oldest leave first. */
export class JobCache {
  readonly #jobs = new Map<number, Job>();
  readonly #bytesMax: number;
  #bytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** The job's bytes must be its own. */
  add(job: Job): void {
    this.take(job.origin);
    this.#jobs.set(job.origin, job);
    this.#bytes += bytesOfJob(job);
    for (const [origin] of this.#jobs) {
      if (this.#bytes <= this.#bytesMax) return;
      this.take(origin);
    }
  }

  /** Whether there is room for the job without letting go of another one. */
  hasRoomFor(job: Job): boolean {
    return this.#bytes + bytesOfJob(job) <= this.#bytesMax;
  }

  peek(origin: number): Job | undefined {
    return this.#jobs.get(origin);
  }

  take(origin: number): Job | undefined {
    const job = this.#jobs.get(origin);
    if (job === undefined) return undefined;
    this.#jobs.delete(origin);
    this.#bytes -= bytesOfJob(job);
    return job;
  }
}
