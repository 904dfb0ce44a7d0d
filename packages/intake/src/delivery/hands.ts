/** The jobs that machines have, by their slots, with the time limits of their attempts. */
import type { Job } from "./job.ts";
import type { Runner } from "./ports.ts";

const NO_BYTES = new Uint8Array(0);

/** Time in which an attempt that was given up may end by itself, before its thread is looked at. */
const GRACE_MS = 1000;

interface Hand {
  job: Job | undefined;
  /** Its time limit, ms, from the instant at which a machine begins it. */
  timeoutMs: number | undefined;
  /**
   * When its time may be over, or the grace of an attempt that was given up; Infinity: never.
   */
  until: number;
  /** The attempt was ended without waiting for it; its result is ignored. */
  isAbandoned: boolean;
  /** It still runs when its grace is over. */
  lasts: boolean;
}

export class Hands {
  readonly #runner: Runner;
  readonly #hands: Hand[];
  #abandoned = 0;

  constructor(runner: Runner) {
    this.#runner = runner;
    this.#hands = Array.from({ length: runner.capacity }, () => ({
      job: undefined,
      timeoutMs: undefined,
      until: Infinity,
      isAbandoned: false,
      lasts: false,
    }));
  }

  /** Attempts that were given up and still run. */
  get abandoned(): number {
    return this.#abandoned;
  }

  /** Whether a machine has the record, in an attempt that counts. */
  has(origin: number): boolean {
    return this.#hands.some(({ job, isAbandoned }) => job?.origin === origin && !isAbandoned);
  }

  /** A machine has the job; its bytes lie in the slot. */
  give(slot: number, job: Job, now: number, timeoutMs: number | undefined): void {
    job.key = NO_BYTES;
    job.headers = NO_BYTES;
    job.payload = NO_BYTES;
    const hand = this.#of(slot);
    hand.job = job;
    hand.timeoutMs = timeoutMs;
    hand.until = timeoutMs === undefined ? Infinity : now + timeoutMs;
    hand.isAbandoned = false;
  }

  /** The attempt is over; its job, unless it was given up before. */
  takeBack(slot: number): Job | undefined {
    const hand = this.#of(slot);
    const { job, isAbandoned } = hand;
    hand.job = undefined;
    hand.until = Infinity;
    if (!isAbandoned) return job;
    hand.isAbandoned = false;
    hand.lasts = false;
    this.#abandoned -= 1;
    return undefined;
  }

  /** The bytes of a job out of its slot, before the slot is used again. */
  readBack(slot: number, job: Job): void {
    const { key, headers, payload } = this.#runner.partsOf(slot);
    job.key = Uint8Array.from(key);
    job.headers = Uint8Array.from(headers);
    job.payload = Uint8Array.from(payload);
  }

  /**
   * Gives up the attempts whose time is over; their slots and jobs. Others are looked at again when
   * it may be: one that no machine has begun has all of its time.
   */
  *overdue(now: number): Generator<readonly [slot: number, job: Job], void> {
    for (const [index, hand] of this.#hands.entries()) {
      const { job, timeoutMs = Infinity, until, isAbandoned } = hand;
      if (job === undefined || isAbandoned || until > now) continue;
      const leftMs = timeoutMs - (this.#runner.runningMs(index + this.#runner.first) ?? 0);
      if (leftMs > 0) {
        hand.until = now + leftMs;
        continue;
      }
      this.#abandon(hand);
      hand.until = now + GRACE_MS;
      yield [index + this.#runner.first, job];
    }
  }

  /**
   * Machines with an attempt whose grace is over now, and again after a while: how many such
   * attempts each has in all, whenever their graces were over.
   */
  lasting(now: number): Map<number, number> {
    const due = new Set<number>();
    const counts = new Map<number, number>();
    for (const [index, hand] of this.#hands.entries()) {
      if (!hand.isAbandoned || (hand.until > now && !hand.lasts)) continue;
      const machine = this.#runner.machineOf(index + this.#runner.first);
      counts.set(machine, (counts.get(machine) ?? 0) + 1);
      if (hand.until > now) continue;
      hand.lasts = true;
      hand.until = now + GRACE_MS;
      due.add(machine);
    }
    return new Map([...counts].filter(([machine]) => due.has(machine)));
  }

  /** Gives up every attempt; their slots. */
  *abandonAll(): Generator<number, void> {
    for (const [index, hand] of this.#hands.entries()) {
      if (hand.job === undefined || hand.isAbandoned) continue;
      this.#abandon(hand);
      yield index + this.#runner.first;
    }
  }

  #abandon(hand: Hand): void {
    hand.isAbandoned = true;
    hand.until = Infinity;
    this.#abandoned += 1;
  }

  /** When the next attempt's time is over; Infinity without. */
  nextTimeout(): number {
    let next = Infinity;
    for (const { job, until } of this.#hands) if (job !== undefined && until < next) next = until;
    return next;
  }

  #of(slot: number): Hand {
    return this.#hands[slot - this.#runner.first] as Hand;
  }
}
