/** The records of a log as an async iterator. */
import { setImmediate } from "@millrace/base";
import { journalError } from "../errors.ts";
import type { BatchHeader } from "../files/format.ts";
import { RecordCursor } from "../files/records.ts";
import type { Storage } from "../storage/storage.ts";
import { LogReader } from "./log-reader.ts";
import { type JournalRecord, RecordRun } from "./record.ts";

export interface ReadPlan {
  /** First sequence to look at. */
  readonly from: number;
  /**
   * Begin with the first record that is at least as new; by the records' times, which follow the
   * machine's clock.
   */
  readonly fromMs?: number | undefined;
  /** Ends after this sequence, or before the first record that is newer than `toMs`. */
  readonly to?: number | undefined;
  readonly toMs?: number | undefined;
  /** The sequence that is durable now. */
  readonly durable: () => number;
  /**
   * Waits until more than this is durable; false at the end. Without it the reading ends at the
   * first `durable()`.
   */
  readonly more?: ((after: number) => Promise<boolean>) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called with the sequence that the reader wants next: nothing from there on may be given up. */
  readonly at?: ((sequence: number) => void) | undefined;
}

/** The log and the place where a reading begins; determined when the first record is asked for. */
export interface ReadStart {
  readonly storage: Storage;
  readonly plan: ReadPlan;
}

/**
 * An async generator of records, written by hand: all records of a batch are there at once, and a
 * generator would make each of them wait for several turns of the microtask queue. Calls are
 * answered in their order, as a generator does.
 *
 * A reading throws `ERR_JOURNAL_DAMAGED` where a record is missing, `ERR_JOURNAL_TRUNCATED` where
 * it was given up, and the signal's reason.
 */
export class RecordStream implements AsyncGenerator<JournalRecord, void> {
  readonly #cursor = new RecordCursor();
  readonly #run = new RecordRun();
  readonly #batches: AsyncGenerator<void, void>;
  #plan: ReadPlan | undefined;
  #next = 0;
  #fromMs: number = Number.NEGATIVE_INFINITY;
  /**
   * Nothing more comes: the end was reached, an error was thrown, or the caller has left the loop.
   */
  #isOver = false;
  /** Calls that wait for a batch, and the last of them. */
  #turns = 0;
  #lastTurn: Promise<unknown> = Promise.resolve();

  /**
   * `begin` is called with the first record that is asked for; `end` once after it, when nothing is
   * read any more.
   */
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
      return this.#run.at(cursor);
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
    // The call that failed rejects; the calls behind it take their turns all the same.
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
          // Reading is synchronous: the rest of this thread gets its turn between batches.
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

/** For segments that were removed by hand, or under a reader that no journal knows of. */
function givenUp(sequence: number): Error {
  return journalError("ERR_JOURNAL_TRUNCATED", `sequence ${sequence} isn't there any more`, {
    details: { sequence },
  });
}

function lastOf(batch: BatchHeader): number {
  return batch.firstSequence + batch.count - 1;
}
