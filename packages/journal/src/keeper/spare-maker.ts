/**
 * Makes the files that the writer's next segments come from, when the writer asks for one.
 *
 * On a full disk it makes a smaller one, down to a batch; it leaves a margin to other programs; and
 * it never fills the disk to see whether there is room.
 *
 * It shares the disk with the log. So it writes in small steps, and no faster than it takes to be
 * ready in time (`Pace`); only somebody who waits makes it hurry.
 */
import { unpark } from "@millrace/atomics-sync";
import { ALIGNMENT } from "../files/format.ts";
import { type JournalLimits, leastSegmentBytes, reserveBytes } from "../files/limits.ts";
import { findReserve, findSpare, reserveName, smallerSpare, type Spare, spareName } from "../files/spare.ts";
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
  /** Whether there is a reserve, by the last look. */
  #hasReserve = false;
  /** Whether the last turn has written something: then the next one may at once. */
  #hasStepped = false;
  /** Bytes of the spare for it: fewer than wanted where the disk has no room for more. */
  #spareBytes = 0;
  /** The file in the making. */
  #fill: ZeroFill | undefined;
  /** Another file may have come that takes the place of this one. */
  #mustLook = false;
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

  /** Whether the writer wants something else than what is being made, or waits for that. */
  isAsked(): boolean {
    if (Atomics.load(this.#control, SPARE_STATE) !== SPARE_WANTED) return false;
    return Atomics.load(this.#control, SPARE_PAGES) !== this.#pages || this.#pace.isHurried;
  }

  /** How long there is nothing to do. */
  dueInMs(): number {
    if (this.#pages > 0) return this.#hasStepped ? 0 : LOOK_MS;
    return Atomics.load(this.#control, SPARE_STATE) === SPARE_FAILED ? this.#retryAt - this.#nowMs() : IDLE_MS;
  }

  /** There is more room than before, or another spare: the next attempt needn't wait. */
  hasRoom(): void {
    this.#retryAt = 0;
    this.#mustLook = true;
  }

  /** Nobody waits any more for what isn't complete. */
  end(): void {
    this.#fill?.giveUp();
    this.#fill = undefined;
    this.#pages = 0;
  }

  /** `SPARE_READY`, `SPARE_FAILED`, or `SPARE_WANTED` while there is more to do. */
  #make(pages: number): number {
    this.#hasStepped = false;
    for (;;) {
      try {
        if (pages !== this.#pages) this.#begin(pages);
        this.#dropNeedless();
        this.#fill ??= this.#nextFile();
        if (this.#fill === undefined) break;
        if (!this.#step(this.#fill)) return SPARE_WANTED;
      } catch (thrown) {
        // Another call than a step of it may have failed: then it is open and has its bytes.
        this.#fill?.giveUp();
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
  }

  /** One step, if it is due; whether the next one should follow at once. */
  #step(fill: ZeroFill): boolean {
    const isReserve = !this.#hasReserve;
    const left = isReserve ? fill.left + this.#spareBytes : fill.left;
    const bytes = this.#isOver() ? 0 : this.#pace.bytesDue(left);
    if (bytes === 0) return false;
    if (bytes >= fill.left) this.#mustLook = true;
    if (this.#dropNeedless()) return true;
    this.#hasStepped = true;
    this.#pace.made(fill.step(bytes));
    if (fill.left > 0) return this.#pace.isHurried;
    this.#fill = undefined;
    this.#hasReserve = true;
    return true;
  }

  /** Gives the file in the making up if one came meanwhile that does as well; whether it did. */
  #dropNeedless(): boolean {
    if (!this.#mustLook || this.#fill === undefined) return false;
    this.#mustLook = false;
    const isThere = this.#hasReserve ? this.#findSpare() !== undefined : findReserve(this.#storage) !== undefined;
    if (!isThere) return false;
    this.#fill.giveUp();
    this.#fill = undefined;
    return true;
  }

  /** The next file to make; undefined when everything is there. */
  #nextFile(): ZeroFill | undefined {
    this.#mustLook = false;
    this.#pace.begin();
    this.#hasReserve = findReserve(this.#storage) !== undefined;
    // The reserve comes first: on a full disk it is worth more than the next segment.
    if (!this.#hasReserve) {
      const bytes = reserveBytes(this.#limits);
      return new ZeroFill(this.#storage, reserveName(bytes), bytes, true);
    }
    if (this.#findSpare() !== undefined) return undefined;
    return new ZeroFill(this.#storage, spareName(this.#spareBytes), this.#spareBytes, true);
  }

  #findSpare(): Spare | undefined {
    return findSpare(this.#storage, this.#spareBytes, this.#limits.segmentBytesMax);
  }

  /** At the end nobody waits for a spare. */
  #isOver(): boolean {
    return Atomics.load(this.#control, STATE) >= CLOSED;
  }

  /** Whether the disk may have room for a smaller spare than the one that has failed. */
  #makesSmaller(thrown: unknown): boolean {
    const least = leastSegmentBytes(this.#limits, 0);
    if (!isDiskFull(thrown) || !this.#hasReserve || this.#spareBytes <= least) return false;
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
