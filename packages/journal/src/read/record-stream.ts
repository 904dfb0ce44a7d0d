/** Reading records back as objects. */
import { decode } from "@millrace/codec";
import { journalError } from "../errors.ts";
import type { BatchHeader } from "../files/format.ts";
import { RECORD_HEADER_VALUE, RECORD_VALUE } from "../files/format.ts";
import { RecordCursor } from "../files/records.ts";
import { LogReader } from "./log-reader.ts";
import type { Storage } from "../storage/storage.ts";

/** A record as it was appended. The bytes belong to the reader. */
export interface JournalRecord {
  readonly sequence: number;
  /** The sequence that the record was acknowledged with: another one when it was copied forward. */
  readonly origin: number;
  readonly type: number;
  readonly priority: number;
  /** When it was appended, ms since 1970. */
  readonly timeMs: number;
  readonly header: Buffer;
  readonly key: Buffer;
  readonly payload: Buffer;
  /** The headers as they were given; undefined without. Throws `ERR_VALUE_CORRUPT`. */
  readonly headers: unknown;
  /** What was appended: the value, or the bytes. Throws `ERR_VALUE_CORRUPT`. */
  readonly value: unknown;
  /** Whether it belongs to one atomic group with the next record. */
  readonly continues: boolean;
  /** Bits of the format: whether payload and header are encoded values. */
  readonly flags: number;
}

export interface ReadPlan {
  /** First sequence to look at. */
  readonly from: number;
  /** Begin with the first record that is at least as new; by the records' times, which follow the machine's clock. */
  readonly fromMs?: number | undefined;
  /** Ends after this sequence, or before the first record that is newer than `toMs`. */
  readonly to?: number | undefined;
  readonly toMs?: number | undefined;
  /** What is durable now. */
  readonly durable: () => number;
  /** Waits until more than this is durable; false at the end. Without it the reading ends with what is durable at its beginning. */
  readonly more?: ((after: number) => Promise<boolean>) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Told how far the reader is: nothing from there on may be given up. */
  readonly at?: ((sequence: number) => void) | undefined;
}

/** Where a reading begins, found out when its first record is asked for. */
export interface ReadStart {
  readonly storage: Storage;
  readonly plan: ReadPlan;
}

/**
 * An async generator of records, written by hand: all records of a batch are there at once, and a generator would make every one of them wait
 * for several turns of the microtask queue. Calls are answered in their order, as a generator does.
 */
export class RecordStream implements AsyncGenerator<JournalRecord, void> {
  readonly #cursor = new RecordCursor();
  readonly #batches: AsyncGenerator<void, void>;
  #plan: ReadPlan | undefined;
  #next = 0;
  #fromMs: number = Number.NEGATIVE_INFINITY;
  /** Nothing more comes: the end was reached, or an error, or the caller went away. */
  #isOver = false;
  /** Calls that wait for a batch, and the last of them. */
  #turns = 0;
  #lastTurn: Promise<unknown> = Promise.resolve();

  /** `begin` is called with the first record that is asked for; `end` once after it, when nothing is read any more. */
  constructor(begin: () => Promise<ReadStart>, end: () => void) {
    this.#batches = this.#readBatches(begin, end);
  }

  next(): Promise<IteratorResult<JournalRecord, void>> {
    if (this.#turns === 0 && this.#plan?.signal?.aborted !== true) {
      const value = this.#take();
      if (value !== undefined) return Promise.resolve({ value, done: false });
    }
    return this.#inTurn(() => this.#advance());
  }

  return(): Promise<IteratorResult<JournalRecord, void>> {
    return this.#inTurn(async () => {
      this.#isOver = true;
      await this.#batches.return();
      return { value: undefined, done: true };
    });
  }

  throw(reason: unknown): Promise<IteratorResult<JournalRecord, void>> {
    return this.#inTurn(async () => {
      this.#isOver = true;
      await this.#batches.throw(reason);
      return { value: undefined, done: true };
    });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  /** The next record of the batch at hand that was asked for. */
  #take(): JournalRecord | undefined {
    const cursor = this.#cursor;
    const { to = Number.MAX_SAFE_INTEGER, toMs = Number.POSITIVE_INFINITY, at } = this.#plan ?? {};
    while (!this.#isOver && cursor.next()) {
      if (cursor.sequence < this.#next || cursor.timeMs < this.#fromMs) continue;
      this.#isOver = cursor.sequence > to || cursor.timeMs > toMs;
      if (this.#isOver) break;
      this.#fromMs = Number.NEGATIVE_INFINITY;
      this.#next = cursor.sequence + 1;
      at?.(this.#next);
      return recordAt(cursor);
    }
    return undefined;
  }

  async #advance(): Promise<IteratorResult<JournalRecord, void>> {
    // Ends: every turn returns, or goes on to the next batch.
    for (;;) {
      const signal = this.#plan?.signal;
      if (signal?.aborted === true && !this.#isOver) await this.#batches.throw(signal.reason);
      const value = this.#take();
      if (value !== undefined) return { value, done: false };
      if (this.#isOver) await this.#batches.return();
      if ((await this.#batches.next()).done === true) return { value: undefined, done: true };
    }
  }

  #inTurn<T>(step: () => Promise<T>): Promise<T> {
    this.#turns += 1;
    const turn = this.#lastTurn.then(step).finally(() => (this.#turns -= 1));
    // The caller is told of a failure; those behind it go on.
    this.#lastTurn = turn.catch(() => {});
    return turn;
  }

  /** Yields when the cursor stands in front of the next batch. */
  async *#readBatches(begin: () => Promise<ReadStart>, end: () => void): AsyncGenerator<void, void> {
    let reader: LogReader | undefined;
    try {
      const { storage, plan } = await begin();
      const { to = Number.MAX_SAFE_INTEGER, more, signal } = plan;
      this.#plan = plan;
      this.#next = Math.max(1, plan.from);
      this.#fromMs = plan.fromMs ?? Number.NEGATIVE_INFINITY;
      reader = new LogReader(storage);
      let known = plan.durable();
      let isPlaced =
        this.#fromMs > 0 && plan.fromMs !== undefined ? reader.seekTime(this.#fromMs) : reader.seek(this.#next);
      for (;;) {
        while (isPlaced && this.#next <= to && reader.next(known)) {
          this.#cursor.reset(reader.body, reader.batch.firstSequence);
          yield;
          this.#next = Math.max(this.#next, lastOf(reader.batch) + 1);
          // Reading is synchronous: others get their turn between batches.
          await new Promise((resolve) => setImmediate(resolve));
          signal?.throwIfAborted();
        }
        if (!isPlaced && plan.fromMs === undefined && this.#next <= Math.min(to, known)) throw givenUp(this.#next);
        if (more === undefined || this.#next > to || !(await more(known))) return;
        signal?.throwIfAborted();
        known = plan.durable();
        if (!isPlaced) isPlaced = reader.seek(this.#next);
      }
    } finally {
      this.#isOver = true;
      reader?.close();
      end();
    }
  }
}

/** Only where segments were removed by hand, or under a reader that no journal knows of. */
function givenUp(sequence: number): Error {
  return journalError("ERR_JOURNAL_TRUNCATED", `sequence ${sequence} isn't there any more`, {
    details: { sequence },
  });
}

function lastOf(batch: BatchHeader): number {
  return batch.firstSequence + batch.count - 1;
}

const NO_BYTES: Buffer = Buffer.alloc(0);

class Stored implements JournalRecord {
  readonly sequence: number;
  readonly origin: number;
  readonly type: number;
  readonly priority: number;
  readonly timeMs: number;
  readonly header: Buffer;
  readonly key: Buffer;
  readonly payload: Buffer;
  readonly continues: boolean;
  /** RECORD_VALUE, RECORD_HEADER_VALUE. */
  readonly flags: number;

  /** One copy for all parts. */
  constructor(cursor: RecordCursor) {
    const { headerStart, keyStart, payloadStart, payloadEnd } = cursor;
    const bytes = Buffer.allocUnsafe(payloadEnd - headerStart);
    cursor.body.copy(bytes, 0, headerStart, payloadEnd);
    const headerBytes = keyStart - headerStart;
    const keyEnd = payloadStart - headerStart;
    this.sequence = cursor.sequence;
    this.origin = cursor.origin;
    this.type = cursor.type;
    this.priority = cursor.priority;
    this.timeMs = cursor.timeMs;
    this.header = headerBytes === 0 ? NO_BYTES : bytes.subarray(0, headerBytes);
    this.key = keyEnd === headerBytes ? NO_BYTES : bytes.subarray(headerBytes, keyEnd);
    this.payload = keyEnd === 0 ? bytes : bytes.subarray(keyEnd);
    this.continues = cursor.continues;
    this.flags = cursor.flags;
  }

  get headers(): unknown {
    if (this.header.length === 0) return undefined;
    return (this.flags & RECORD_HEADER_VALUE) === 0 ? this.header : decode(this.header);
  }

  get value(): unknown {
    return (this.flags & RECORD_VALUE) === 0 ? this.payload : decode(this.payload);
  }
}

/** A copy of the record that `cursor` stands on. */
export function recordAt(cursor: RecordCursor): JournalRecord {
  return new Stored(cursor);
}
