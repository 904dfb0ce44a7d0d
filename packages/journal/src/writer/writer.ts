/**
 * The writer thread's loop: drain all rings → one batch → sync → receipts → wake those who wait.
 *
 * While a sync runs the rings collect the next batch. So batches grow with the load by themselves,
 * and data needs no timer. A lazy ring alone starts a sync only when somebody awaits it, or after
 * `LAZY_MS`.
 *
 * The writer releases, acknowledges and delivers nothing before the sync has returned. An error of
 * any kind ends the loop and poisons the journal.
 */
import { Parker, unpark } from "@millrace/atomics-sync";
import { LookAround } from "@millrace/atomics-sync/kernel";
import { Histogram } from "@millrace/metrics";
import {
  CLOSED,
  CLOSING,
  ERRNO,
  FOLLOWERS,
  IS_QUIET,
  type JournalMemory,
  OPEN,
  POISONED,
  SPACE,
  SPACE_FULL,
  SPACE_OK,
  SPARE_AWAITED,
  SPARE_ERRNO,
  SPARE_FAILED,
  SPARE_PAGES,
  SPARE_STATE,
  SPARE_WANTED,
  STATE,
  STEP,
  STEPS,
} from "../memory/control.ts";
import { ALIGNMENT } from "../files/format.ts";
import type { LogWriter } from "./log-writer.ts";
import { LAZY_MS, Rings } from "./rings.ts";
import { isDiskFull, isNoSpace } from "../storage/storage.ts";
import { type WriterStats, writerStats } from "../memory/stats.ts";

/** Longest sleep without a look around. */
const PARK_MS = 1000;
/**
 * How long the writer looks for records before it sleeps, while that pays. A sleep and a wake-up
 * cost about as much.
 */
const LOOK_AROUND_MS = 0.05;
const ENOENT = 2;
/** Pause before the keeper tries again to make a spare on a full disk. */
const SPARE_RETRY_MS = 250;
/**
 * How often the writer looks for its segment in the directory while records come; otherwise each
 * `PARK_MS`.
 */
const LOOK_AT_PLACE_MS = 500;
/** Pause before another look at a ring of receipts that is full. */
const READER_PAUSE_MS = 1;

export class Writer {
  readonly #memory: JournalMemory;
  readonly #log: LogWriter;
  readonly #batchBytesMax: number;
  readonly #control: Int32Array;
  readonly #threads: Int32Array;
  readonly #parker: Parker;
  readonly #rings: Rings;
  readonly #stats: WriterStats;
  readonly #syncHistogram: Histogram;
  readonly #batchHistogram: Histogram;
  readonly #lookAround = new LookAround(LOOK_AROUND_MS, 0);
  /** The disk is full: only state records are written. */
  #isStarved = false;
  #retryAt = 0;
  /** The keeper's answer, as of before the last look for files. A later one is news: no sleep. */
  #answer: number = SPARE_WANTED;
  /** Whether the keeper's failure to make a spare was taken note of. */
  #isFailureSeen = false;
  /** A write found no room: until then no file that is prepared counts as room. */
  #noRoomUntil = 0;
  /** When the segment was last seen in its directory. */
  #placeSeenAt = 0;
  #step: (typeof STEPS)[number] = "the writer thread";

  constructor(memory: JournalMemory, log: LogWriter, batchBytesMax: number) {
    this.#memory = memory;
    this.#log = log;
    this.#batchBytesMax = batchBytesMax;
    this.#control = new Int32Array(memory.control);
    this.#threads = new Int32Array(memory.threads);
    this.#parker = new Parker(this.#threads, memory.writerThread);
    this.#rings = new Rings(memory, batchBytesMax, () => {
      this.#stopIfPoisoned();
      this.#pause(READER_PAUSE_MS);
    });
    this.#stats = writerStats(memory.stats);
    this.#syncHistogram = new Histogram(memory.syncHistogram);
    this.#batchHistogram = new Histogram(memory.batchHistogram);
    this.#stats.set("durableSequence", log.nextSequence - 1);
    this.#noteSegment();
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
      this.#rings.wakeAll();
    }
  }

  /** One batch, or one sleep; false at the end. */
  #turn(): boolean {
    this.#stopIfPoisoned();
    this.#noteAnswer();
    if (this.#isStarved) this.#endureFullDisk();
    else if (this.#isWithoutReserve()) this.#starve();
    const bytes = this.#isDue() ? this.#rings.gather(this.#isStarved) : 0;
    if (bytes > 0) {
      if (!this.#hasRoom(bytes) || !this.#commit(bytes)) this.#putBack();
      return true;
    }
    if (Atomics.load(this.#control, STATE) === CLOSING && !this.#rings.hasFrames()) return false;
    this.#sleep();
    return true;
  }

  // ── writing ───────────────────────────────────────────────────────────────────────────────────

  /** False when the disk turned out to have no room for the batch. */
  #commit(bytes: number): boolean {
    this.#step = "writing a batch";
    const { frames } = this.#rings;
    const startedMs = performance.now();
    this.#stats.set("syncStartedMs", performance.timeOrigin + startedMs);
    const firstSequence = this.#log.nextSequence;
    const isWritten = this.#unlessFull(() => this.#log.append(this.#rings.spans, bytes, frames));
    this.#stats.set("syncStartedMs", 0);
    if (!isWritten) return false;
    this.#lookAtPlace();
    this.#syncHistogram.record((performance.now() - startedMs) * 1000);
    this.#batchHistogram.record(frames);
    this.#stats.add("batches", 1);
    this.#stats.add("records", frames);
    this.#stats.add("bytes", bytes);
    this.#stats.set("segmentLeft", this.#log.segmentLeft);
    this.#stats.set("durableSequence", firstSequence + frames - 1);
    this.#rings.acknowledge(firstSequence);
    if (Atomics.load(this.#control, FOLLOWERS) > 0) this.#rings.wakeFollowers();
    this.#wakeKeeper();
    return true;
  }

  /**
   * False when the disk has no room for what `write` writes, and the log is as it was. That happens
   * where a file system copies on write, so that even a prepared segment needs room. There the
   * spares and the reserve are worth only the room that they take.
   */
  #unlessFull(write: () => void): boolean {
    try {
      write();
      return true;
    } catch (thrown) {
      if (!isDiskFull(thrown) || !this.#log.isSound) throw thrown;
      if (this.#isStarved) this.#log.dropBallast();
      this.#starve();
      this.#noRoomUntil = performance.now() + SPARE_RETRY_MS;
      return false;
    }
  }

  /** Looks for the segment, if the last look is a while ago. */
  #lookAtPlace(): void {
    const now = performance.now();
    if (now - this.#placeSeenAt < LOOK_AT_PLACE_MS) return;
    this.#placeSeenAt = now;
    this.#mustBeInPlace();
  }

  /** Throws when the segment isn't in its directory any more: nobody would find its records. */
  #mustBeInPlace(): void {
    if (this.#log.isInPlace()) return;
    this.#step = "looking for the segment";
    throw Object.assign(new Error("the segment is no longer in the journal's directory"), { errno: -ENOENT });
  }

  // ── segments ──────────────────────────────────────────────────────────────────────────────────

  /**
   * Makes room for a batch, in a new segment if need be. False when the disk is full and this batch
   * has to wait.
   */
  #hasRoom(bytes: number): boolean {
    if (this.#log.fits(bytes)) return true;
    // A disk that is stuck shows here as well: the keeper and this thread sync.
    this.#stats.set("syncStartedMs", performance.timeOrigin + performance.now());
    const hasRoom = this.#beginSegment(bytes);
    this.#stats.set("syncStartedMs", 0);
    return hasRoom;
  }

  #beginSegment(bytes: number): boolean {
    this.#step = "beginning a segment";
    const spare = this.#isStarved
      ? (this.#log.findReserve(bytes) ?? this.#log.findSmallerSpare(bytes))
      : this.#spareFor(bytes);
    // The next one must not begin a log of its own in another directory of that name.
    this.#mustBeInPlace();
    if (spare === undefined || !this.#unlessFull(() => this.#log.roll(spare))) return false;
    this.#noteSegment();
    this.#wantSpare(bytes);
    return true;
  }

  #noteSegment(): void {
    this.#stats.set("segmentBytes", this.#log.segmentBytes);
    this.#stats.set("segmentLeft", this.#log.segmentLeft);
    this.#stats.set("segment", this.#log.segment);
  }

  /** Asks the keeper for the spare that the next roll will need. */
  #wantSpare(bytes: number): void {
    const pages = this.#log.nextSegmentBytes(bytes) / ALIGNMENT;
    Atomics.store(this.#control, SPARE_PAGES, pages);
    Atomics.store(this.#control, SPARE_STATE, SPARE_WANTED);
    this.#answer = SPARE_WANTED;
    unpark(this.#threads, this.#memory.keeperThread);
  }

  /** As `#awaitSpare`; the keeper hurries meanwhile. */
  #spareFor(bytes: number): number | undefined {
    // Before it looks for one: the keeper looks here after it has announced its sleep.
    Atomics.store(this.#control, SPARE_AWAITED, 1);
    const spare = this.#awaitSpare(bytes);
    Atomics.store(this.#control, SPARE_AWAITED, 0);
    return spare;
  }

  /** Size of a spare for a batch of `bytes`, when it is there; undefined when the disk is full. */
  #awaitSpare(bytes: number): number | undefined {
    // Ends: the keeper answers every request, or the journal is poisoned.
    for (;;) {
      const spare = this.#log.findSpare(bytes);
      if (spare !== undefined) return spare;
      this.#stopIfPoisoned();
      const state = this.#noteAnswer();
      // The keeper's answer: a smaller one is all that there is room for, or there is none.
      const smaller = state === SPARE_WANTED ? undefined : this.#log.findSmallerSpare(bytes);
      if (smaller !== undefined) return smaller;
      if (state === SPARE_FAILED) {
        this.#refuseHopeless();
        this.#starve();
        return undefined;
      }
      this.#stats.add("spareWaits", 1);
      if (state === SPARE_WANTED && this.#wanted(bytes)) unpark(this.#threads, this.#memory.keeperThread);
      else this.#wantSpare(bytes);
      this.#awaitAnswer();
    }
  }

  #noteAnswer(): number {
    this.#answer = Atomics.load(this.#control, SPARE_STATE);
    return this.#answer;
  }

  /**
   * Whether the keeper has answered since `#noteAnswer`. The keeper stores its answer first and
   * wakes second. An answer that came before the announcement of a sleep has woken nobody.
   */
  #hasNewAnswer(): boolean {
    return Atomics.load(this.#control, SPARE_STATE) !== this.#answer;
  }

  /** Sleeps until the keeper gives another answer than the one noted. */
  #awaitAnswer(): void {
    this.#parker.prepare();
    if (this.#hasNewAnswer()) this.#parker.cancel();
    else this.#parker.wait(SPARE_RETRY_MS);
  }

  #wanted(bytes: number): boolean {
    return Atomics.load(this.#control, SPARE_PAGES) >= this.#log.nextSegmentBytes(bytes) / ALIGNMENT;
  }

  // ── a full disk ───────────────────────────────────────────────────────────────────────────────

  #starve(): void {
    this.#isStarved = true;
    this.#retryAt = performance.now() + SPARE_RETRY_MS;
    Atomics.store(this.#control, SPACE, SPACE_FULL);
  }

  /**
   * Whether the disk turned out to have no room for the reserve. Data would take the room that
   * state records need.
   */
  #isWithoutReserve(): boolean {
    const hasFailed = this.#answer === SPARE_FAILED;
    const isFull = hasFailed && isNoSpace(Atomics.load(this.#control, SPARE_ERRNO));
    const isNews = isFull && !this.#isFailureSeen;
    this.#isFailureSeen = isFull;
    return isNews && this.#log.findReserve(0) === undefined;
  }

  /**
   * Refuses data, and lets the keeper try from time to time, until there are a reserve and room for
   * data again.
   */
  #endureFullDisk(): void {
    if (performance.now() >= this.#noRoomUntil && this.#hasRoomForData()) {
      this.#isStarved = false;
      Atomics.store(this.#control, SPACE, SPACE_OK);
      this.#rings.wakeAll();
      return;
    }
    this.#stats.add("refused", this.#rings.refuseData());
    if (performance.now() < this.#retryAt) return;
    this.#retryAt = performance.now() + SPARE_RETRY_MS;
    if (this.#answer === SPARE_FAILED) this.#refuseHopeless();
    this.#wantSpare(0);
  }

  #hasRoomForData(): boolean {
    if (this.#log.findReserve(0) === undefined) return false;
    return this.#log.fits(this.#batchBytesMax) || this.#log.findSmallerSpare(0) !== undefined;
  }

  /** The batch that was gathered has to wait; nothing of it was marked as taken. */
  #putBack(): void {
    this.#rings.putBack();
    // Not even the reserve has room for state records: they wait for the keeper.
    if (this.#isStarved) this.#awaitAnswer();
  }

  /** Only a lack of space passes by itself. */
  #refuseHopeless(): void {
    const errno = Atomics.load(this.#control, SPARE_ERRNO);
    if (!isNoSpace(errno)) {
      throw Object.assign(new Error("the next segment could not be prepared"), { errno: -errno });
    }
  }

  // ── sleeping ──────────────────────────────────────────────────────────────────────────────────

  #sleep(): void {
    // On a full disk what matters is the keeper, which wakes this thread.
    if (!this.#isStarved && this.#seesRecords()) return;
    this.#lookAtPlace();
    this.#parker.prepare();
    if (this.#isDue() || this.#hasNewAnswer()) {
      this.#parker.cancel();
      return;
    }
    this.#parker.wait(this.#rings.isLazyWaiting() ? LAZY_MS : this.#isStarved ? SPARE_RETRY_MS : PARK_MS);
  }

  /** Whether there is something to do at once: records that are due, or the end. */
  #isDue(): boolean {
    return this.#rings.isDue() || Atomics.load(this.#control, STATE) !== OPEN;
  }

  /**
   * Looks for records for a while. A caller that awaits each record before the next then needn't
   * wake this thread each time.
   */
  #seesRecords(): boolean {
    const end = performance.now() + this.#lookAround.budget();
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

  // ── the end ───────────────────────────────────────────────────────────────────────────────────

  #poison(thrown: unknown): void {
    if (Atomics.load(this.#control, STATE) === POISONED) return;
    const { errno } = thrown as { errno?: number };
    Atomics.store(this.#control, ERRNO, typeof errno === "number" ? Math.abs(errno) : 0);
    Atomics.store(this.#control, STEP, STEPS.indexOf(this.#step));
    Atomics.store(this.#control, STATE, POISONED);
  }

  /** The keeper sleeps until something has become durable that `marks` doesn't know. */
  #wakeKeeper(): void {
    if (Atomics.load(this.#control, IS_QUIET) === 0) return;
    Atomics.store(this.#control, IS_QUIET, 0);
    unpark(this.#threads, this.#memory.keeperThread);
  }
}
