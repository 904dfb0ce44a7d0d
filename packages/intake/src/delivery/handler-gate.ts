/**
 * Whether a handler may be given a record now, and why not: paused by command, at its limit of
 * concurrency or rate, resting because it kept failing, or waiting because records that it has
 * published wait for room on the disk.
 *
 * The breaker counts first attempts that failed, in a row: when a service that a handler needs is
 * down, new records fail too, while a few bad records fail at each of their attempts and say
 * nothing of the rest. At `failuresMax` it opens: nothing is handed out for a while, then one
 * record is, as a probe. A success closes it. A probe that fails doubles the pause, up to a cap, if
 * it was a first attempt; otherwise the next one is tried soon. Source of the states: Nygard,
 * "Release It!", 2007.
 */
import type { BreakerEvent } from "./events.ts";
import type { HandlerTerms } from "./policy.ts";

export type Obstacle = "paused" | "busy" | "rate" | "resting" | "missing" | "unwritten";

/** Time that an open breaker waits after a probe that says nothing. */
const SOON_MS = 50;
/** Time that an open breaker waits at first, and at most. */
const REST_MS = 1000;
const REST_MS_MAX = 30_000;
/** A time that is this much older than the last one comes from a clock that was set back. */
const SET_BACK_MS = 1000;

export class HandlerGate {
  readonly name: string;
  readonly terms: HandlerTerms;
  /** Whether a module exports it now. */
  readonly isThere: boolean;
  isPaused = false;
  /** Whether it leaves more than an ACK: records, results that are kept, ends that are recorded. */
  publishes: boolean;
  /** Records that it has in hand. */
  running = 0;
  /** Attempts that succeeded, and that failed, since the opening. */
  doneCount = 0;
  failedCount = 0;
  readonly #told: (event: BreakerEvent) => void;
  #tokens = 0;
  #filledAt = -Infinity;
  #failures = 0;
  #restMs = 0;
  #restUntil = 0;
  #isProbing = false;

  readonly #stateLog: { readonly isFull: boolean };

  /** `stateLog`: whether what the handler publishes waits for room. */
  constructor(
    name: string,
    terms: HandlerTerms,
    isThere: boolean,
    told: (event: BreakerEvent) => void = () => {},
    stateLog: { readonly isFull: boolean } = { isFull: false },
  ) {
    this.#stateLog = stateLog;
    this.name = name;
    this.terms = terms;
    this.publishes = terms.result === "keep" || terms.record === "outcomes";
    this.isThere = isThere;
    this.#told = told;
  }

  /** Why it can't be given a record at `now`; undefined when it can. */
  obstacle(now: number): Obstacle | undefined {
    if (!this.isThere) return "missing";
    if (this.isPaused) return "paused";
    if (this.running >= this.terms.concurrencyMax) return "busy";
    if (this.#isShut(now)) return "resting";
    if (this.#isUnwritten) return "unwritten";
    return this.#hasToken(now) ? undefined : "rate";
  }

  /**
   * Whether it gets no record at `now`, or none but a probe, however many others end. It may be
   * busy as well: the probe may be all that it may have in hand.
   */
  isStopped(now: number): boolean {
    return !this.isThere || this.isPaused || this.#isShut(now) || this.#isUnwritten;
  }

  #isShut(now: number): boolean {
    return this.#restMs > 0 && (this.#isRestingAt(now) || this.#isProbing);
  }

  get #isUnwritten(): boolean {
    return this.publishes && this.#stateLog.isFull;
  }

  /** When an obstacle may be gone by itself; Infinity when only an event removes it. */
  retryAt(now: number): number {
    switch (this.obstacle(now)) {
      case undefined:
        return now;
      case "resting":
        return this.#isProbing ? Infinity : this.#restUntil;
      case "rate":
        return this.#filledAt + 1000 / (this.terms.ratePerSecond as number);
      default:
        return Infinity;
    }
  }

  given(now: number): void {
    this.running += 1;
    if (this.#restMs > 0) {
      this.#isProbing = true;
      this.#tell("halfOpen");
    }
    if (this.terms.ratePerSecond !== undefined && this.#hasToken(now)) this.#tokens -= 1;
  }

  succeeded(): void {
    this.running -= 1;
    this.doneCount += 1;
    const wasOpen = this.#restMs > 0;
    this.#failures = 0;
    this.#restMs = 0;
    this.#isProbing = false;
    if (wasOpen) this.#tell("closed");
  }

  /** `isFirst`: the record's first attempt, and no snooze. */
  failed(now: number, isFirst: boolean): void {
    this.running -= 1;
    this.failedCount += 1;
    const isProbe = this.#isProbing;
    this.#isProbing = false;
    if (!isFirst) {
      if (isProbe) this.#restUntil = now + SOON_MS;
      return;
    }
    this.#failures += 1;
    if (this.terms.failuresMax === 0 || (this.#failures < this.terms.failuresMax && !isProbe)) return;
    // Failures of records that were handed out before the breaker opened don't lengthen the pause.
    if (this.#restMs > 0 && !isProbe) return;
    this.#restMs = this.#restMs === 0 ? REST_MS : Math.min(this.#restMs * 2, REST_MS_MAX);
    this.#restUntil = now + this.#restMs;
    this.#tell("open");
  }

  #tell(state: BreakerEvent["state"]): void {
    const restMs = state === "open" ? this.#restMs : 0;
    this.#told({ handler: this.name, state, failures: this.#failures, restMs });
  }

  get isResting(): boolean {
    return this.#restMs > 0;
  }

  #isRestingAt(now: number): boolean {
    // A clock that was set back doesn't lengthen the rest.
    this.#restUntil = Math.min(this.#restUntil, now + this.#restMs);
    return now < this.#restUntil;
  }

  #hasToken(now: number): boolean {
    const { ratePerSecond } = this.terms;
    if (ratePerSecond === undefined) return true;
    // An older time gives nothing twice; a clock that was set back further stops nothing.
    if (now < this.#filledAt - SET_BACK_MS) this.#filledAt = now;
    // A second's worth may come at once, no more.
    const gained = ((now - this.#filledAt) * ratePerSecond) / 1000;
    if (gained >= 1) {
      this.#tokens = Math.min(Math.max(1, ratePerSecond), this.#tokens + gained);
      this.#filledAt = now;
    }
    return this.#tokens >= 1;
  }
}
