/**
 * The records that are still to be delivered, in the order of their sequences, from memory or from the segments.
 *
 * While delivery keeps up, records come straight out of the producers' rings, in the order of the writer's receipts. When it falls
 * behind, the rings must not fill up on its account: it gives their space back unread, remembers where it stood, and reads on from
 * the segments, until it has caught up with the newest receipt. Nothing is read from a ring after its space was given back.
 *
 *            receipts pile up: more than a quarter of a ring is waiting
 *   MEMORY ───────────────────────────────────────────────────────────► SEGMENTS
 *          ◄───────────────────────────────────────────────────────────
 *            everything up to the newest receipt was read
 */
import { unpark } from "@millrace/atomics-sync";
import { invariant } from "@millrace/base";
import type { Storage } from "@millrace/journal";
import {
  type DeliveryHandle,
  deliveryReceiptsPlace,
  LogReader,
  NO_THREAD,
  producerWord,
  RECEIPT,
  RecordCursor,
  sequenceOf,
} from "@millrace/journal/kernel";
import { ByteRingReleaser, EMPTY, FRAME_WORD_BYTES, SpscConsumer } from "@millrace/shared-memory";

/** A receipt of the writer: everything in `ring` before `end` is durable; or was refused, with a count of 0. */
interface Receipt {
  readonly ring: number;
  readonly end: number;
  readonly firstSequence: number;
  readonly count: number;
}

interface RingView {
  readonly producerWord: number;
  readonly releaser: ByteRingReleaser;
  /** The frames of the ring. */
  readonly cursor: RecordCursor;
  /** End of the newest receipt, and of what was given back. */
  durableEnd: number;
  releasedEnd: number;
}

/** A ring may hold this part of its capacity for delivery before delivery gives way. */
const HELD_PART = 4;

/** Finished records that are worth a search for the next unfinished one. */
const SKIP_MIN = 4096;

export class Backlog {
  readonly #receipts: SpscConsumer;
  readonly #receiptWords: Int32Array;
  readonly #rings: RingView[];
  readonly #control: Int32Array;
  readonly #threads: Int32Array;
  readonly #reader: LogReader;
  readonly #readerCursor = new RecordCursor();
  /** MEMORY: receipts whose records were not all read; those before `#nextReceipt` were. */
  #waiting: Receipt[] = [];
  #nextReceipt = 0;
  /** Records read of the receipt at hand. */
  #readOfReceipt = 0;
  #isReadingSegments: boolean;
  /** SEGMENTS: the reader's cursor is within a batch. */
  #readerIsInBatch = false;
  /** Whether `peek` has found the record with sequence `#next`. */
  #hasRecord = false;
  /** The next sequence to hand out. */
  #next: number;
  /** Highest sequence known to be durable. */
  #known: number;
  #fallBacks = 0;

  /** Begins with sequence `from`, which may lie in the segments; everything up to `known` is durable. */
  constructor(journal: DeliveryHandle, storage: Storage, from: number, known: number) {
    const { memory } = journal;
    invariant(memory.delivery !== undefined, "the journal was opened with a delivery thread");
    const place = deliveryReceiptsPlace(memory.delivery.receipts);
    this.#receipts = new SpscConsumer(place);
    this.#receiptWords = place.words;
    this.#threads = new Int32Array(memory.threads);
    this.#control = new Int32Array(memory.control);
    this.#rings = memory.rings.map(({ ring }, index) => {
      const releaser = new ByteRingReleaser(ring);
      const { buffer, byteOffset, length } = releaser.bytes;
      const cursor = new RecordCursor();
      cursor.reset(Buffer.from(buffer as unknown as ArrayBuffer, byteOffset, length), 0);
      return { producerWord: producerWord(index), releaser, cursor, durableEnd: 0, releasedEnd: 0 };
    });
    this.#reader = new LogReader(storage);
    this.#next = from;
    this.#known = known;
    this.#isReadingSegments = from <= known;
    if (this.#isReadingSegments) this.#reader.seek(from);
  }

  get known(): number {
    return this.#known;
  }

  get next(): number {
    return this.#next;
  }

  get isReadingSegments(): boolean {
    return this.#isReadingSegments;
  }

  get fallBacks(): number {
    return this.#fallBacks;
  }

  /** Whether `takeReceipts` would find one. */
  hasReceipts(): boolean {
    return this.#receipts.peek() !== EMPTY;
  }

  /** Takes note of what the writer has made durable; returns the number of receipts. */
  takeReceipts(): number {
    let taken = 0;
    for (let word = this.#receipts.peek(); word !== EMPTY; word = this.#receipts.peek()) {
      this.#take(word);
      this.#receipts.advance();
      taken += 1;
    }
    if (taken === 0) return 0;
    this.#receipts.release();
    if (this.#isReadingSegments) this.#giveBackAll();
    else this.#giveWayIfBehind();
    return taken;
  }

  /**
   * The next record, without stepping past it; undefined when there is none yet. Valid until `advance`. Throws
   * `ERR_JOURNAL_DAMAGED`.
   */
  peek(): RecordCursor | undefined {
    if (this.#next > this.#known) return undefined;
    return this.#isReadingSegments ? this.#peekSegments() : this.#peekMemory();
  }

  /** Steps past everything before `sequence`, if that means that fewer batches are read. */
  skipTo(sequence: number): void {
    const to = Math.min(sequence, this.#known + 1);
    if (!this.#isReadingSegments || to - this.#next < SKIP_MIN) return;
    this.#next = to;
    this.#hasRecord = false;
    this.#readerIsInBatch = false;
    if (to > this.#known) this.#returnToMemory();
    else this.#reader.seek(to);
  }

  /** Steps past the record that `peek` returned. */
  advance(): void {
    this.#next += 1;
    this.#hasRecord = false;
    if (this.#isReadingSegments) {
      if (this.#next > this.#known) this.#returnToMemory();
      return;
    }
    this.#readOfReceipt += 1;
    const receipt = this.#waiting[this.#nextReceipt] as Receipt;
    if (this.#readOfReceipt === receipt.count) this.#finishReceipt(receipt);
  }

  #take(word: number): void {
    const words = this.#receiptWords;
    const receipt = {
      ring: words[word + RECEIPT.ring] as number,
      end: words[word + RECEIPT.end] as number,
      firstSequence: sequenceOf(
        words[word + RECEIPT.sequenceLow] as number,
        words[word + RECEIPT.sequenceHigh] as number,
      ),
      count: Math.max(0, words[word + RECEIPT.count] as number),
    };
    (this.#rings[receipt.ring] as RingView).durableEnd = receipt.end;
    if (receipt.count === 0) {
      this.#takeRefused(receipt);
      return;
    }
    invariant(receipt.firstSequence === this.#known + 1, "receipts come in the order of their sequences");
    this.#known = receipt.firstSequence + receipt.count - 1;
    if (!this.#isReadingSegments) this.#waiting.push(receipt);
  }

  /** Nothing to deliver, only space to give back, once the records before have been read. */
  #takeRefused(receipt: Receipt): void {
    if (this.#isReadingSegments) return;
    this.#waiting.push(receipt);
    if (this.#waiting.length - this.#nextReceipt === 1) this.#finishReceipt(receipt);
  }

  // ── from memory ──────────────────────────────────────────────────────────────────────────────────────────────────

  #peekMemory(): RecordCursor {
    const receipt = this.#waiting[this.#nextReceipt] as Receipt;
    const ring = this.#rings[receipt.ring] as RingView;
    if (!this.#hasRecord) {
      const found = ring.releaser.next(receipt.end);
      invariant(found, "a ring holds the records that its receipts promise");
      ring.cursor.at(ring.releaser.offset - FRAME_WORD_BYTES);
      ring.cursor.sequence = this.#next;
      this.#hasRecord = true;
    }
    return ring.cursor;
  }

  /** Steps past a receipt whose records were read, and past refused ones behind it, which have none. */
  #finishReceipt(receipt: Receipt): void {
    let finished: Receipt | undefined = receipt;
    do {
      this.#release(this.#rings[finished.ring] as RingView, finished.end);
      this.#nextReceipt += 1;
      finished = this.#waiting[this.#nextReceipt];
    } while (finished?.count === 0);
    this.#readOfReceipt = 0;
    if (finished === undefined) {
      this.#waiting = [];
      this.#nextReceipt = 0;
    }
  }

  /** A ring that is held up too much is let go: what was not read of it is in the segments. */
  #giveWayIfBehind(): void {
    const isBehind = this.#rings.some(
      ({ releaser, durableEnd, releasedEnd }) => ((durableEnd - releasedEnd) | 0) > releaser.capacity / HELD_PART,
    );
    if (!isBehind) return;
    this.#fallBacks += 1;
    this.#waiting = [];
    this.#nextReceipt = 0;
    this.#readOfReceipt = 0;
    this.#hasRecord = false;
    this.#isReadingSegments = true;
    this.#giveBackAll();
    this.#reader.seek(this.#next);
    this.#readerIsInBatch = false;
  }

  #giveBackAll(): void {
    for (const ring of this.#rings) {
      if (ring.releasedEnd !== ring.durableEnd) this.#release(ring, ring.durableEnd);
    }
  }

  #release(ring: RingView, end: number): void {
    if (ring.releaser.release(end)) {
      const thread = Atomics.load(this.#control, ring.producerWord);
      if (thread !== NO_THREAD) unpark(this.#threads, thread);
    }
    ring.releasedEnd = end;
  }

  // ── from the segments ────────────────────────────────────────────────────────────────────────────────────────────

  #peekSegments(): RecordCursor {
    const cursor = this.#readerCursor;
    // Ends: every turn reads a record, and the one that is wanted is durable.
    while (!this.#hasRecord) {
      if (this.#readerIsInBatch && cursor.next()) {
        this.#hasRecord = cursor.sequence === this.#next;
        continue;
      }
      const isThere = this.#reader.next(this.#known);
      invariant(isThere, "a durable record is in the segments");
      cursor.reset(this.#reader.body, this.#reader.batch.firstSequence);
      this.#readerIsInBatch = true;
    }
    return cursor;
  }

  #returnToMemory(): void {
    this.#isReadingSegments = false;
    this.#readerIsInBatch = false;
    this.#reader.close();
  }
}
