/**
 * Recorded records with what became of them: out of one reading of the log, in the order in which
 * they ended, which for records of one order key is that of their publishing.
 *
 * The end of a record lies behind it, at once or hours later. Until then it is kept here. With too
 * many of them the rest of the range waits: their ends are looked for first, and then the reading
 * goes back to where it stopped.
 */
import { isMillraceError } from "@millrace/base";
import { RECORD_TYPE } from "@millrace/journal";
import { type AttemptEnd, decodeAttempt } from "../format/attempt-record.ts";
import { KeptRecord, type LogRecord } from "../format/log-record.ts";
import { ackRanges, decodeExpire, decodeFate, decodeHistory, type Failure } from "../format/state-records.ts";
import { isWanted, JUDGING, logRecordOf, outside, type RecordedLog, type RecordedRange } from "../replay/recorded.ts";
import type { WindowLimits } from "../states/dedupe-window.ts";
import { type Group, GroupReader } from "../states/groups.ts";
import { RecordStates } from "../states/record-states.ts";

/** Records that are kept until their ends are read, and their bytes. */
const PENDING_MAX = 100_000;
const PENDING_BYTES_MAX: number = 256 * 2 ** 20;

/** A record that is finished or dead. */
export interface Finished {
  readonly record: LogRecord;
  /** How its last attempt ended; undefined where nothing is recorded. */
  readonly end: AttemptEnd | undefined;
  /** Of a dead record, the last of its errors that is kept. */
  readonly failure: Failure | undefined;
  readonly isDead: boolean;
  /** The records that its handler has published with its end. */
  readonly published: readonly LogRecord[];
}

export interface FinishedLimits {
  readonly dedupe: WindowLimits;
  /** Default: see above; for tests. */
  readonly pendingMax?: number;
}

/** Records of the range that have no end. */
export interface Unended {
  unfinished: number;
  expired: number;
}

interface Pending {
  readonly record: KeptRecord;
  /** Of its newest copy. */
  place: number;
  end: AttemptEnd | undefined;
}

class FinishedReader {
  readonly #range: RecordedRange;
  readonly #isPicked: (record: LogRecord) => boolean;
  readonly #states: RecordStates;
  readonly #pendingMax: number;
  readonly #unended: Unended;
  #pending = new Map<number, Pending>();
  /** Origins of copies, by their places. */
  #moved = new Map<number, number>();
  #bytes = 0;
  /** Up to here it is known which records are the first of their kind. */
  #judgedUpTo: number;
  /** No record behind it is taken before the next `begin`. */
  takenUpTo = 0;
  #groups: GroupReader;
  #published: LogRecord[] = [];
  ended: Finished[] = [];
  readonly #visitOne = (record: LogRecord, group: Group): void => this.#visit(record, group);

  constructor(
    range: RecordedRange,
    limits: FinishedLimits,
    unended: Unended,
    isPicked: (record: LogRecord) => boolean,
  ) {
    this.#range = range;
    this.#isPicked = isPicked;
    this.#states = new RecordStates(limits.dedupe, range.from);
    this.#groups = new GroupReader(this.#states.window);
    this.#pendingMax = limits.pendingMax ?? PENDING_MAX;
    this.#unended = unended;
    this.#judgedUpTo = range.from - 1;
  }

  /** The reading begins, or goes back to where it stopped to take records. */
  begin(): void {
    this.#unended.unfinished += this.#pending.size;
    this.#pending = new Map();
    this.#moved = new Map();
    this.#groups = new GroupReader(this.#states.window);
    this.#published = [];
    this.#bytes = 0;
    this.takenUpTo = this.#range.to;
  }

  /** Nothing is waited for, and what comes isn't taken. */
  isOver(sequence: number): boolean {
    return sequence > this.takenUpTo && this.#pending.size === 0;
  }

  read(record: LogRecord): void {
    if (record.origin === record.sequence) this.#groups.take(record, this.#visitOne);
    else this.#copied(record);
    // Between two groups.
    const isFull = this.#pending.size >= this.#pendingMax || this.#bytes >= PENDING_BYTES_MAX;
    if (isFull && !record.continues) this.takenUpTo = Math.min(this.takenUpTo, record.sequence);
  }

  #copied({ type, origin, sequence }: LogRecord): void {
    const pending = type === RECORD_TYPE.data ? this.#pending.get(origin) : undefined;
    if (pending === undefined) return;
    pending.place = sequence;
    this.#moved.set(sequence, origin);
  }

  #visit(record: LogRecord, group: Group): void {
    const { type, sequence } = record;
    const isTaken = JUDGING.has(type) && sequence > this.#judgedUpTo && sequence <= this.takenUpTo;
    if (isTaken) {
      this.#judgedUpTo = sequence;
      const isFirst = this.#states.read(record, group).kind === "first";
      if (isFirst && isWanted(record, this.#range) && this.#isPicked(record)) this.#take(record);
    }
    if (type === RECORD_TYPE.data) {
      if (group.isOutcome) this.#published.push(record);
    } else this.#visitState(record, group);
  }

  #take(record: LogRecord): void {
    const kept = new KeptRecord(record);
    this.#bytes += kept.bytes;
    this.#pending.set(record.sequence, { record: kept, place: record.sequence, end: undefined });
  }

  #visitState(record: LogRecord, group: Group): void {
    const payload = record.payload();
    switch (record.type) {
      case RECORD_TYPE.attempt:
        this.#attempted(decodeAttempt(payload));
        break;
      case RECORD_TYPE.ack: {
        const published = group.isOutcome ? this.#published : [];
        this.#published = [];
        this.#acknowledged(payload, published);
        break;
      }
      case RECORD_TYPE.dead: {
        const failure = decodeHistory(payload).failures.at(-1);
        this.#ends(decodeFate(payload).origin, { failure, isDead: true, published: [] });
        break;
      }
      case RECORD_TYPE.expire:
        for (const origin of decodeExpire(payload).origins) this.#expires(origin);
        break;
    }
  }

  #attempted(end: AttemptEnd): void {
    const pending = this.#pending.get(end.origin);
    if (pending !== undefined) pending.end = { ...end, bytes: Uint8Array.from(end.bytes) };
  }

  #acknowledged(payload: Buffer, published: readonly LogRecord[]): void {
    const ranges = ackRanges(payload);
    const how = { failure: undefined, isDead: false, published };
    for (let index = 0; index < ranges.ranges; index += 1) {
      const [first, last] = ranges.range(index);
      // By whichever is shorter.
      if (last - first < this.#pending.size) {
        for (let place = first; place <= last; place += 1) this.#endsAt(place, how);
      } else
        for (const { place } of this.#pending.values()) if (place >= first && place <= last) this.#endsAt(place, how);
    }
  }

  #endsAt(place: number, how: Pick<Finished, "failure" | "isDead" | "published">): void {
    const origin = this.#moved.get(place) ?? place;
    if (this.#pending.get(origin)?.place === place) this.#ends(origin, how);
  }

  #ends(origin: number, how: Pick<Finished, "failure" | "isDead" | "published">): void {
    const pending = this.#remove(origin);
    if (pending !== undefined) this.ended.push({ record: pending.record, end: pending.end, ...how });
  }

  #expires(origin: number): void {
    if (this.#remove(origin) !== undefined) this.#unended.expired += 1;
  }

  #remove(origin: number): Pending | undefined {
    const pending = this.#pending.get(origin);
    if (pending === undefined) return undefined;
    this.#pending.delete(origin);
    this.#moved.delete(pending.place);
    this.#bytes -= pending.record.bytes;
    return pending;
  }

  /** The log is read to its end. */
  end(): void {
    this.#unended.unfinished += this.#pending.size;
  }
}

/**
 * The records of a range that `isPicked` picks, with their ends; `unended` counts those without.
 * Throws `ERR_REPLAY_RANGE`, `ERR_JOURNAL_DAMAGED`, and the signal's reason.
 */
export async function* finishedRecords(
  log: RecordedLog,
  range: RecordedRange,
  limits: FinishedLimits,
  unended: Unended,
  isPicked: (record: LogRecord) => boolean,
  signal?: AbortSignal,
): AsyncGenerator<Finished, void> {
  const reader = new FinishedReader(range, limits, unended, isPicked);
  const to = log.durableSequence;
  try {
    // Ends: every round takes a record at least.
    for (let from = range.from; from <= range.to; from = reader.takenUpTo + 1) {
      reader.begin();
      for await (const record of log.read({ from, to, ...(signal === undefined ? {} : { signal }) })) {
        reader.read(logRecordOf(record));
        if (reader.ended.length > 0) yield* reader.ended.splice(0);
        if (reader.isOver(record.sequence)) break;
      }
    }
    reader.end();
  } catch (thrown) {
    throw isMillraceError(thrown, "ERR_JOURNAL_TRUNCATED") ? await outside(log, range, thrown) : thrown;
  }
}
