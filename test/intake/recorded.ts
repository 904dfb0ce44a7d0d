/**
 * The oracle of recorded ends: whatever the log says of a record whose attempts are recorded
 * follows from an ATTEMPT record before it, unless the disk was full since the attempt began.
 */
import { RECORD_TYPE } from "@millrace/journal";
import { type AttemptEnd, decodeAttempt, valueOf } from "@millrace/intake/internal/format/attempt-record";
import type { LogRecord } from "@millrace/intake/internal/format/log-record";
import { decodeFate } from "@millrace/intake/internal/format/state-records";

export class RecordedEnds {
  readonly #broken: (what: string) => never;
  /** The last end of each record that is durable. */
  readonly #ends = new Map<number, AttemptEnd>();
  /** When the latest attempt of a record began, and its first one; in steps. */
  readonly #begunAt = new Map<number, number>();
  readonly #firstBegunAt = new Map<number, number>();
  #fullAt = -1;
  /** Ends that were found where they must be. */
  found = 0;

  constructor(broken: (what: string) => never) {
    this.#broken = broken;
  }

  began(origin: number, step: number): void {
    this.#begunAt.set(origin, step);
    if (!this.#firstBegunAt.has(origin)) this.#firstBegunAt.set(origin, step);
  }

  diskIsFull(step: number): void {
    this.#fullAt = step;
  }

  /** An ATTEMPT record is durable. */
  attempted(record: LogRecord): void {
    const end = decodeAttempt(record.payload());
    if (!this.#begunAt.has(end.origin)) this.#broken(`the end of ${end.origin} is recorded, which nobody has begun`);
    this.#ends.set(end.origin, end);
  }

  /** The ACK of a record is durable whose handler has returned `result` in the run that counts. */
  acknowledged(origin: number, result: string | undefined): void {
    this.#must(
      origin,
      "ACK",
      this.#begunAt,
      (end) => end.reason === undefined && end.isLast && valueOf(end) === result,
    );
  }

  /** A RETRY or DEAD record is durable, and no copy. */
  failed(record: LogRecord): void {
    const { type } = record;
    const { origin, attempts, atMs } = decodeFate(record.payload());
    const isLast = type === RECORD_TYPE.dead || atMs === Infinity;
    const isDead = type === RECORD_TYPE.dead;
    // A record that a full disk has delayed says later how an earlier attempt failed.
    this.#must(origin, isDead ? "DEAD" : "RETRY", isDead ? this.#begunAt : this.#firstBegunAt, (end) => {
      const failures = end.reason === "snooze" ? end.attempt - 1 : end.attempt;
      return end.reason !== undefined && end.isLast === isLast && failures === attempts;
    });
  }

  #must(
    origin: number,
    what: string,
    begunAt: ReadonlyMap<number, number>,
    follows: (end: AttemptEnd) => boolean,
  ): void {
    const end = this.#ends.get(origin);
    if (end !== undefined && follows(end)) this.found += 1;
    else if (this.#fullAt < (begunAt.get(origin) ?? Infinity)) {
      this.#broken(`the ${what} record of ${origin} is durable, and the end that it follows from isn't recorded`);
    }
  }
}
