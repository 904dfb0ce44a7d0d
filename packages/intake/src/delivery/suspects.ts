/**
 * Records that a process may have had in hand when it ended without saying so: one of them may have
 * ended it.
 *
 * After the first such end suspects are tried again in small groups, beside ordinary traffic.
 * Before a group is handed out, a durable record names it; so the next end points at few. A suspect
 * of two ends or more runs in quarantine, a process of its own, where it can only end that.
 *
 * A kill from outside makes suspects too, but never a dead letter: only a death in quarantine
 * counts as an attempt.
 */
import { RECORD_TYPE } from "@millrace/journal";
import type { RecordStates } from "../states/record-states.ts";
import type { LogRecord } from "../format/log-record.ts";
import type { Log } from "./ports.ts";

/** Suspects that are tried at the same time. */
const GROUP_MAX = 32;
/** Ends after which a suspect goes to quarantine. */
export const QUARANTINE_ENDS = 2;
/** Suspects of one lane behind the last lease. */
const BEHIND_LEASE_MAX = 4096;
const LANES = 3;

export class Suspects {
  readonly #all: ReadonlySet<number>;
  /** Unclean ends by origin, of those that weren't tried yet. */
  readonly #left: Map<number, number>;
  /** The group at hand, and whether the log says so. */
  #group: number[] = [];
  #isDurable = false;
  readonly #ends = new Map<number, number>();
  #cleared: number[] = [];

  constructor(suspects: ReadonlyMap<number, number>) {
    this.#all = new Set(suspects.keys());
    this.#left = new Map([...suspects].toSorted(([left], [right]) => left - right));
  }

  get size(): number {
    return this.#left.size + this.#group.length;
  }

  /** Whether a lane must leave this record alone: it comes, or came, with its group. */
  has(origin: number): boolean {
    return this.#all.has(origin);
  }

  /** For `Delivery.describe`. */
  describe(): string {
    const group = this.#group.length === 0 ? "" : `, trying ${this.#group.join(" ")}`;
    return `${this.#left.size}${group}${this.#isDurable || group === "" ? "" : " soon"}`;
  }

  /** Unclean ends of a record whose turn it is. */
  endsOf(origin: number): number {
    return this.#ends.size === 0 ? 0 : (this.#ends.get(origin) ?? 0);
  }

  /** Those that weren't tried yet, with their ends. */
  all(): [origin: number, ends: number][] {
    return [...this.#left];
  }

  /** Those that survived since the last call. */
  takeCleared(): number[] {
    const cleared = this.#cleared;
    this.#cleared = [];
    return cleared;
  }

  /** Picks the next group; undefined when there is none or one is at hand. It must be announced. */
  nextGroup(): readonly number[] | undefined {
    if (this.#group.length > 0 || this.#left.size === 0) return undefined;
    const [first] = this.#left as Iterable<readonly [number, number]>;
    const isForQuarantine = (first as readonly [number, number])[1] >= QUARANTINE_ENDS;
    for (const [origin, ends] of this.#left) {
      if (ends >= QUARANTINE_ENDS !== isForQuarantine) continue;
      this.#group.push(origin);
      this.#ends.set(origin, ends);
      this.#left.delete(origin);
      if (this.#group.length === GROUP_MAX || isForQuarantine) break;
    }
    this.#isDurable = false;
    return this.#group;
  }

  /** The group was named durably: now it may be handed out; empty when it was before. */
  announced(): readonly number[] {
    if (this.#isDurable || this.#group.length === 0) return [];
    this.#isDurable = true;
    // A copy: those that are over leave the group while it is handed out.
    return [...this.#group];
  }

  /** A suspect has come back: it ended nothing. */
  survived(origin: number): void {
    if (this.#ends.size === 0 || !this.#ends.delete(origin)) return;
    this.#leaveGroup(origin);
    this.#cleared.push(origin);
  }

  /** It has ended a process of its own, or had to be ended there: it comes there again. */
  endedAlone(origin: number): void {
    this.#leaveGroup(origin);
  }

  /**
   * It isn't given to a handler now: it waits for a key, a time, or a handler that can't run. The
   * group goes on without it, and it is as suspect as before.
   */
  setAside(origin: number): void {
    this.#leaveGroup(origin);
  }

  /**
   * Whether a record whose turn has come must wait for a group that the log names: its key is free
   * before its group is tried, or it was set aside then. In quarantine it can't end this process.
   */
  waitsForGroup(origin: number): boolean {
    if (this.#left.has(origin)) return true;
    if (this.#ends.size === 0) return false;
    const ends = this.#ends.get(origin);
    if (this.#group.includes(origin)) return !this.#isDurable;
    if (ends === undefined || ends >= QUARANTINE_ENDS) return false;
    this.#ends.delete(origin);
    this.#left.set(origin, ends);
    return true;
  }

  #leaveGroup(origin: number): void {
    const index = this.#group.indexOf(origin);
    if (index >= 0) this.#group.splice(index, 1);
  }
}

/**
 * Who may have been in hand when the process before this one ended, with the number of such ends.
 */
export function findSuspects(log: Log, states: RecordStates, wallMs: number): Map<number, number> {
  const { isOpen, suspects: before, trying, lease } = states.endings;
  const found = new Map<number, number>();
  if (!isOpen) return found;
  // While suspects were tried, those whose turn hadn't come were in nobody's hand.
  const isTried = (origin: number): boolean => !before.has(origin) || trying.includes(origin);
  const add = (origin: number): void => {
    if (states.isDead(origin) || states.isSettled(origin)) return;
    // It has no attempt left, and waits for room among the dead letters.
    if (states.retries.get(origin)?.dueMs === Infinity) return;
    found.set(origin, (before.get(origin) ?? 0) + (isTried(origin) ? 1 : 0));
  };
  for (const origin of before.keys()) add(origin);
  for (const [origin, { dueMs, pauseMs }] of states.retries) {
    // By a clock that was set back since nobody knows whether it was due.
    if (dueMs <= wallMs || dueMs - pauseMs > wallMs) add(origin);
  }
  for (const origin of states.places.keys()) if (!states.retries.has(origin)) add(origin);
  const behind = Array.from({ length: LANES }, () => 0);
  const end = Math.max(...lease) + BEHIND_LEASE_MAX * LANES;
  const walk = log.walk();
  let next = states.settled.endOf(log.firstSequence) + 1;
  walk.seek(next);
  // Ends: at the last durable record, or soon behind the lease.
  for (let record = walk.next(); record !== undefined; record = walk.next()) {
    const { sequence, priority } = record;
    if (sequence >= end) break;
    if (sequence < next) continue;
    if (isCandidate(record, states)) {
      const isBehind = sequence >= (lease[priority] ?? 0);
      if (!isBehind || (behind[priority] as number) < BEHIND_LEASE_MAX) add(sequence);
      if (isBehind) behind[priority] = (behind[priority] as number) + 1;
    }
    next = states.settled.endOf(sequence + 1) + 1;
    if (next > sequence + 1) walk.skipTo(next);
  }
  walk.close();
  return found;
}

function isCandidate({ type, sequence, replaces }: LogRecord, states: RecordStates): boolean {
  return type === RECORD_TYPE.data && replaces === 0 && !states.settled.has(sequence) && !states.retries.has(sequence);
}
