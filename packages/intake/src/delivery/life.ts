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
import type { Clock, Runner } from "./ports.ts";
import type { Returns } from "./returns.ts";
import type { StateLog } from "./state-log.ts";
import type { Suspects } from "./suspects.ts";
import type { Turns } from "./turns.ts";

/** A lease says up to where records may have been handed out; written no more often than this. */
const LEASE_MS = 100;
/** Of a suspect in a CONTROL record: origin and ends. */
const SUSPECT_BYTES = 16;
/** Suspects that the log names as tried at the same time. */
const NAMED_MAX = 1024;

export interface LifeParts {
  readonly runner: Runner;
  readonly clock: Clock;
  readonly states: RecordStates;
  readonly stateLog: StateLog;
  readonly gates: Gates;
  readonly suspects: Suspects;
  readonly turns: Turns;
  readonly ends: Ends;
  readonly returns: Returns;
}

export class Life {
  readonly #parts: LifeParts;
  #beginning: "unwritten" | "written" | "durable" = "unwritten";
  #isClosed = false;
  #leasedAt = 0;
  #leased: readonly number[] = [0, 0, 0];

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

  /** Now and then: up to where records may have been handed out. */
  lease(): void {
    const { clock, turns, runner, stateLog } = this.#parts;
    const now = clock.now();
    if (now - this.#leasedAt < LEASE_MS) return;
    const lease = turns.positions();
    this.#leasedAt = now;
    // Without new records it says nothing new.
    if (runner.outstanding === 0 || lease.every((place, index) => place === this.#leased[index])) return;
    this.#leased = lease;
    stateLog.write(RECORD_TYPE.lease, encodeLease(lease));
  }
}
