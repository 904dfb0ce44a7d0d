/**
 * The writer's side of all rings: what goes into the next batch, and the receipts for it.
 *
 * `gather` marks nothing as taken. The batch that it has put together is then either acknowledged,
 * refused, or put back.
 */
import { unpark } from "@millrace/atomics-sync";
import { ByteRingReleaser, ByteRingTaker, FULL, SpscProducer } from "@millrace/shared-memory";
import { BATCH_RECORDS_MAX } from "../files/limits.ts";
import {
  deliveryReceiptsPlace,
  type JournalMemory,
  NO_THREAD,
  producerWord,
  RECEIPT,
  receiptsPlace,
  sequenceHigh,
  sequenceLow,
  urgentWord,
} from "../memory/control.ts";

/** Longest that a lazy record waits for company. */
export const LAZY_MS = 10;

/** The writer's state of one ring. */
interface RingState {
  readonly taker: ByteRingTaker;
  readonly releaser: ByteRingReleaser;
  readonly receipts: SpscProducer;
  readonly receiptWords: Int32Array;
  readonly producerWord: number;
  readonly isState: boolean;
  readonly isLazy: boolean;
  /** Frames of this ring in the batch that is being written. */
  frames: number;
  /** When a lazy record was first seen waiting; 0 for none. */
  waitingSinceMs: number;
}

export class Rings {
  readonly #memory: JournalMemory;
  readonly #control: Int32Array;
  readonly #threads: Int32Array;
  readonly #batchBytesMax: number;
  readonly #pauseForReader: () => void;
  readonly #rings: RingState[];
  readonly #deliveryReceipts: SpscProducer | undefined;
  readonly #deliveryWords: Int32Array | undefined;
  /** The batch that `gather` has put together. */
  readonly spans: Uint8Array[] = [];
  #firstRing = 0;

  /**
   * `pauseForReader` waits a little for a reader of receipts, whose ring is full; it throws when
   * that reader will never come.
   */
  constructor(memory: JournalMemory, batchBytesMax: number, pauseForReader: () => void) {
    this.#memory = memory;
    this.#control = new Int32Array(memory.control);
    this.#threads = new Int32Array(memory.threads);
    this.#batchBytesMax = batchBytesMax;
    this.#pauseForReader = pauseForReader;
    this.#rings = memory.rings.map((ring, index) => {
      const place = receiptsPlace(ring.receipts);
      return {
        taker: new ByteRingTaker(ring.ring),
        releaser: new ByteRingReleaser(ring.ring),
        receipts: new SpscProducer(place),
        receiptWords: place.words,
        producerWord: producerWord(index),
        isState: ring.isState,
        isLazy: ring.isLazy,
        frames: 0,
        waitingSinceMs: 0,
      };
    });
    const delivery = memory.delivery === undefined ? undefined : deliveryReceiptsPlace(memory.delivery.receipts);
    this.#deliveryReceipts = delivery === undefined ? undefined : new SpscProducer(delivery);
    this.#deliveryWords = delivery?.words;
  }

  /** Records in the batch that `gather` has put together. */
  get frames(): number {
    let frames = 0;
    for (const ring of this.#rings) frames += ring.frames;
    return frames;
  }

  /**
   * Takes whole groups from all rings in turn, up to the limits of a batch, into `spans`; returns
   * their bytes, 0 when the rings are empty.
   */
  gather(isStateOnly: boolean): number {
    this.spans.length = 0;
    let bytes = 0;
    let frames = 0;
    const count = this.#rings.length;
    for (let offset = 0; offset < count; offset += 1) {
      const ring = this.#rings[(this.#firstRing + offset) % count] as RingState;
      if (isStateOnly && !ring.isState) continue;
      ring.frames = ring.taker.take(this.#batchBytesMax - bytes, BATCH_RECORDS_MAX - frames);
      if (ring.frames === 0) continue;
      const { taker } = ring;
      if (taker.firstBytes > 0)
        this.spans.push(taker.bytes.subarray(taker.firstOffset, taker.firstOffset + taker.firstBytes));
      if (taker.secondBytes > 0) this.spans.push(taker.bytes.subarray(0, taker.secondBytes));
      bytes += taker.spanBytes;
      frames += ring.frames;
    }
    // The next batch begins with another ring: a full one can't keep the others out.
    this.#firstRing = (this.#firstRing + 1) % count;
    return bytes;
  }

  /** Whether some ring has records that shall not wait any longer. */
  isDue(): boolean {
    let isDue = false;
    for (let index = 0; index < this.#rings.length; index += 1) {
      const ring = this.#rings[index] as RingState;
      if (!ring.taker.hasFrames()) continue;
      if (!ring.isLazy || this.#isAwaited(index)) isDue = true;
      else {
        if (ring.waitingSinceMs === 0) ring.waitingSinceMs = performance.now();
        if (performance.now() - ring.waitingSinceMs >= LAZY_MS) isDue = true;
      }
    }
    return isDue;
  }

  /** Whether lazy records wait for company. */
  isLazyWaiting(): boolean {
    return this.#rings.some((ring) => ring.waitingSinceMs > 0);
  }

  #isAwaited(index: number): boolean {
    const { taker } = this.#rings[index] as RingState;
    return ((Atomics.load(this.#control, urgentWord(index)) - taker.taken) | 0) > 0;
  }

  hasFrames(): boolean {
    return this.#rings.some((ring) => ring.taker.hasFrames());
  }

  /**
   * Writes receipts for the whole batch, in the order in which `gather` took it, then wakes its
   * producers.
   */
  acknowledge(firstSequence: number): void {
    let sequence = firstSequence;
    const count = this.#rings.length;
    // `gather` has moved on by one ring.
    const start = (this.#firstRing + count - 1) % count;
    for (let offset = 0; offset < count; offset += 1) {
      const index = (start + offset) % count;
      const ring = this.#rings[index] as RingState;
      if (ring.frames === 0) continue;
      this.#settle(index, ring, sequence);
      sequence += ring.frames;
    }
    for (const ring of this.#rings) {
      if (ring.frames > 0) this.#wakeProducer(ring);
      ring.frames = 0;
    }
    this.#wakeDelivery();
  }

  /**
   * Refuses everything that waits in rings for data: its producers learn that it certainly isn't
   * stored. Returns the number of records.
   */
  refuseData(): number {
    let refused = 0;
    for (let index = 0; index < this.#rings.length; index += 1) {
      const ring = this.#rings[index] as RingState;
      if (ring.isState) continue;
      ring.frames = ring.taker.take(this.#batchBytesMax, BATCH_RECORDS_MAX);
      if (ring.frames === 0) continue;
      this.#settle(index, ring, 0);
      refused += ring.frames;
      this.#wakeProducer(ring);
      ring.frames = 0;
    }
    this.#wakeDelivery();
    return refused;
  }

  /** Forgets the batch that was gathered: its records stay in their rings. */
  putBack(): void {
    for (const ring of this.#rings) ring.frames = 0;
  }

  wakeAll(): void {
    for (const ring of this.#rings) this.#wakeProducer(ring);
    this.#wakeDelivery();
  }

  /** Wakes the opener, whose readers follow the log. */
  wakeFollowers(): void {
    this.#wakeProducer(this.#rings[0] as RingState);
  }

  #wakeProducer(ring: RingState): void {
    const thread = Atomics.load(this.#control, ring.producerWord);
    if (thread !== NO_THREAD) unpark(this.#threads, thread);
  }

  #wakeDelivery(): void {
    if (this.#memory.delivery !== undefined) unpark(this.#threads, this.#memory.delivery.thread);
  }

  /**
   * Ends what `gather` took from a ring: writes receipts, then frees the space. Sequence 0 refuses
   * the records.
   */
  #settle(index: number, ring: RingState, sequence: number): void {
    // Delivery first: what a producer knows to be durable, delivery knows too.
    if (this.#deliveryReceipts !== undefined) {
      this.#writeReceipt(this.#deliveryReceipts, this.#deliveryWords as Int32Array, index, ring, sequence);
    }
    this.#writeReceipt(ring.receipts, ring.receiptWords, index, ring, sequence);
    ring.taker.finish();
    if (this.#deliveryReceipts === undefined) ring.releaser.release(ring.taker.end);
    ring.waitingSinceMs = 0;
  }

  #writeReceipt(receipts: SpscProducer, words: Int32Array, index: number, ring: RingState, sequence: number): void {
    let word = receipts.stage();
    // A reader that lags by this much holds up the log instead of losing receipts. The loop ends
    // when it reads, or when the opener has poisoned the journal because the reader's thread is
    // gone.
    while (word === FULL) {
      this.wakeAll();
      this.#pauseForReader();
      word = receipts.stage();
    }
    words[word + RECEIPT.end] = ring.taker.end;
    words[word + RECEIPT.sequenceLow] = sequenceLow(sequence);
    words[word + RECEIPT.sequenceHigh] = sequenceHigh(sequence);
    words[word + RECEIPT.count] = sequence === 0 ? -ring.frames : ring.frames;
    if (receipts === this.#deliveryReceipts) words[word + RECEIPT.ring] = index;
    receipts.publish();
  }
}
