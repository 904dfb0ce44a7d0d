/**
 * Makes the files that the writer's next segments come from, when the writer asks for one.
 *
 * On a full disk it makes a smaller one, down to a batch; it leaves a margin to other programs; and
 * it never fills the disk to see whether there is room.
 */
import { unpark } from "@millrace/atomics-sync";
import { ALIGNMENT } from "../files/format.ts";
import { type JournalLimits, leastSegmentBytes, reserveBytes } from "../files/limits.ts";
import { makeReserve, makeSpareThatFits, type Room, SpareGivenUp } from "../files/spare.ts";
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
import type { Storage } from "../storage/storage.ts";

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
  /** Other programs keep a part of the disk, and at the end nobody waits for a spare. */
  readonly #room: Room;
  #retryAt = 0;
  #retryPauseMs = RETRY_MS;

  constructor(storage: Storage, memory: JournalMemory, limits: JournalLimits, nowMs: () => number) {
    this.#storage = storage;
    this.#memory = memory;
    this.#limits = limits;
    this.#nowMs = nowMs;
    this.#control = new Int32Array(memory.control);
    this.#threads = new Int32Array(memory.threads);
    this.#room = { leavesMargin: true, isOver: () => Atomics.load(this.#control, STATE) >= CLOSED };
  }

  /**
   * Answers the writer, if it has asked, or if the last answer was a failure and it is time for
   * another attempt.
   */
  serve(): void {
    const state = Atomics.load(this.#control, SPARE_STATE);
    const isDue = this.#nowMs() >= this.#retryAt;
    if (state !== SPARE_WANTED && !(state === SPARE_FAILED && isDue)) return;
    const pages = Atomics.load(this.#control, SPARE_PAGES);
    const outcome = isDue && this.#hasMade(pages * ALIGNMENT) ? SPARE_READY : SPARE_FAILED;
    // The writer may have asked for another size meanwhile; then the next turn makes that one.
    if (Atomics.load(this.#control, SPARE_PAGES) !== pages) return;
    Atomics.compareExchange(this.#control, SPARE_STATE, state, outcome);
    if (outcome !== state) unpark(this.#threads, this.#memory.writerThread);
  }

  /** How long there is nothing to do. */
  dueInMs(): number {
    return Atomics.load(this.#control, SPARE_STATE) === SPARE_FAILED ? this.#retryAt - this.#nowMs() : IDLE_MS;
  }

  /** There is more room than before: the next attempt needn't wait. */
  hasRoom(): void {
    this.#retryAt = 0;
  }

  #hasMade(wanted: number): boolean {
    try {
      // The reserve comes first: on a full disk it is worth more than the next segment.
      makeReserve(this.#storage, reserveBytes(this.#limits), this.#room);
      const sizes = { wanted, least: leastSegmentBytes(this.#limits, 0), most: this.#limits.segmentBytesMax };
      makeSpareThatFits(this.#storage, sizes, this.#room);
      this.#retryPauseMs = RETRY_MS;
      return true;
    } catch (thrown) {
      if (thrown instanceof SpareGivenUp) return false;
      const { errno, syscall } = thrown as NodeJS.ErrnoException;
      Atomics.store(this.#control, SPARE_ERRNO, Math.abs(errno ?? 0));
      this.#retryAt = this.#nowMs() + this.#retryPauseMs;
      // Where the system doesn't tell the free space (a quota), each attempt takes what there is.
      this.#retryPauseMs = syscall === "statfs" ? RETRY_MS : Math.min(this.#retryPauseMs * 2, RETRY_MAX_MS);
      return false;
    }
  }
}
