/**
 * Publishes what schedules are due, on the delivery thread: nothing that blocks the opener's event
 * loop delays it.
 *
 * Each due time gets one record. The record itself moves its schedule on when it is read
 * (`states/schedule-states.ts`); until it is durable this class remembers that it is on its way.
 * So a crash leaves either both or neither.
 *
 * A due time that the clock has passed has passed: when the clock is set back, those that got their
 * record don't come again. When it is set forward, the times between are caught up with like those
 * that a stopped process has missed.
 */
import type { MillraceError } from "@millrace/base";
import { decode } from "@millrace/codec";
import { RECORD_TYPE } from "@millrace/journal";
import { intakeError } from "../errors.ts";
import { encodeTerms, type Terms } from "../format/record-header.ts";
import { type DefinedSchedule, isSameDefinition, type ScheduleDefinition, type Scheduled } from "../format/schedule.ts";
import { encodeControl } from "../format/state-records.ts";
import type { ScheduleState, ScheduleStates } from "../states/schedule-states.ts";
import type { Clock, Log } from "./ports.ts";
import type { StateLog } from "./state-log.ts";
import { type Timetable, timetableOf } from "./timetable.ts";

/** With `catchUp: "none"` a due time is past after this long. A busy machine is late by less. */
const LATE_MS = 60_000;
/** A step back of the clock by more than this has been set, not drifted. */
const STEP_MS = 1000;
/** While the disk is full, it is looked at again after this. */
const FULL_DISK_MS = 250;
/** Due times without a record are counted up to here. */
const MISSED_MAX = 1000;
const NO_BYTES = new Uint8Array(0);

/** Schedules at most: each costs a place in every checkpoint, and some 80 KB for a cron pattern. */
const SCHEDULES_MAX = 1000;

/** There are too many, or one is too large for a record. */
export type ScheduleRefusal = "full" | "large";

export function scheduleRefused(name: string, refusal: ScheduleRefusal): MillraceError {
  const why =
    refusal === "full" ? `there are ${SCHEDULES_MAX} others` : "its definition is larger than a record may be";
  return intakeError("ERR_SCHEDULE_REFUSED", `the schedule ${name} can't be kept: ${why}`, {
    details: { name, why: refusal },
  });
}

export type DeclaredSchedule = Pick<DefinedSchedule, "name" | "definition">;

/** How a schedule stands; for `mill.schedules()`. */
export interface ScheduleReport {
  readonly name: string;
  readonly definition: ScheduleDefinition;
  readonly isDeclared: boolean;
  readonly lastDueMs: number;
  /** Undefined when no time comes any more. */
  readonly nextDueMs: number | undefined;
  readonly missed: number;
  /** Whether its handler is there; it rests without. */
  readonly isRunnable: boolean;
}

interface Entry {
  readonly state: ScheduleState;
  readonly timetable: Timetable;
  /** Up to here due times have their record, durable or on its way, or were passed over. */
  doneMs: number;
  /** Due times up to `doneMs` that got no record, for the next one. */
  missed: number;
  /** Infinity when no time comes any more. */
  nextMs: number;
}

export interface SchedulesParts {
  readonly states: ScheduleStates;
  readonly stateLog: StateLog;
  readonly log: Log;
  readonly clock: Clock;
  /** Whether a module exports the handler now. */
  readonly isThere: (handler: string) => boolean;
}

export class Schedules {
  readonly #parts: SchedulesParts;
  readonly #entries = new Map<string, Entry>();
  /** Schedules whose definition is on its way to the disk, and how often. */
  readonly #changing = new Map<string, number>();
  /** Lists that wait until nothing is changing. */
  readonly #waiting: ((reports: readonly ScheduleReport[]) => void)[] = [];
  /** Due times of the newest records that went to the log. */
  readonly #stagedUpTo = new Map<string, number>();
  #nextMs = Infinity;
  /** The last time that was seen. */
  #wallMs: number;
  /** Records published since the opening. */
  published = 0;

  /**
   * `declared`: the schedules that `open` declares; others that earlier processes declared are
   * removed. Throws `ERR_SCHEDULE_REFUSED`.
   */
  constructor(parts: SchedulesParts, declared?: readonly DeclaredSchedule[]) {
    this.#parts = parts;
    this.#wallMs = parts.clock.wall();
    for (const [name] of parts.states.entries()) this.#reload(name);
    if (declared !== undefined) this.#declare(declared);
  }

  // ── changes ───────────────────────────────────────────────────────────────────────────────────

  /**
   * Defines a schedule, unless it is defined so already; `onDurable` when that outlives a crash.
   * Returns why it can't be, otherwise undefined.
   */
  define(defined: DefinedSchedule, onDurable?: () => void): ScheduleRefusal | undefined {
    const { log, stateLog } = this.#parts;
    const control = { kind: "scheduled", ...defined } as const;
    if (!this.#isKnown(defined.name) && this.#size >= SCHEDULES_MAX) return "full";
    if (encodeControl(control).length > log.payloadBytesMax) return "large";
    if (this.#isSame(defined)) {
      onDurable?.();
      return undefined;
    }
    this.#rest(defined.name);
    stateLog.control(control, onDurable);
    stateLog.urge();
    return undefined;
  }

  /** Ends a schedule; when that is durable, `onDurable` gets whether there was one. */
  remove(name: string, onDurable?: (wasThere: boolean) => void): void {
    const { stateLog } = this.#parts;
    if (!this.#isKnown(name)) {
      onDurable?.(false);
      return;
    }
    this.#rest(name);
    stateLog.control({ kind: "unscheduled", name }, () => onDurable?.(true));
    stateLog.urge();
  }

  /** A definition or a removal was read. */
  changed(name: string): void {
    const left = (this.#changing.get(name) ?? 0) - 1;
    if (left > 0) this.#changing.set(name, left);
    else this.#changing.delete(name);
    this.#reload(name);
    if (this.#changing.size === 0) for (const tell of this.#waiting.splice(0)) tell([...this.#reports()]);
  }

  #declare(declared: readonly DeclaredSchedule[]): void {
    const names = new Set(declared.map(({ name }) => name));
    for (const [name, { isDeclared }] of this.#parts.states.entries()) {
      if (isDeclared && !names.has(name)) this.remove(name);
    }
    for (const each of declared) {
      const refusal = this.define({ ...each, isDeclared: true, atMs: this.#wallMs });
      if (refusal !== undefined) throw scheduleRefused(each.name, refusal);
    }
  }

  /** A change of the schedule goes to the log: until it is read nothing is published. */
  #rest(name: string): void {
    this.#changing.set(name, (this.#changing.get(name) ?? 0) + 1);
    this.#findNext();
  }

  /** Whether the log knows the schedule, or may soon. */
  #isKnown(name: string): boolean {
    return this.#changing.has(name) || this.#parts.states.get(name) !== undefined;
  }

  get #size(): number {
    return this.#parts.states.size + this.#changing.size;
  }

  /** Whether a definition would change nothing. */
  #isSame({ name, definition, isDeclared }: DefinedSchedule): boolean {
    const known = this.#parts.states.get(name);
    if (known === undefined || this.#changing.has(name)) return false;
    return known.isDeclared === isDeclared && isSameDefinition(known.definition, definition);
  }

  #reload(name: string): void {
    const state = this.#parts.states.get(name);
    const known = this.#entries.get(name);
    this.#entries.delete(name);
    if (state === undefined) this.#stagedUpTo.delete(name);
    else {
      const timetable = timetableOf(state.definition, state.sinceMs);
      const isAsBefore = known !== undefined && known.state.sinceMs === state.sinceMs;
      const doneMs = isAsBefore ? known.doneMs : this.#startOf(state);
      const entry = { state, timetable, doneMs, missed: isAsBefore ? known.missed : 0, nextMs: 0 };
      this.#entries.set(name, entry);
      this.#step(entry);
    }
    this.#findNext();
  }

  /** Due times up to here aren't due any more, by the log alone. */
  #startOf({ sinceMs, lastDueMs }: ScheduleState): number {
    // Defined by a clock that was ahead.
    return Math.max(lastDueMs, Math.min(sinceMs, this.#wallMs));
  }

  #step(entry: Entry): void {
    entry.nextMs = entry.timetable.next(entry.doneMs) ?? Infinity;
  }

  #findNext(): void {
    this.#nextMs = Infinity;
    for (const [name, { state, nextMs }] of this.#entries) {
      const rests = this.#changing.has(name) || !this.#parts.isThere(state.definition.handler);
      if (!rests) this.#nextMs = Math.min(this.#nextMs, nextMs);
    }
  }

  // ── due times ─────────────────────────────────────────────────────────────────────────────────

  /** When `turn` has something to do, by the clock that only grows. */
  nextTurnAt(): number {
    if (this.#nextMs === Infinity) return Infinity;
    const { clock, log } = this.#parts;
    const waitMs = Math.max(log.isDiskFull() ? FULL_DISK_MS : 0, this.#nextMs - clock.wall());
    return clock.now() + waitMs;
  }

  /** Publishes the records that are due, and returns their number. */
  turn(): number {
    const wallMs = this.#parts.clock.wall();
    if (wallMs < this.#wallMs - STEP_MS) this.#setBack(wallMs);
    this.#wallMs = wallMs;
    if (this.#nextMs > wallMs || this.#parts.log.isDiskFull()) return 0;
    let staged = 0;
    for (const [name, entry] of this.#entries) {
      if (entry.nextMs > wallMs || this.#changing.has(name)) continue;
      if (this.#parts.isThere(entry.state.definition.handler)) staged += this.#publishDue(name, entry, wallMs);
    }
    if (staged > 0) this.#parts.log.commit(true);
    this.published += staged;
    this.#findNext();
    return staged;
  }

  /**
   * Due times that a clock which was ahead has passed over are due again. Due times that have their
   * record aren't.
   */
  #setBack(wallMs: number): void {
    this.#wallMs = wallMs;
    for (const [name, entry] of this.#entries) {
      entry.doneMs = Math.max(this.#stagedUpTo.get(name) ?? 0, this.#startOf(entry.state));
      entry.missed = 0;
      this.#step(entry);
    }
    this.#findNext();
  }

  #publishDue(name: string, entry: Entry, wallMs: number): number {
    const { definition } = entry.state;
    const { dueTimes, missed } = this.#dueTimes(entry, wallMs);
    let missedBefore = Math.min(entry.missed + missed, MISSED_MAX);
    let staged = 0;
    for (const dueMs of dueTimes) {
      if (!this.#stage(definition, { name, dueMs, missed: missedBefore }, wallMs)) break;
      missedBefore = 0;
      entry.missed = 0;
      entry.doneMs = dueMs;
      this.#stagedUpTo.set(name, dueMs);
      staged += 1;
    }
    if (staged === dueTimes.length) {
      entry.missed = missedBefore;
      entry.doneMs = Math.max(entry.doneMs, wallMs);
    }
    this.#step(entry);
    return staged;
  }

  /** Due times that get a record now, oldest first, and how many before them get none. */
  #dueTimes({ state, timetable, doneMs }: Entry, wallMs: number): { dueTimes: number[]; missed: number } {
    const { catchUp, catchUpMax } = state.definition;
    const most = catchUp === "all" ? catchUpMax : 1;
    const dueTimes: number[] = [];
    let missed = 0;
    // Ends: each step goes back to the due time before.
    for (
      let dueMs = timetable.previous(wallMs + 1);
      dueMs !== undefined && dueMs > doneMs && missed < MISSED_MAX;
      dueMs = timetable.previous(dueMs)
    ) {
      if (dueTimes.length < most && (catchUp !== "none" || wallMs - dueMs <= LATE_MS)) dueTimes.unshift(dueMs);
      else missed += 1;
    }
    return { dueTimes, missed };
  }

  #stage(definition: ScheduleDefinition, scheduled: Scheduled, wallMs: number): boolean {
    const { handler, headers, key, ttlMs, priority, payload } = definition;
    const terms: Terms = {
      isOrdered: key !== undefined,
      expiresAtMs: ttlMs === undefined ? undefined : wallMs + ttlMs,
      scheduled,
    };
    const header = encodeTerms(handler, terms, headers === undefined ? undefined : (decode(headers) as object));
    const keyBytes = key === undefined ? NO_BYTES : Buffer.from(key);
    return this.#parts.log.stage({ type: RECORD_TYPE.data, priority, timeMs: wallMs, header, key: keyBytes, payload });
  }

  // ── for the opener ────────────────────────────────────────────────────────────────────────────

  /** Tells how all schedules stand, once every change that was asked for is durable. */
  list(tell: (reports: readonly ScheduleReport[]) => void): void {
    if (this.#changing.size > 0) this.#waiting.push(tell);
    else tell([...this.#reports()]);
  }

  *#reports(): Generator<ScheduleReport, void> {
    for (const [name, { definition, isDeclared, lastDueMs, missed }] of this.#parts.states.entries()) {
      const nextMs = this.#entries.get(name)?.nextMs ?? Infinity;
      const nextDueMs = nextMs === Infinity ? undefined : nextMs;
      const isRunnable = this.#parts.isThere(definition.handler);
      yield { name, definition, isDeclared, lastDueMs, nextDueMs, missed, isRunnable };
    }
  }
}
