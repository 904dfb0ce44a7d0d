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

/** Suspects of one group. */
const GROUP_MAX = 32;
/**
 * A group that takes longer doesn't hold the next one: a handler may wait for another suspect, or
 * for ever.
 */
const GROUP_MS = 1000;
/** Ends after which a suspect goes to quarantine. */
export const QUARANTINE_ENDS = 2;
/** Records behind the last lease that are suspect, of those that aren't settled. */
export const BEHIND_LEASE_MAX = 4096;

export class Suspects {
  /** Those that come at once, in their groups, and not through a lane. */
  readonly #early: ReadonlySet<number>;
  /** Unclean ends by origin, of those that haven't come back. */
  readonly #ends: Map<number, number>;
  /** Of those, the ones that wait for a group. The others are in one, or wait for their turn. */
  readonly #left: Set<number>;
  /** Those at hand that the log names; of all groups that aren't through. */
  #group: number[] = [];
  /** The group that is on its way to the log. */
  #naming: number[] = [];
  #isNaming = false;
  /** The next group waits until then, unless the one before is through. */
  #groupUntil = 0;
  #cleared: number[] = [];

  /**
   * After an end in order nothing was in hand: `comeInTurn`, suspects of earlier ends come when it
   * is their turn, as any other record. After another end they come at once.
   */
  constructor(suspects: ReadonlyMap<number, number>, comeInTurn: boolean) {
    this.#ends = new Map([...suspects].toSorted(([left], [right]) => left - right));
    this.#early = new Set(comeInTurn ? [] : this.#ends.keys());
    this.#left = new Set(this.#early);
  }

  get size(): number {
    return this.#left.size + this.#naming.length + this.#group.length;
  }

  /** Whether a lane must leave this record alone: it comes, or came, with its group. */
  has(origin: number): boolean {
    return this.#early.has(origin);
  }

  /** For `Delivery.describe`. */
  describe(): string {
    const named = this.#group.length === 0 ? "" : `, trying ${this.#group.join(" ")}`;
    const soon = this.#naming.length === 0 ? "" : `, soon ${this.#naming.join(" ")}`;
    return `${this.#left.size}${named}${soon}`;
  }

  /** Unclean ends of a record that hasn't come back since; 0 of any other. */
  endsOf(origin: number): number {
    return this.#ends.size === 0 ? 0 : (this.#ends.get(origin) ?? 0);
  }

  /** As they stood at the opening. */
  get early(): Iterable<number> {
    return this.#early;
  }

  /** Those that haven't come back, with their ends. */
  all(): [origin: number, ends: number][] {
    return [...this.#ends];
  }

  /** Those that survived since the last call. */
  takeCleared(): number[] {
    const cleared = this.#cleared;
    this.#cleared = [];
    return cleared;
  }

  /** Those at hand that the log names. */
  get named(): readonly number[] {
    return this.#group;
  }

  /** The suspects at hand that take long; none before that. */
  late(nowMs: number): readonly number[] {
    return nowMs < this.#groupUntil ? [] : [...this.#group];
  }

  /** When the next group needn't wait any longer; Infinity when none waits. */
  get dueAt(): number {
    const isWaiting = this.#left.size > 0 && this.#group.length > 0 && !this.#isNaming;
    return isWaiting ? this.#groupUntil : Infinity;
  }

  /**
   * Picks the next group; undefined when there is none, or when another must come back before. The
   * log must name what it returns, which is everything at hand: at most `namedMax`.
   */
  nextGroup(nowMs: number, namedMax: number): readonly number[] | undefined {
    if (this.#isNaming || this.#left.size === 0) return undefined;
    const named = this.#group;
    const groupMax = Math.min(GROUP_MAX, namedMax - named.length);
    if (groupMax <= 0 || (named.length > 0 && nowMs < this.#groupUntil)) return undefined;
    // Later again, if nobody can be picked.
    this.#groupUntil = nowMs + GROUP_MS;
    // One process of its own at a time.
    const isBusy = named.some((origin) => this.#isForQuarantine(origin));
    let kind: boolean | undefined;
    for (const origin of this.#left) {
      const isForQuarantine = this.#isForQuarantine(origin);
      if (isForQuarantine !== (kind ?? isForQuarantine) || (isForQuarantine && isBusy)) continue;
      kind = isForQuarantine;
      this.#naming.push(origin);
      this.#left.delete(origin);
      if (this.#naming.length === groupMax || isForQuarantine) break;
    }
    if (this.#naming.length === 0) return undefined;
    this.#isNaming = true;
    return [...named, ...this.#naming];
  }

  #isForQuarantine(origin: number): boolean {
    return this.endsOf(origin) >= QUARANTINE_ENDS;
  }

  /** The group was named durably: now it may be handed out. */
  announced(): readonly number[] {
    const group = this.#naming;
    this.#naming = [];
    this.#isNaming = false;
    this.#group.push(...group);
    return group;
  }

  /**
   * Whether the record, whose turn has come, may be handed out. A suspect may with its group alone,
   * once the log names it: otherwise it comes with the next one.
   */
  mayRun(origin: number): boolean {
    if (!this.#ends.has(origin)) return true;
    if (this.#group.includes(origin)) return true;
    if (!this.#naming.includes(origin)) this.#left.add(origin);
    return false;
  }

  /**
   * It waits: for its key, its handler, a time, or another attempt in quarantine. Its group
   * doesn't wait for it, and it is as suspect as before.
   */
  waits(origin: number): void {
    for (const group of [this.#group, this.#naming]) {
      const index = group.indexOf(origin);
      if (index >= 0) group.splice(index, 1);
    }
    this.#left.delete(origin);
  }

  /** A suspect has come back: it ended nothing. */
  survived(origin: number): void {
    if (this.#ends.size === 0 || !this.#ends.has(origin)) return;
    this.waits(origin);
    this.#ends.delete(origin);
    this.#cleared.push(origin);
  }
}

/**
 * The last place behind a lease at which a record may be in hand: what isn't settled up to there is
 * suspect after an unclean end. `Life.isNear` holds the lanes to it. At the next opening more is
 * settled, so that this place lies further on.
 */
export function lastSuspect(states: RecordStates, lease: number, behindLeaseMax: number): number {
  return states.settled.missing(Math.max(1, lease), behindLeaseMax);
}

/**
 * The records that may have been in hand when the process before this one ended, with the number of
 * such ends; and suspects of an earlier end that haven't come back since.
 */
export function findSuspects(
  log: Log,
  states: RecordStates,
  wallMs: number,
  behindLeaseMax: number = BEHIND_LEASE_MAX,
): Map<number, number> {
  const { isOpen, suspects: before, trying, lease } = states.endings;
  const found = new Map<number, number>();
  // While suspects were tried, those whose turn hadn't come were in nobody's hand.
  const isTried = (origin: number): boolean => !before.has(origin) || trying.includes(origin);
  const add = (origin: number): void => {
    if (states.isDead(origin) || states.isSettled(origin)) return;
    // It has no attempt left, and waits for room among the dead letters.
    if (states.retries.get(origin)?.dueMs === Infinity) return;
    found.set(origin, (before.get(origin) ?? 0) + (isOpen && isTried(origin) ? 1 : 0));
  };
  for (const origin of before.keys()) add(origin);
  if (!isOpen) return found;
  for (const [origin, { dueMs, pauseMs }] of states.retries) {
    // By a clock that was set back since nobody knows whether it was due.
    if (dueMs <= wallMs || dueMs - pauseMs > wallMs) add(origin);
  }
  for (const origin of states.places.keys()) if (!states.retries.has(origin)) add(origin);
  const lasts = lease.map((place) => lastSuspect(states, place, behindLeaseMax));
  const last = Math.max(...lasts);
  const walk = log.walk();
  let next = states.settled.endOf(log.firstSequence) + 1;
  walk.seek(next);
  // Ends: at the last durable record, or soon behind the lease.
  for (let record = walk.next(); record !== undefined; record = walk.next()) {
    const { sequence, priority } = record;
    if (sequence > last) break;
    if (sequence < next) continue;
    if (sequence <= (lasts[priority] ?? 0) && isCandidate(record, states)) add(sequence);
    next = states.settled.endOf(sequence + 1) + 1;
    if (next > sequence + 1) walk.skipTo(next);
  }
  walk.close();
  return found;
}

function isCandidate({ type, sequence, replaces }: LogRecord, states: RecordStates): boolean {
  return type === RECORD_TYPE.data && replaces === 0 && !states.settled.has(sequence) && !states.retries.has(sequence);
}
