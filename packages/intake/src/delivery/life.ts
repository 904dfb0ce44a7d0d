/**
 * Writes into the log that this process has begun, which suspects it tries, how far its lanes are,
 * and that it has ended. From this the next process finds out which records this one may have had
 * in hand.
 */
import { RECORD_TYPE } from "@millrace/journal";
import { encodeLease } from "../format/state-records.ts";
import type { RecordStates } from "../states/record-states.ts";
import type { Ends } from "./ends.ts";
import type { Gates } from "./gates.ts";
import type { Clock, Log, Runner } from "./ports.ts";
import type { Returns } from "./returns.ts";
import type { StateLog } from "./state-log.ts";
import { lastSuspect, type Suspects } from "./suspects.ts";
import type { Turns } from "./turns.ts";

/** A lease says up to where records may have been handed out; one is written this often. */
const LEASE_MS = 100;
/** A lease comes earlier when a lane has passed this part of what may be in hand behind one. */
const LEASE_PART: number = 1 / 4;
/** Leases on their way to the disk. */
const ON_WAY_MAX = 8;
/** Of a suspect in a CONTROL record: origin and ends. */
const SUSPECT_BYTES = 16;
/** Suspects that the log names as tried at the same time. */
const NAMED_MAX = 1024;

export interface LifeParts {
  readonly log: Log;
  readonly runner: Runner;
  readonly clock: Clock;
  readonly states: RecordStates;
  readonly stateLog: StateLog;
  readonly gates: Gates;
  readonly suspects: Suspects;
  readonly turns: Turns;
  readonly ends: Ends;
  readonly returns: Returns;
  /** Unsettled records behind a lease among which one may be in hand. */
  readonly behindLeaseMax: number;
}

export class Life {
  readonly #parts: LifeParts;
  #beginning: "unwritten" | "written" | "durable" = "unwritten";
  #isClosed = false;
  #leasedAt = 0;
  /** The lease that was written last. */
  #leased: readonly number[] = [0, 0, 0];
  /** No lease that the log may end with is before this one; undefined until a lane begins. */
  #durable: readonly number[] | undefined;
  #onWay = 0;
  /** By priority: as far as is known, a record up to here may be in hand. */
  readonly #nearUntil: number[] = [0, 0, 0];
  /** In this turn a lane has stopped. */
  #isAwaited = false;
  /** Somebody waits for those on their way. */
  #isUrged = false;

  constructor(parts: LifeParts) {
    this.#parts = parts;
  }

  // ── beginning and end ─────────────────────────────────────────────────────────────────────────

  /**
   * Before anything is handed out the log says that a process has begun: if it ends without saying
   * so, the records that it had in hand are suspect. True once that is durable.
   */
  isBegun(): boolean {
    if (this.#beginning === "unwritten") this.#begin();
    return this.#beginning === "durable";
  }

  #begin(): void {
    const { states, suspects, stateLog } = this.#parts;
    this.#beginning = "written";
    const { endings } = states;
    stateLog.control({ kind: "opened", uncleanEnds: endings.isOpen ? endings.uncleanEnds + 1 : 0 });
    const all = suspects.all();
    const most = stateLog.fitting(SUSPECT_BYTES);
    for (let from = 0; from < all.length; from += most) {
      stateLog.control({ kind: "suspected", suspects: Float64Array.from(all.slice(from, from + most).flat()) });
    }
    stateLog.control({ kind: "begun" });
    stateLog.urge();
  }

  /** That it has begun is durable. */
  begun(): void {
    this.#beginning = "durable";
  }

  /** Nothing is in hand: the log says that the process has ended. True when it says so already. */
  isClosed(): boolean {
    if (this.#isClosed || this.#beginning === "unwritten") return true;
    this.#isClosed = true;
    const { stateLog } = this.#parts;
    this.#tellCleared([]);
    stateLog.control({ kind: "closed" });
    stateLog.flush(true);
    return false;
  }

  // ── suspects ──────────────────────────────────────────────────────────────────────────────────

  /** Names the next group of suspects in the log, before it is handed out. */
  trySuspects(): number {
    const { clock, suspects, turns, stateLog } = this.#parts;
    if (suspects.size === 0) {
      // No group follows that would say it.
      if (this.#beginning === "durable") this.#tellCleared([]);
      return 0;
    }
    if (!this.isBegun()) return 0;
    const now = clock.now();
    for (const origin of suspects.late(now)) if (turns.isHeldUp(origin)) suspects.waits(origin);
    const named = suspects.nextGroup(now, Math.min(NAMED_MAX, stateLog.fitting(SUSPECT_BYTES) >> 1));
    if (named === undefined) return 0;
    this.#tellCleared(suspects.named);
    stateLog.control({ kind: "trying", origins: named, cleared: [] }, () => this.#handOutSuspects());
    stateLog.urge();
    return named.length;
  }

  /** Those that have come back, in as many records as it takes; each says who is tried. */
  #tellCleared(named: readonly number[]): void {
    const { suspects, stateLog } = this.#parts;
    const cleared = suspects.takeCleared();
    const most = stateLog.fitting(SUSPECT_BYTES) >> 1;
    for (let from = 0; from < cleared.length; from += most) {
      stateLog.control({ kind: "trying", origins: [...named], cleared: cleared.slice(from, from + most) });
    }
  }

  /** The group was named durably. */
  #handOutSuspects(): void {
    const { suspects, ends, gates, returns } = this.#parts;
    for (const origin of suspects.announced()) {
      const handler = ends.isOver(origin) ? undefined : returns.wake(origin)?.handler;
      if (ends.isOver(origin)) suspects.survived(origin);
      // A group doesn't wait for a handler that can't run.
      else if (handler !== undefined && !gates.isRunnable(handler)) suspects.waits(origin);
    }
  }

  // ── leases ────────────────────────────────────────────────────────────────────────────────────

  /**
   * Whether a lane may hand out or pass its record at `place`. A record may be in hand only where
   * the next opening finds it: before the last durable lease or soon behind it. Otherwise one that
   * ends its process ends one process after another. On a full disk no lane waits for a lease: it
   * might wait for ever.
   */
  isNear(priority: number, place: number): boolean {
    if (place <= (this.#nearUntil[priority] as number)) return true;
    const { log, states, turns, behindLeaseMax } = this.#parts;
    // Lanes only move on: so do leases.
    this.#durable ??= turns.positions().map((first, lane) => Math.min(first, states.endings.lease[lane] ?? 0));
    const until = lastSuspect(states, this.#durable[priority] as number, behindLeaseMax);
    this.#nearUntil[priority] = until;
    if (place <= until || log.isDiskFull()) return true;
    this.#isAwaited = true;
    return false;
  }

  /** Now and then, and when a lane waits for it: up to where records may have been handed out. */
  lease(): void {
    const { clock, turns, runner, stateLog } = this.#parts;
    const isAwaited = this.#isAwaited;
    this.#isAwaited = false;
    // Until it has begun, the lease is of the process before this one, and of use to the next.
    if (isAwaited ? !this.isBegun() : this.#beginning !== "durable") return;
    const now = clock.now();
    const isDue = now - this.#leasedAt >= LEASE_MS;
    if (isDue) this.#leasedAt = now;
    const lease = turns.positions();
    // Without new records it says nothing new.
    const isWanted = isAwaited || (runner.outstanding > 0 && (isDue || this.#isFar(lease)));
    const isNew = lease.some((place, lane) => place !== this.#leased[lane]);
    if (isWanted && isNew && this.#onWay < ON_WAY_MAX) this.#write(lease);
    if (!isAwaited || this.#onWay === 0 || this.#isUrged) return;
    this.#isUrged = true;
    stateLog.urge();
  }

  /** On a full disk it isn't worth the room. */
  #isFar(lease: readonly number[]): boolean {
    const { log, behindLeaseMax } = this.#parts;
    const far = behindLeaseMax * LEASE_PART;
    return !log.isDiskFull() && lease.some((place, lane) => place - (this.#leased[lane] as number) >= far);
  }

  #write(lease: readonly number[]): void {
    this.#leased = lease;
    this.#onWay += 1;
    this.#isUrged = false;
    const onDurable = (): void => {
      this.#durable = lease;
      this.#onWay -= 1;
    };
    this.#parts.stateLog.write(RECORD_TYPE.lease, encodeLease(lease), { onDurable });
  }
}
