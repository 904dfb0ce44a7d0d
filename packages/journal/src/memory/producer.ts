/**
 * The producing end of the journal for one thread. It puts records into its ring and reads its
 * receipts. It never blocks and knows nothing of promises.
 */
import { unpark } from "@millrace/atomics-sync";
import { ByteRingProducer, EMPTY, FRAME_WORD_BYTES, frameBytes, FULL, SpscConsumer } from "@millrace/shared-memory";
import {
  type JournalMemory,
  POISONED,
  RECEIPT,
  receiptsPlace,
  sequenceOf,
  SPACE,
  SPACE_FULL,
  STATE,
  urgentWord,
} from "./control.ts";
import { journalError } from "../errors.ts";
import { writeU64 } from "@millrace/base";
import { RECORD_FIXED_BYTES, RECORD_MOVED, RECORD_MOVED_BYTES, RECORD_TYPE } from "../files/format.ts";
import { GROUP_RECORDS_MAX, HEADER_BYTES_MAX, KEY_BYTES_MAX } from "../files/limits.ts";

/** A record on its way into the ring. The bytes are copied. */
export interface RecordParts {
  /** One of RECORD_TYPE. */
  readonly type: number;
  /** 0 is the most urgent; the journal only stores it. */
  readonly priority: number;
  readonly timeMs: number;
  readonly header: Uint8Array;
  readonly key: Uint8Array;
  readonly payload: Uint8Array;
  /** RECORD_VALUE, RECORD_HEADER_VALUE. Default 0. */
  readonly flags?: number;
  /** For a record that is copied forward: its first sequence, and that of the copy it replaces. */
  readonly moved?: { readonly origin: number; readonly replaces: number };
}

/** Content bytes of a frame before header, key and payload. */
const FIXED_CONTENT_BYTES: number = RECORD_FIXED_BYTES - FRAME_WORD_BYTES;

function bytesInRing({ header, key, payload, moved }: RecordParts): number {
  const fixed = moved === undefined ? FIXED_CONTENT_BYTES : FIXED_CONTENT_BYTES + RECORD_MOVED_BYTES;
  return frameBytes(fixed + header.length + key.length + payload.length);
}

/** Counts what an atomic group takes, record by record. */
export class GroupSize {
  readonly bytesMax: number;
  bytes = 0;
  records = 0;

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  /** Throws `ERR_JOURNAL_RECORD_TOO_LARGE` when the group is over a limit with this record. */
  add(record: RecordParts): void {
    const { bytesMax } = this;
    const bytes = this.bytes + bytesInRing(record);
    const records = this.records + 1;
    if (bytes > bytesMax || records > GROUP_RECORDS_MAX) {
      throw journalError(
        "ERR_JOURNAL_RECORD_TOO_LARGE",
        `a group of ${records} records and ${bytes} bytes or more is over the limit of ${GROUP_RECORDS_MAX} records and ${bytesMax} bytes`,
        { details: { bytes, bytesMax, records, recordsMax: GROUP_RECORDS_MAX } },
      );
    }
    this.bytes = bytes;
    this.records = records;
  }
}

export class JournalProducer {
  readonly #memory: JournalMemory;
  readonly #index: number;
  readonly #isState: boolean;
  readonly #control: Int32Array;
  readonly #threads: Int32Array;
  readonly #ring: ByteRingProducer;
  readonly #words: Int32Array;
  readonly #numbers: Float64Array;
  readonly #receipts: SpscConsumer;
  readonly #receiptWords: Int32Array;

  /** Of the receipt that `nextReceipt` found. */
  firstSequence = 0;
  count = 0;
  /** These records were refused, because the disk is full. */
  isRefused = false;
  /** Position in the ring up to which everything is durable. */
  end = 0;

  constructor(memory: JournalMemory, index: number) {
    const own = memory.rings[index];
    if (own === undefined) throw new RangeError(`the journal has no ring ${index}`);
    this.#memory = memory;
    this.#index = index;
    this.#isState = own.isState;
    this.#control = new Int32Array(memory.control);
    this.#threads = new Int32Array(memory.threads);
    this.#ring = new ByteRingProducer(own.ring);
    const { buffer, byteOffset } = this.#ring.bytes;
    this.#words = new Int32Array(buffer, byteOffset);
    this.#numbers = new Float64Array(buffer, byteOffset);
    const place = receiptsPlace(own.receipts);
    this.#receipts = new SpscConsumer(place);
    this.#receiptWords = place.words;
  }

  /** Largest payload of a record without header and key. */
  get payloadBytesMax(): number {
    return this.#memory.recordBytesMax - RECORD_FIXED_BYTES - RECORD_MOVED_BYTES;
  }

  /** Position behind the last committed record. */
  get committed(): number {
    return this.#ring.committed;
  }

  /** Largest batch; the reserve for a full disk takes one at least. */
  get batchBytesMax(): number {
    return this.#memory.batchBytesMax;
  }

  /** Bytes that a record takes up in the ring and on disk. */
  bytesOf(record: RecordParts): number {
    return bytesInRing(record);
  }

  /** Bytes of the ring that are taken. */
  usedBytes(): number {
    return this.#ring.usedBytes();
  }

  /**
   * Takes the lengths of a record's parts. Throws `ERR_JOURNAL_RECORD_TOO_LARGE` for a record over
   * the limit.
   */
  checkSize(header: number, key: number, payload: number): void {
    // Every record has to fit when it is copied forward, too.
    const bytes = RECORD_FIXED_BYTES + RECORD_MOVED_BYTES + header + key + payload;
    if (header > HEADER_BYTES_MAX) throw partTooLarge("headers", header, HEADER_BYTES_MAX);
    if (key > KEY_BYTES_MAX) throw partTooLarge("key", key, KEY_BYTES_MAX);
    if (bytes <= this.#memory.recordBytesMax) return;
    throw journalError(
      "ERR_JOURNAL_RECORD_TOO_LARGE",
      `a record of ${bytes} bytes (header ${header}, key ${key}, payload ${payload}) is over the limit of ${this.#memory.recordBytesMax}`,
      { details: { bytes, recordBytesMax: this.#memory.recordBytesMax } },
    );
  }

  /** Throws `ERR_JOURNAL_RECORD_TOO_LARGE` for a group that exceeds a batch or half of the ring. */
  checkGroup(records: readonly RecordParts[]): void {
    const size = new GroupSize(this.groupBytesMax);
    for (const record of records) size.add(record);
  }

  /** Largest group: it must fit into a batch, and find room in a ring that others use as well. */
  get groupBytesMax(): number {
    return Math.min(this.#memory.batchBytesMax, this.#ring.capacity / 2);
  }

  /**
   * Puts a record into the ring; false when the ring is full. `continues` makes it one atomic group
   * with the next one. Nobody sees it before `commit`. The caller has checked the size.
   */
  stage(record: RecordParts, continues = false): boolean {
    const { header, key, payload, flags = 0, moved } = record;
    const fixed = moved === undefined ? FIXED_CONTENT_BYTES : FIXED_CONTENT_BYTES + RECORD_MOVED_BYTES;
    const at = this.#ring.stage(fixed + header.length + key.length + payload.length, continues);
    if (at === FULL) return false;
    const word = at >> 2;
    this.#words[word] = record.type | (record.priority << 8) | (header.length << 16);
    this.#words[word + 1] = key.length | ((moved === undefined ? flags : flags | RECORD_MOVED) << 16);
    this.#words[word + 2] = 0;
    this.#numbers[(at + 12) >> 3] = record.timeMs;
    if (moved !== undefined) this.#stageMoved(at + FIXED_CONTENT_BYTES, moved);
    let offset = at + fixed;
    const { bytes } = this.#ring;
    if (header.length > 0) bytes.set(header, offset);
    offset += header.length;
    if (key.length > 0) bytes.set(key, offset);
    this.#stagePayload(offset + key.length, payload);
    return true;
  }

  /**
   * As `stage`, for a data record that is nothing but bytes. Most are, and parts would cost as much
   * as the rest.
   */
  stageBytes(payload: Uint8Array, timeMs: number): boolean {
    const at = this.#ring.stage(FIXED_CONTENT_BYTES + payload.length, false);
    if (at === FULL) return false;
    const word = at >> 2;
    this.#words[word] = RECORD_TYPE.data;
    this.#words[word + 1] = 0;
    this.#words[word + 2] = 0;
    this.#numbers[(at + 12) >> 3] = timeMs;
    this.#stagePayload(at + FIXED_CONTENT_BYTES, payload);
    return true;
  }

  #stagePayload(offset: number, payload: Uint8Array): void {
    const { bytes } = this.#ring;
    if (payload.length > 0) bytes.set(payload, offset);
    // The padding goes to disk too, and must not hold leftovers of an earlier lap.
    for (let pad = offset + payload.length; (pad & 7) !== 0; pad += 1) bytes[pad] = 0;
  }

  #stageMoved(offset: number, { origin, replaces }: NonNullable<RecordParts["moved"]>): void {
    const { buffer, byteOffset } = this.#ring.bytes;
    const bytes = Buffer.from(buffer as unknown as ArrayBuffer, byteOffset + offset, RECORD_MOVED_BYTES);
    writeU64(bytes, origin, 0);
    writeU64(bytes, replaces, 8);
  }

  /** Forgets the staged records. */
  rollback(): void {
    this.#ring.rollback();
  }

  /** Hands everything staged to the writer and wakes it. */
  commit(): void {
    this.#ring.commit();
    unpark(this.#threads, this.#memory.writerThread);
  }

  /**
   * Hands everything staged to the writer, for the next sync; at the latest after 10 ms. Lazy rings
   * only.
   */
  commitLazily(): void {
    const isFirst = this.end === this.#ring.committed;
    this.#ring.commit();
    // While lazy records wait the writer sleeps for 10 ms at most. Once it has written the receipt
    // for all of them it may be about to sleep for longer.
    if (isFirst || this.hasReceipts()) unpark(this.#threads, this.#memory.writerThread);
  }

  /** Somebody awaits everything committed so far. Lazy rings only. */
  urge(): void {
    Atomics.store(this.#control, urgentWord(this.#index), this.#ring.committed);
    unpark(this.#threads, this.#memory.writerThread);
  }

  /** Steps to the next receipt and fills the fields; false when there is none. */
  nextReceipt(): boolean {
    const word = this.#receipts.peek();
    if (word === EMPTY) return false;
    const words = this.#receiptWords;
    this.end = words[word + RECEIPT.end] as number;
    this.firstSequence = sequenceOf(
      words[word + RECEIPT.sequenceLow] as number,
      words[word + RECEIPT.sequenceHigh] as number,
    );
    const count = words[word + RECEIPT.count] as number;
    this.count = Math.abs(count);
    this.isRefused = count < 0;
    this.#receipts.advance();
    this.#receipts.release();
    return true;
  }

  /** Whether `nextReceipt` would find one. */
  hasReceipts(): boolean {
    return this.#receipts.peek() !== EMPTY;
  }

  /**
   * Whether the writer refuses this ring's records at the moment, because the disk is full. It
   * never refuses state records.
   */
  isFull(): boolean {
    return !this.#isState && this.isDiskFull();
  }

  /**
   * Whether the disk has no room for another segment, so that state records have the reserve at
   * most.
   */
  isDiskFull(): boolean {
    return Atomics.load(this.#control, SPACE) === SPACE_FULL;
  }

  /** Whether the journal is poisoned: a record that has no receipt now is uncertain. */
  isPoisoned(): boolean {
    return Atomics.load(this.#control, STATE) === POISONED;
  }
}

function partTooLarge(part: string, bytes: number, bytesMax: number): Error {
  return journalError(
    "ERR_JOURNAL_RECORD_TOO_LARGE",
    `a record has ${part} of ${bytes} bytes, which is over the limit of ${bytesMax}`,
    { details: { part, bytes, bytesMax } },
  );
}
