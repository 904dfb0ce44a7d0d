/**
 * Makes the files that the writer's next segments come from, when the writer asks for one.
 *
 * On a full disk it makes a smaller one, down to a batch; it leaves a margin to other programs; and
 * it never fills the disk to see whether there is room.
 *
 * It shares the disk with the log. So it writes in small steps, and no faster than it takes to be
 * ready when the segment is two thirds full (`Pace`); only a writer that waits makes it hurry.
 */
import { unpark } from "@millrace/atomics-sync";
import { ALIGNMENT } from "../files/format.ts";
import { type JournalLimits, leastSegmentBytes, reserveBytes } from "../files/limits.ts";
import { findReserve, findSpare, reserveName, smallerSpare, spareName } from "../files/spare.ts";
import { ZeroFill } from "../files/zero-fill.ts";
import {
  CLOSED,
  type JournalMemory,
  SPARE_ERRNO,
  SPARE_FAILED,
  SPARE_PAGES,
  SPARE_READY,
  SPARE_STATE,
  SPARE_WANTED,
  STATE,
} from "../memory/control.ts";
import { isDiskFull, type Storage } from "../storage/storage.ts";
import { LOOK_MS, Pace } from "./pace.ts";

/** Pause before the next attempt on a full disk; longer and longer where each attempt fills it. */
const RETRY_MS = 250;
const RETRY_MAX_MS = 5000;
/** When there is nothing to retry. */
const IDLE_MS = 1000;

export class SpareMaker {
  readonly #storage: Storage;
  readonly #memory: JournalMemory;
  readonly #limits: JournalLimits;
  readonly #nowMs: () => number;
  readonly #control: Int32Array;
  readonly #threads: Int32Array;
  readonly #pace: Pace;
  /** Pages that the writer wants, of the request at hand; 0 without one. */
  #pages = 0;
  /** Bytes of the spare for it: fewer than wanted where the disk has no room for more. */
  #spareBytes = 0;
  /** The file in the making. */
  #fill: ZeroFill | undefined;
  #retryAt = 0;
  #retryPauseMs = RETRY_MS;

  constructor(storage: Storage, memory: JournalMemory, limits: JournalLimits, nowMs: () => number) {
    this.#storage = storage;
    this.#memory = memory;
    this.#limits = limits;
    this.#nowMs = nowMs;
    this.#control = new Int32Array(memory.control);
    this.#threads = new Int32Array(memory.threads);
    this.#pace = new Pace(memory, nowMs);
  }

  /**
   * Does what is due for the writer, if it has asked, or if the last answer was a failure and it is
   * time for another attempt. Answers it when all is made, or can't be.
   */
  serve(): void {
    const state = Atomics.load(this.#control, SPARE_STATE);
    const isDue = this.#nowMs() >= this.#retryAt;
    if (state !== SPARE_WANTED && !(state === SPARE_FAILED && isDue)) return;
    const pages = Atomics.load(this.#control, SPARE_PAGES);
    const outcome = isDue ? this.#make(pages) : SPARE_FAILED;
    // The writer may have asked for another size meanwhile; then the next turn makes that one.
    if (outcome === SPARE_WANTED || Atomics.load(this.#control, SPARE_PAGES) !== pages) return;
    Atomics.compareExchange(this.#control, SPARE_STATE, state, outcome);
    if (outcome !== state) unpark(this.#threads, this.#memory.writerThread);
  }

  /** Whether the writer wants something else than what is being made. */
  isAsked(): boolean {
    const isWanted = Atomics.load(this.#control, SPARE_STATE) === SPARE_WANTED;
    return isWanted && Atomics.load(this.#control, SPARE_PAGES) !== this.#pages;
  }

  /** How long there is nothing to do. */
  dueInMs(): number {
    if (this.#pages > 0) return LOOK_MS;
    return Atomics.load(this.#control, SPARE_STATE) === SPARE_FAILED ? this.#retryAt - this.#nowMs() : IDLE_MS;
  }

  /** There is more room than before, or another spare: the next attempt needn't wait. */
  hasRoom(): void {
    this.#retryAt = 0;
    this.end();
  }

  /** Nobody waits any more for what isn't complete. */
  end(): void {
    this.#fill?.giveUp();
    this.#fill = undefined;
    this.#pages = 0;
  }

  /** `SPARE_READY`, `SPARE_FAILED`, or `SPARE_WANTED` while there is more to do. */
  #make(pages: number): number {
    if (pages !== this.#pages) this.#begin(pages);
    for (;;) {
      try {
        this.#fill ??= this.#nextFile();
        if (this.#fill === undefined) break;
        const bytes = this.#isOver() ? 0 : this.#pace.bytesDue();
        if (bytes === 0) return SPARE_WANTED;
        if (this.#fill.step(bytes)) this.#fill = undefined;
      } catch (thrown) {
        this.#fill = undefined;
        if (this.#makesSmaller(thrown)) continue;
        this.#pages = 0;
        this.#failed(thrown as NodeJS.ErrnoException);
        return SPARE_FAILED;
      }
    }
    this.#pages = 0;
    this.#retryPauseMs = RETRY_MS;
    return SPARE_READY;
  }

  #begin(pages: number): void {
    this.end();
    this.#pages = pages;
    this.#spareBytes = pages * ALIGNMENT;
    const missing = this.#hasReserve() ? 0 : reserveBytes(this.#limits);
    this.#pace.begin(missing + this.#spareBytes);
  }

  /** The next file to make; undefined when everything is there. */
  #nextFile(): ZeroFill | undefined {
    // The reserve comes first: on a full disk it is worth more than the next segment.
    if (!this.#hasReserve()) {
      const bytes = reserveBytes(this.#limits);
      return new ZeroFill(this.#storage, reserveName(bytes), bytes, true);
    }
    const bytes = this.#spareBytes;
    if (findSpare(this.#storage, bytes, this.#limits.segmentBytesMax) !== undefined) return undefined;
    return new ZeroFill(this.#storage, spareName(bytes), bytes, true);
  }

  /** At the end nobody waits for a spare. */
  #isOver(): boolean {
    return Atomics.load(this.#control, STATE) >= CLOSED;
  }

  #hasReserve(): boolean {
    return findReserve(this.#storage) !== undefined;
  }

  /** Whether the disk may have room for a smaller spare than the one that has failed. */
  #makesSmaller(thrown: unknown): boolean {
    const least = leastSegmentBytes(this.#limits, 0);
    if (!isDiskFull(thrown) || !this.#hasReserve() || this.#spareBytes <= least) return false;
    this.#spareBytes = smallerSpare(this.#spareBytes, least);
    return true;
  }

  #failed({ errno, syscall }: NodeJS.ErrnoException): void {
    Atomics.store(this.#control, SPARE_ERRNO, Math.abs(errno ?? 0));
    this.#retryAt = this.#nowMs() + this.#retryPauseMs;
    // Where the system doesn't tell the free space (a quota), each attempt takes what there is.
    this.#retryPauseMs = syscall === "statfs" ? RETRY_MS : Math.min(this.#retryPauseMs * 2, RETRY_MAX_MS);
  }
}
