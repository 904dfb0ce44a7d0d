/**
 * Appends with a callback each, for a thread with an event loop.
 *
 * Receipts come in ring order, so the waiters are a queue. Records that find the ring full wait on
 * this thread's heap.
 */
import type { Reactor, Source } from "@millrace/atomics-sync";
import type { MillraceError } from "@millrace/base";
import { journalError } from "../errors.ts";
import { RECORD_TYPE } from "../files/format.ts";
import type { JournalProducer, RecordParts } from "../memory/producer.ts";

/** Told once what became of a record. */
export interface AppendWaiter {
  durable(sequence: number): void;
  failed(error: MillraceError): void;
}

type Resolve = (sequence: number) => void;
type Reject = (error: MillraceError) => void;

/** One record, or an atomic group. */
interface WaitingRecords {
  readonly records: readonly RecordParts[];
  readonly bytes: number;
  readonly waiter: AppendWaiter;
}

/** Settled waiters are dropped once they are more than this many and more than the others. */
const FORGET_MIN = 1024;
const NO_BYTES = new Uint8Array(0);
/** Waiters told in one turn, so that timers and sockets get theirs. */
const WAITERS_MAX = 4096;

export class Appends implements Source {
  readonly pollMs: number;
  readonly #producer: JournalProducer;
  readonly #reactor: Reactor;
  readonly #pendingBytesMax: number;
  readonly #poisonedError: () => MillraceError;
  /**
   * Waiters of the records in the ring, in order; those before `#next` are settled. A group has
   * one, at its first record. The two functions of a promise stand side by side: an object for them
   * would cost as much as writing the record.
   */
  #waiters: (AppendWaiter | Resolve | undefined)[] = [];
  #rejects: (Reject | undefined)[] = [];
  #next = 0;
  /** Durable records whose waiters are still to be told, and the sequence of the first. */
  #toTell = 0;
  #sequence = 0;
  #isRefused = false;
  /** Records that wait for room in the ring. */
  #waiting: WaitingRecords[] = [];
  #waitingFrom = 0;
  #waitingBytes = 0;
  #whenIdle: (() => void) | undefined;

  constructor(
    producer: JournalProducer,
    reactor: Reactor,
    options: { readonly pendingBytesMax: number; readonly pollMs: number },
    poisonedError: () => MillraceError,
  ) {
    this.pollMs = options.pollMs;
    this.#producer = producer;
    this.#reactor = reactor;
    this.#pendingBytesMax = options.pendingBytesMax;
    this.#poisonedError = poisonedError;
    reactor.add(this);
  }

  /** Records under way. */
  get outstanding(): number {
    return this.#waiters.length - this.#next + this.#waiting.length - this.#waitingFrom;
  }

  /** Copies a record for the writer. When it throws, the record certainly isn't stored. */
  append(record: RecordParts, waiter: AppendWaiter): void {
    this.#check(record);
    this.#refuseIfUseless();
    if (this.#waitingFrom === this.#waiting.length && this.#producer.stage(record)) {
      this.#producer.commit();
      this.#pushWaiter(waiter, undefined);
    } else {
      this.#enqueue([record], waiter);
    }
    this.#reactor.expect();
  }

  /** As `append`; false, and nothing has happened, when the record would have to wait for room. */
  tryAppend(record: RecordParts, waiter: AppendWaiter): boolean {
    this.#check(record);
    this.#refuseIfUseless();
    if (this.#waitingFrom < this.#waiting.length || !this.#producer.stage(record)) return false;
    this.#producer.commit();
    this.#pushWaiter(waiter, undefined);
    this.#reactor.expect();
    return true;
  }

  /** As `append`, for a record of data that is nothing but bytes. */
  appendBytes(payload: Uint8Array, resolve: Resolve, reject: Reject): void {
    this.#producer.checkSize(0, 0, payload.length);
    this.#refuseIfUseless();
    const timeMs = Date.now();
    if (this.#waitingFrom === this.#waiting.length && this.#producer.stageBytes(payload, timeMs)) {
      this.#producer.commit();
      this.#pushWaiter(resolve, reject);
    } else {
      const { data: type } = RECORD_TYPE;
      const record = { type, priority: 0, timeMs, header: NO_BYTES, key: NO_BYTES, payload };
      this.#enqueue([record], { durable: resolve, failed: reject });
    }
    this.#reactor.expect();
  }

  /** Bytes of the largest group. */
  get groupBytesMax(): number {
    return this.#producer.groupBytesMax;
  }

  /**
   * As `append`, for records that are stored together or not at all. The waiter gets the first
   * sequence.
   */
  appendGroup(records: readonly RecordParts[], waiter: AppendWaiter): void {
    for (const record of records) this.#check(record);
    this.#producer.checkGroup(records);
    this.#refuseIfUseless();
    if (this.#waitingFrom === this.#waiting.length && this.#stage(records)) {
      this.#producer.commit();
      this.#pushGroup(records, waiter);
    } else {
      this.#enqueue(records, waiter);
    }
    this.#reactor.expect();
  }

  /** As `appendGroup`; false, and nothing has happened, when the group would have to wait. */
  tryAppendGroup(records: readonly RecordParts[], waiter: AppendWaiter): boolean {
    for (const record of records) this.#check(record);
    this.#producer.checkGroup(records);
    this.#refuseIfUseless();
    if (this.#waitingFrom < this.#waiting.length || !this.#stage(records)) return false;
    this.#producer.commit();
    this.#pushGroup(records, waiter);
    this.#reactor.expect();
    return true;
  }

  /** Bytes of the ring that are taken. */
  get ringBytes(): number {
    return this.#producer.usedBytes();
  }

  #check({ header, key, payload }: RecordParts): void {
    this.#producer.checkSize(header.length, key.length, payload.length);
  }

  #refuseIfUseless(): void {
    if (this.#producer.isPoisoned()) throw this.#poisonedError();
    if (this.#producer.isFull()) throw fullError();
  }

  /** Whether the ring had room for all of them. */
  #stage(records: readonly RecordParts[]): boolean {
    for (let index = 0; index < records.length; index += 1) {
      if (this.#producer.stage(records[index] as RecordParts, index < records.length - 1)) continue;
      this.#producer.rollback();
      return false;
    }
    return true;
  }

  #pushWaiter(waiter: AppendWaiter | Resolve | undefined, reject: Reject | undefined): void {
    this.#waiters.push(waiter);
    this.#rejects.push(reject);
  }

  #pushGroup(records: readonly RecordParts[], waiter: AppendWaiter): void {
    this.#pushWaiter(waiter, undefined);
    for (let index = 1; index < records.length; index += 1) this.#pushWaiter(undefined, undefined);
  }

  poll(): number {
    // Before the receipts: a record that they report as durable then isn't called uncertain below.
    const isPoisoned = this.#producer.isPoisoned();
    let handled = 0;
    while (handled < WAITERS_MAX && (this.#toTell > 0 || this.#nextReceipt())) {
      handled += this.#tell(WAITERS_MAX - handled);
    }
    if (this.#waitingFrom < this.#waiting.length && !isPoisoned) handled += this.#stageWaiting();
    if (isPoisoned && handled < WAITERS_MAX) handled += this.#failAll();
    if (handled > 0 && this.outstanding === 0) this.#whenIdle?.();
    return handled;
  }

  isExpecting(): boolean {
    return this.outstanding > 0;
  }

  /** Resolves when every record under way was told its fate. */
  async drain(): Promise<void> {
    if (this.outstanding > 0) await new Promise<void>((resolve) => (this.#whenIdle = resolve));
    this.#whenIdle = undefined;
  }

  detach(): void {
    this.#reactor.remove(this);
  }

  #nextReceipt(): boolean {
    if (!this.#producer.nextReceipt()) return false;
    this.#toTell = this.#producer.count;
    this.#sequence = this.#producer.firstSequence;
    this.#isRefused = this.#producer.isRefused;
    return true;
  }

  #tell(most: number): number {
    const count = Math.min(this.#toTell, most);
    for (let told = 0; told < count; told += 1) {
      const waiter = this.#waiters[this.#next];
      const reject = this.#rejects[this.#next];
      this.#waiters[this.#next] = undefined;
      this.#rejects[this.#next] = undefined;
      this.#next += 1;
      if (this.#isRefused) tellFailed(waiter, reject, fullError());
      else if (typeof waiter === "function") waiter(this.#sequence);
      else waiter?.durable(this.#sequence);
      this.#sequence += 1;
    }
    this.#toTell -= count;
    // Forgets those that were told, in steps that cost a constant per record.
    if (this.#next > FORGET_MIN && this.#next * 2 > this.#waiters.length) {
      this.#waiters = this.#waiters.slice(this.#next);
      this.#rejects = this.#rejects.slice(this.#next);
      this.#next = 0;
    }
    return count;
  }

  #enqueue(records: readonly RecordParts[], waiter: AppendWaiter): void {
    const bytes = records.reduce((sum, record) => sum + bytesOf(record), 0);
    if (this.#waitingBytes + bytes > this.#pendingBytesMax) {
      throw journalError(
        "ERR_JOURNAL_BUSY",
        `${this.#waitingBytes} bytes wait for room in the journal's ring; the limit is ${this.#pendingBytesMax}`,
        { details: { pendingBytes: this.#waitingBytes, pendingBytesMax: this.#pendingBytesMax } },
      );
    }
    this.#waitingBytes += bytes;
    const copies = records.map((record) => ({
      ...record,
      header: own(record.header),
      key: own(record.key),
      payload: own(record.payload),
    }));
    this.#waiting.push({ records: copies, bytes, waiter });
  }

  #stageWaiting(): number {
    let staged = 0;
    while (this.#waitingFrom < this.#waiting.length) {
      const { records, bytes, waiter } = this.#waiting[this.#waitingFrom] as WaitingRecords;
      if (this.#producer.isFull()) waiter.failed(fullError());
      else if (this.#stage(records)) {
        // At once: a later group that finds no room rolls back everything that isn't committed.
        this.#producer.commit();
        this.#pushGroup(records, waiter);
      } else break;
      this.#waitingBytes -= bytes;
      this.#waitingFrom += 1;
      staged += 1;
    }
    if (this.#waitingFrom * 2 > this.#waiting.length) {
      this.#waiting = this.#waiting.slice(this.#waitingFrom);
      this.#waitingFrom = 0;
    }
    return staged;
  }

  /**
   * Ends all waiters of a poisoned journal. Records with a receipt are stored, those on the heap
   * are not; of the others nobody knows.
   */
  #failAll(): number {
    if (this.outstanding === 0) return 0;
    const waiters = this.#waiters.slice(this.#next);
    const rejects = this.#rejects.slice(this.#next);
    const waiting = this.#waiting.slice(this.#waitingFrom);
    this.#waiters = [];
    this.#rejects = [];
    this.#next = 0;
    this.#waiting = [];
    this.#waitingFrom = 0;
    this.#waitingBytes = 0;
    const poisoned = this.#poisonedError();
    const uncertain = journalError("ERR_JOURNAL_UNCERTAIN", `the record may be stored or not: ${poisoned.message}`, {
      cause: poisoned,
    });
    for (const [index, waiter] of waiters.entries()) tellFailed(waiter, rejects[index], uncertain);
    for (const { waiter } of waiting) waiter.failed(poisoned);
    return waiters.length + waiting.length;
  }
}

function tellFailed(
  waiter: AppendWaiter | Resolve | undefined,
  reject: Reject | undefined,
  error: MillraceError,
): void {
  if (typeof waiter === "object") waiter.failed(error);
  else reject?.(error);
}

function bytesOf({ header, key, payload }: RecordParts): number {
  return header.length + key.length + payload.length;
}

function fullError(): MillraceError {
  return journalError("ERR_JOURNAL_FULL", "the disk has no room for the next segment of the journal");
}

function own(bytes: Uint8Array): Uint8Array {
  return bytes.length === 0 ? bytes : Uint8Array.from(bytes);
}
