/**
 * The writer thread's loop: drain all rings → one batch → sync → receipts → wake whoever waits.
 *
 * While a sync runs the next batch gathers in the rings; so the batches grow with the load by themselves, and there is no
 * timer for data. A lazy ring alone starts a sync only when somebody awaits it, or after `LAZY_MS`.
 *
 * Nothing is released, acknowledged or delivered before the sync has returned. An error of any kind ends the loop and
 * poisons the journal.
 */
import { Parker, unpark } from "@millrace/atomics-sync";
import { LookAround } from "@millrace/atomics-sync/kernel";
import { Histogram } from "@millrace/metrics";
import { ByteRingReleaser, ByteRingTaker, FULL, SpscProducer } from "@millrace/shared-memory";
import {
  CLOSED,
  CLOSING,
  deliveryReceiptsPlace,
  ERRNO,
  FOLLOWERS,
  IS_QUIET,
  type JournalMemory,
  NO_THREAD,
  OPEN,
  POISONED,
  producerWord,
  RECEIPT,
  receiptsPlace,
  sequenceHigh,
  sequenceLow,
  SPACE,
  SPACE_FULL,
  SPACE_OK,
  SPARE_ERRNO,
  SPARE_FAILED,
  SPARE_PAGES,
  SPARE_STATE,
  SPARE_WANTED,
  STATE,
  STEP,
  STEPS,
  urgentWord,
} from "../memory/control.ts";
import { ALIGNMENT } from "../files/format.ts";
import { BATCH_RECORDS_MAX } from "../files/limits.ts";
import type { LogWriter } from "./log-writer.ts";
import { isNoSpace } from "../storage/storage.ts";
import { WriterStats } from "../memory/stats.ts";

/** Longest that a lazy record waits for company. */
const LAZY_MS = 10;
/** Longest sleep without a look around. */
const PARK_MS = 1000;
/** How long the writer looks for records before it sleeps, while that pays: about what a sleep and a wake-up cost. */
const LOOK_AROUND_MS = 0.05;
/** Pause before the keeper tries again to make a spare on a full disk. */
const SPARE_RETRY_MS = 250;
/** Pause before another look at a ring of receipts that is full. */
const READER_PAUSE_MS = 1;

/** What the writer keeps about one ring. */
interface RingState {
  readonly taker: ByteRingTaker;
  readonly releaser: ByteRingReleaser;
  readonly receipts: SpscProducer;
  readonly receiptWords: Int32Array;
  readonly producerWord: number;
  readonly isState: boolean;
  readonly isLazy: boolean;
  /** Frames of this ring in the batch being written. */
  frames: number;
  /** When a lazy record was first seen waiting; 0 for none. */
  waitingSinceMs: number;
}

export class Writer {
  readonly #memory: JournalMemory;
  readonly #log: LogWriter;
  readonly #batchBytesMax: number;
  readonly #control: Int32Array;
  readonly #threads: Int32Array;
  readonly #parker: Parker;
  readonly #rings: RingState[];
  readonly #deliveryReceipts: SpscProducer | undefined;
  readonly #deliveryWords: Int32Array | undefined;
  readonly #stats: WriterStats;
  readonly #syncHistogram: Histogram;
  readonly #lookAround = new LookAround(LOOK_AROUND_MS, 0);
  readonly #spans: Uint8Array[] = [];
  #firstRing = 0;
  /** The disk is full: only state records are written. */
  #isStarved = false;
  #retryAt = 0;
  /** Whether the keeper's failure to make a spare was taken note of. */
  #isFailureSeen = false;
  #step: (typeof STEPS)[number] = "the writer thread";

  constructor(memory: JournalMemory, log: LogWriter, batchBytesMax: number) {
    this.#memory = memory;
    this.#log = log;
    this.#batchBytesMax = batchBytesMax;
    this.#control = new Int32Array(memory.control);
    this.#threads = new Int32Array(memory.threads);
    this.#parker = new Parker(this.#threads, memory.writerThread);
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
    this.#stats = new WriterStats(memory.stats);
    this.#syncHistogram = new Histogram(memory.syncHistogram);
    this.#stats.set("durableSequence", log.nextSequence - 1);
    this.#stats.set("segment", log.segment);
    Atomics.store(this.#control, STATE, OPEN);
  }

  /** Runs until the journal is closed; throws what went wrong after having poisoned the journal. */
  run(): void {
    try {
      this.#wantSpare(0);
      while (this.#turn());
      this.#step = "closing";
      this.#log.close();
      Atomics.store(this.#control, STATE, CLOSED);
    } catch (thrown) {
      this.#poison(thrown);
      throw thrown;
    } finally {
      unpark(this.#threads, this.#memory.keeperThread);
      this.#wakeProducers();
    }
  }

  /** One batch, or one sleep; false at the end. */
  #turn(): boolean {
    this.#stopIfPoisoned();
    if (this.#isStarved) this.#endureFullDisk();
    else if (this.#isWithoutReserve()) this.#starve();
    const bytes = this.#gather();
    if (bytes > 0) {
      if (this.#hasRoom(bytes)) this.#commit(bytes);
      else this.#putBack();
      return true;
    }
    if (Atomics.load(this.#control, STATE) === CLOSING && !this.#anyFrames()) return false;
    this.#sleep();
    return true;
  }

  // ── gathering ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Takes whole groups from all rings, in turn, up to the limits of a batch; returns their bytes, 0 when none is due. */
  #gather(): number {
    this.#spans.length = 0;
    if (!this.#isDue()) return 0;
    let bytes = 0;
    let frames = 0;
    const count = this.#rings.length;
    for (let offset = 0; offset < count; offset += 1) {
      const ring = this.#rings[(this.#firstRing + offset) % count] as RingState;
      if (this.#isStarved && !ring.isState) continue;
      ring.frames = ring.taker.take(this.#batchBytesMax - bytes, BATCH_RECORDS_MAX - frames);
      if (ring.frames === 0) continue;
      const { taker } = ring;
      if (taker.firstBytes > 0)
        this.#spans.push(taker.bytes.subarray(taker.firstOffset, taker.firstOffset + taker.firstBytes));
      if (taker.secondBytes > 0) this.#spans.push(taker.bytes.subarray(0, taker.secondBytes));
      bytes += taker.spanBytes;
      frames += ring.frames;
    }
    // The next batch begins with another ring: a full one can't keep the others out.
    this.#firstRing = (this.#firstRing + 1) % count;
    return bytes;
  }

  /** Whether some ring has records that shall not wait any longer, or the journal closes or is poisoned. */
  #isDue(): boolean {
    let isDue = Atomics.load(this.#control, STATE) !== OPEN;
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

  #isAwaited(index: number): boolean {
    const { taker } = this.#rings[index] as RingState;
    return ((Atomics.load(this.#control, urgentWord(index)) - taker.taken) | 0) > 0;
  }

  #anyFrames(): boolean {
    return this.#rings.some((ring) => ring.taker.hasFrames());
  }

  // ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────

  #commit(bytes: number): void {
    this.#step = "writing a batch";
    let frames = 0;
    for (const ring of this.#rings) frames += ring.frames;
    const startedMs = performance.now();
    this.#stats.set("syncStartedMs", performance.timeOrigin + startedMs);
    const firstSequence = this.#log.append(this.#spans, bytes, frames);
    this.#stats.set("syncStartedMs", 0);
    this.#syncHistogram.record((performance.now() - startedMs) * 1000);
    this.#stats.add("batches", 1);
    this.#stats.add("records", frames);
    this.#stats.add("bytes", bytes);
    this.#stats.set("durableSequence", firstSequence + frames - 1);
    this.#acknowledge(firstSequence);
  }

  /** Receipts for everything in the batch, in the order in which `#gather` took it, then wakes those concerned. */
  #acknowledge(firstSequence: number): void {
    let sequence = firstSequence;
    const count = this.#rings.length;
    // `#gather` has moved on by one ring.
    const start = (this.#firstRing + count - 1) % count;
    for (let offset = 0; offset < count; offset += 1) {
      const index = (start + offset) % count;
      const ring = this.#rings[index] as RingState;
      if (ring.frames === 0) continue;
      // Delivery first: what a producer knows to be durable, delivery knows too.
      if (this.#deliveryReceipts !== undefined) {
        this.#writeReceipt(this.#deliveryReceipts, this.#deliveryWords as Int32Array, index, ring, sequence);
      }
      this.#writeReceipt(ring.receipts, ring.receiptWords, index, ring, sequence);
      ring.taker.finish();
      if (this.#deliveryReceipts === undefined) ring.releaser.release(ring.taker.end);
      sequence += ring.frames;
      ring.waitingSinceMs = 0;
    }
    for (const ring of this.#rings) {
      if (ring.frames > 0) this.#wakeProducer(ring);
      ring.frames = 0;
    }
    if (Atomics.load(this.#control, FOLLOWERS) > 0) this.#wakeProducer(this.#rings[0] as RingState);
    this.#wakeKeeper();
    if (this.#memory.delivery !== undefined) unpark(this.#threads, this.#memory.delivery.thread);
  }

  /** Sequence 0 refuses the records. */
  #writeReceipt(receipts: SpscProducer, words: Int32Array, index: number, ring: RingState, sequence: number): void {
    let word = receipts.stage();
    // A reader that lags by this much holds up the log instead of losing receipts. Ends when it reads, or when the opener
    // has poisoned the journal because the reader's thread is gone.
    while (word === FULL) {
      this.#stopIfPoisoned();
      this.#wakeProducers();
      this.#pause(READER_PAUSE_MS);
      word = receipts.stage();
    }
    words[word + RECEIPT.end] = ring.taker.end;
    words[word + RECEIPT.sequenceLow] = sequenceLow(sequence);
    words[word + RECEIPT.sequenceHigh] = sequenceHigh(sequence);
    words[word + RECEIPT.count] = sequence === 0 ? -ring.frames : ring.frames;
    if (receipts === this.#deliveryReceipts) words[word + RECEIPT.ring] = index;
    receipts.publish();
  }

  // ── segments ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Makes sure that a batch fits, in a new segment if need be; false when the disk is full and this batch has to wait. */
  #hasRoom(bytes: number): boolean {
    if (this.#log.fits(bytes)) return true;
    this.#step = "beginning a segment";
    const spare = this.#isStarved
      ? (this.#log.findReserve(bytes) ?? this.#log.findSpare(bytes))
      : this.#awaitSpare(bytes);
    if (spare === undefined) return false;
    this.#log.roll(spare);
    this.#stats.set("segment", this.#log.segment);
    this.#wantSpare(bytes);
    return true;
  }

  /** Asks the keeper for the spare that the next roll will need. */
  #wantSpare(bytes: number): void {
    const pages = this.#log.nextSegmentBytes(bytes) / ALIGNMENT;
    Atomics.store(this.#control, SPARE_PAGES, pages);
    Atomics.store(this.#control, SPARE_STATE, SPARE_WANTED);
    unpark(this.#threads, this.#memory.keeperThread);
  }

  /** Size of a spare for a batch of `bytes`, when it is there; undefined when the disk is full. */
  #awaitSpare(bytes: number): number | undefined {
    // Ends: the keeper answers every request, or the journal is poisoned.
    for (;;) {
      const spare = this.#log.findSpare(bytes);
      if (spare !== undefined) return spare;
      this.#stopIfPoisoned();
      const state = Atomics.load(this.#control, SPARE_STATE);
      if (state === SPARE_FAILED) {
        this.#refuseHopeless();
        this.#starve();
        return undefined;
      }
      this.#stats.add("spareWaits", 1);
      if (state === SPARE_WANTED && this.#wanted(bytes)) unpark(this.#threads, this.#memory.keeperThread);
      else this.#wantSpare(bytes);
      this.#pause(SPARE_RETRY_MS);
    }
  }

  #wanted(bytes: number): boolean {
    return Atomics.load(this.#control, SPARE_PAGES) >= this.#log.nextSegmentBytes(bytes) / ALIGNMENT;
  }

  // ── a full disk ──────────────────────────────────────────────────────────────────────────────────────────────────

  #starve(): void {
    this.#isStarved = true;
    this.#retryAt = performance.now() + SPARE_RETRY_MS;
    Atomics.store(this.#control, SPACE, SPACE_FULL);
  }

  /** Whether the disk turned out to have no room for the reserve: data would take the room that state records need. */
  #isWithoutReserve(): boolean {
    const hasFailed = Atomics.load(this.#control, SPARE_STATE) === SPARE_FAILED;
    const isFull = hasFailed && isNoSpace(Atomics.load(this.#control, SPARE_ERRNO));
    const isNews = isFull && !this.#isFailureSeen;
    this.#isFailureSeen = isFull;
    return isNews && this.#log.findReserve(0) === undefined;
  }

  /** Until there are a reserve and room for data again: refuses what may be refused, lets the keeper try from time to time. */
  #endureFullDisk(): void {
    if (this.#hasRoomForData()) {
      this.#isStarved = false;
      Atomics.store(this.#control, SPACE, SPACE_OK);
      this.#wakeProducers();
      return;
    }
    this.#refuseData();
    if (performance.now() < this.#retryAt) return;
    this.#retryAt = performance.now() + SPARE_RETRY_MS;
    if (Atomics.load(this.#control, SPARE_STATE) === SPARE_FAILED) this.#refuseHopeless();
    this.#wantSpare(0);
  }

  #hasRoomForData(): boolean {
    if (this.#log.findReserve(0) === undefined) return false;
    return this.#log.fits(this.#batchBytesMax) || this.#log.findSpare(0) !== undefined;
  }

  /** Everything that waits in rings for data is certainly not stored, and its producers are told so. */
  #refuseData(): void {
    for (let index = 0; index < this.#rings.length; index += 1) {
      const ring = this.#rings[index] as RingState;
      if (ring.isState) continue;
      ring.frames = ring.taker.take(this.#batchBytesMax, BATCH_RECORDS_MAX);
      if (ring.frames === 0) continue;
      if (this.#deliveryReceipts !== undefined) {
        this.#writeReceipt(this.#deliveryReceipts, this.#deliveryWords as Int32Array, index, ring, 0);
      }
      this.#writeReceipt(ring.receipts, ring.receiptWords, index, ring, 0);
      ring.taker.finish();
      if (this.#deliveryReceipts === undefined) ring.releaser.release(ring.taker.end);
      this.#stats.add("refused", ring.frames);
      this.#wakeProducer(ring);
      ring.frames = 0;
      ring.waitingSinceMs = 0;
    }
    if (this.#memory.delivery !== undefined) unpark(this.#threads, this.#memory.delivery.thread);
  }

  /** The batch that was gathered has to wait; nothing of it was marked as taken. */
  #putBack(): void {
    for (const ring of this.#rings) ring.frames = 0;
    // Not even the reserve has room for state records: they wait for the keeper.
    if (this.#isStarved) this.#pause(SPARE_RETRY_MS);
  }

  /** Only a lack of space passes by itself. */
  #refuseHopeless(): void {
    const errno = Atomics.load(this.#control, SPARE_ERRNO);
    if (!isNoSpace(errno)) {
      throw Object.assign(new Error("the next segment could not be prepared"), { errno: -errno });
    }
  }

  // ── sleeping ─────────────────────────────────────────────────────────────────────────────────────────────────────

  #sleep(): void {
    // On a full disk what matters is the keeper, which wakes this thread.
    if (!this.#isStarved && this.#seesRecords()) return;
    this.#parker.prepare();
    if (this.#isDue()) {
      this.#parker.cancel();
      return;
    }
    const isLazyWaiting = this.#rings.some((ring) => ring.waitingSinceMs > 0);
    this.#parker.wait(isLazyWaiting ? LAZY_MS : this.#isStarved ? SPARE_RETRY_MS : PARK_MS);
  }

  /** Looks for records for a while: whoever awaits one before it appends the next needn't wake this thread each time. */
  #seesRecords(): boolean {
    const end = performance.now() + this.#lookAround.budgetMs();
    let isDue = false;
    while (!isDue && performance.now() < end) isDue = this.#isDue();
    this.#lookAround.looked(isDue);
    return isDue;
  }

  /** Waits a little for somebody else to move. */
  #pause(ms: number): void {
    this.#parker.prepare();
    this.#parker.wait(ms);
  }

  /** The opener poisons the journal when a thread that it depends on is gone. */
  #stopIfPoisoned(): void {
    if (Atomics.load(this.#control, STATE) === POISONED)
      throw new Error("a thread that the journal depends on has ended");
  }

  // ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────

  #poison(thrown: unknown): void {
    if (Atomics.load(this.#control, STATE) === POISONED) return;
    const { errno } = thrown as { errno?: number };
    Atomics.store(this.#control, ERRNO, typeof errno === "number" ? Math.abs(errno) : 0);
    Atomics.store(this.#control, STEP, STEPS.indexOf(this.#step));
    Atomics.store(this.#control, STATE, POISONED);
  }

  #wakeProducer(ring: RingState): void {
    const thread = Atomics.load(this.#control, ring.producerWord);
    if (thread !== NO_THREAD) unpark(this.#threads, thread);
  }

  /** The keeper sleeps until something has become durable that `marks` doesn't know. */
  #wakeKeeper(): void {
    if (Atomics.load(this.#control, IS_QUIET) === 0) return;
    Atomics.store(this.#control, IS_QUIET, 0);
    unpark(this.#threads, this.#memory.keeperThread);
  }

  #wakeProducers(): void {
    for (const ring of this.#rings) this.#wakeProducer(ring);
    if (this.#memory.delivery !== undefined) unpark(this.#threads, this.#memory.delivery.thread);
  }
}
