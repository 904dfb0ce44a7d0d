/**
 * The journal as the delivery's state machine sees it: new records out of the producers' rings, old
 * ones out of the segments, and a ring of its own to write to.
 *
 * Every durable record is visited once, while its bytes are in a ring, in the order of the writer's
 * receipts. Then the ring's space is given back: delivery never holds up a producer. Records that a
 * visit doesn't copy are read back from the segments.
 */
import { unpark } from "@millrace/atomics-sync";
import { invariant } from "@millrace/base";
import type { Storage } from "@millrace/journal";
import {
  type DeliveryHandle,
  deliveryReceiptsPlace,
  JournalProducer,
  NO_THREAD,
  producerWord,
  RECEIPT,
  RecordCursor,
  type RecordParts,
  sequenceOf,
} from "@millrace/journal/kernel";
import { ByteRingReleaser, EMPTY, FRAME_WORD_BYTES, SpscConsumer } from "@millrace/shared-memory";
import { KeptRecord, type LogRecord } from "../format/log-record.ts";
import { SegmentWalk } from "../states/segment-walk.ts";
import type { Log, LogWalk } from "./ports.ts";

interface RingView {
  readonly producerWord: number;
  readonly releaser: ByteRingReleaser;
  /** The frames of the ring. */
  readonly cursor: RecordCursor;
}

/** The journal's first ring is the opener's, for data. */
const OPENER_RING = 0;
/** Receipts taken before the other duties get their turn. */
const RECEIPTS_MAX = 64;
/** Members of a group that are held where they lie; the others are copied. */
const HELD_MAX = 1024;

export class JournalLog implements Log {
  readonly firstSequence: number;
  readonly recoveredSequence: number;
  readonly #storage: Storage;
  readonly #producer: JournalProducer;
  readonly #receipts: SpscConsumer;
  readonly #receiptWords: Int32Array;
  readonly #rings: RingView[];
  readonly #control: Int32Array;
  readonly #threads: Int32Array;
  #known: number;
  /** Records that came out of the opener's ring for data. */
  takenFromOpener = 0;
  /** The members of the group that is visited: each lies in its ring until all of it are. */
  readonly #holders: RecordCursor[] = [];
  #held = 0;

  constructor(journal: DeliveryHandle, storage: Storage) {
    const { memory } = journal;
    invariant(memory.delivery !== undefined, "the journal was opened with a delivery thread");
    const place = deliveryReceiptsPlace(memory.delivery.receipts);
    this.#storage = storage;
    this.firstSequence = journal.firstSequence;
    this.recoveredSequence = journal.recoveredSequence;
    this.#known = journal.recoveredSequence;
    this.#producer = new JournalProducer(memory, journal.ring);
    this.#receipts = new SpscConsumer(place);
    this.#receiptWords = place.words;
    this.#threads = new Int32Array(memory.threads);
    this.#control = new Int32Array(memory.control);
    this.#rings = memory.rings.map(({ ring }, index) => {
      const releaser = new ByteRingReleaser(ring);
      const { buffer, byteOffset, length } = releaser.bytes;
      const cursor = new RecordCursor();
      cursor.reset(Buffer.from(buffer as unknown as ArrayBuffer, byteOffset, length), 0);
      return { producerWord: producerWord(index), releaser, cursor };
    });
  }

  get known(): number {
    return this.#known;
  }

  hasNews(): boolean {
    return this.#receipts.peek() !== EMPTY || this.#producer.hasReceipts();
  }

  takeNews(visit: (record: LogRecord) => void): number {
    let taken = 0;
    for (let word = this.#receipts.peek(); word !== EMPTY && taken < RECEIPTS_MAX; word = this.#receipts.peek()) {
      this.#take(word, visit);
      this.#receipts.advance();
      taken += 1;
    }
    if (taken > 0) this.#receipts.release();
    // The records of this thread's own were visited with all others; their receipts free its ring.
    while (this.#producer.nextReceipt()) taken += 1;
    return taken;
  }

  #take(word: number, visit: (record: LogRecord) => void): void {
    const words = this.#receiptWords;
    const ring = this.#rings[words[word + RECEIPT.ring] as number] as RingView;
    const end = words[word + RECEIPT.end] as number;
    // Refused records have a negative count, and space to give back.
    const count = Math.max(0, words[word + RECEIPT.count] as number);
    if (words[word + RECEIPT.ring] === OPENER_RING) this.takenFromOpener += count;
    if (count > 0) {
      const low = words[word + RECEIPT.sequenceLow] as number;
      const first = sequenceOf(low, words[word + RECEIPT.sequenceHigh] as number);
      invariant(first === this.#known + 1, "receipts come in the order of their sequences");
      this.#visitAll(ring, end, first, count, visit);
    }
    if (!ring.releaser.release(end)) return;
    const thread = Atomics.load(this.#control, ring.producerWord);
    if (thread !== NO_THREAD) unpark(this.#threads, thread);
  }

  #visitAll(ring: RingView, end: number, first: number, count: number, visit: (record: LogRecord) => void): void {
    const { releaser, cursor } = ring;
    for (let index = 0; index < count; index += 1) {
      const isThere = releaser.next(end);
      invariant(isThere, "a ring holds the records that its receipts promise");
      // The cursor counts up by itself.
      cursor.sequence = first + index - 1;
      cursor.at(releaser.offset - FRAME_WORD_BYTES);
      this.#known = first + index;
      visit(cursor);
      if (!cursor.continues) this.#held = 0;
    }
  }

  hold(record: LogRecord): LogRecord {
    if (!(record instanceof RecordCursor) || this.#held === HELD_MAX) return new KeptRecord(record);
    let holder = this.#holders[this.#held];
    if (holder === undefined) {
      holder = new RecordCursor();
      this.#holders.push(holder);
    }
    this.#held += 1;
    holder.standAt(record);
    return holder;
  }

  walk(): LogWalk {
    return new SegmentWalk(this.#storage, () => this.#known);
  }

  // ── writing ───────────────────────────────────────────────────────────────────────────────────

  get payloadBytesMax(): number {
    return this.#producer.payloadBytesMax;
  }

  get batchBytesMax(): number {
    return this.#producer.batchBytesMax;
  }

  get groupBytesMax(): number {
    return this.#producer.groupBytesMax;
  }

  bytesOf(parts: RecordParts): number {
    return this.#producer.bytesOf(parts);
  }

  stage(parts: RecordParts, continues = false): boolean {
    return this.#producer.stage(parts, continues);
  }

  rollback(): void {
    this.#producer.rollback();
  }

  commit(isUrgent: boolean): void {
    this.#producer.commitLazily();
    if (isUrgent) this.#producer.urge();
  }

  isQuiet(): boolean {
    return this.#producer.end === this.#producer.committed;
  }

  isDiskFull(): boolean {
    return this.#producer.isDiskFull();
  }

  isPoisoned(): boolean {
    return this.#producer.isPoisoned();
  }
}
