/**
 * The durable states of the log's records.
 *
 * A record is known by its *origin*, the sequence that it was acknowledged with. Its *place* is the
 * sequence of its newest copy: the same, unless it was copied forward. ACK records name places, all
 * others name origins.
 *
 * The log alone is the truth: `read` takes note of one record, in order, when it is durable while
 * the intake runs, and again when the log is opened. A snapshot stands for everything before its
 * place. Both ways must lead to the same states; the simulation compares them.
 *
 *   published ──► unfinished ──ACK──► settled
 *                 │   ▲  │
 *                 │   │  └──RETRY──► unfinished, with attempts and a due time
 *                 │   └──REDRIVE─── dead ◄──DEAD── unfinished
 *                 └──EXPIRE, or a duplicate by its key──► settled
 */
import { RECORD_TYPE } from "@millrace/journal";
import type { LogRecord } from "../format/log-record.ts";
import { RangeSet } from "../format/range-set.ts";
import { handlerName, hasTerms, type Terms, termsOf } from "../format/record-header.ts";
import {
  ackRanges,
  type Control,
  decodeControl,
  decodeDeadHeader,
  decodeExpire,
  decodeFate,
  decodeLease,
  decodeRedrive,
  DROPPED,
  type Lease,
} from "../format/state-records.ts";
import { decodeAttempt } from "../format/attempt-record.ts";
import { newer } from "../format/version.ts";
import { decodeResultHead } from "../format/result-record.ts";
import { DeadTable } from "./dead-table.ts";
import { DedupeWindow, lastOriginOf, type Verdict, WINDOW_DEFAULTS, type WindowLimits } from "./dedupe-window.ts";
import { ALONE, type Group } from "./groups.ts";
import { Results } from "./results.ts";
import { RetryTable } from "./retry-table.ts";
import { ScheduleStates } from "./schedule-states.ts";
import { ProducerState } from "./producer-state.ts";

/**
 * The state of an acknowledged record. "waiting": for its turn, a time, a handler or another
 * attempt. "expired": nobody will handle it. The record shows this state until the process ends, or
 * a million others have expired; then it is "done".
 */
export type RecordState = "waiting" | "running" | "done" | "dead" | "expired";

/** How the process before this one ended, and what it may have had in hand. */
export interface Endings {
  /** Processes in a row that ended without saying so. */
  uncleanEnds: number;
  isOpen: boolean;
  /** Origins that were in hand at such an end and haven't come back since, by how many ends. */
  suspects: Map<number, number>;
  /** The same as the next process names them; they count once it has named all. */
  named: Map<number, number>;
  /** Suspects that the last process tried on purpose, and no others. */
  trying: readonly number[];
  lease: Lease;
}

const FIRST: Verdict = { kind: "first" };
const REFUSED: Verdict = { kind: "refused", first: 0 };

export class RecordStates {
  /** Places that need no delivery: finished, dead, replaced, duplicate, or no data. */
  readonly settled: RangeSet = new RangeSet();
  /**
   * Places that nobody needs any more. Dead records, and what says that they are dead, are kept.
   */
  readonly droppable: RangeSet = new RangeSet();
  readonly places: Map<number, number> = new Map();
  readonly origins: Map<number, number> = new Map();
  readonly dead: DeadTable = new DeadTable();
  readonly retries: RetryTable = new RetryTable();
  readonly window: DedupeWindow;
  readonly producers: Map<string, ProducerState> = new Map();
  readonly paused: Set<string> = new Set();
  readonly schedules: ScheduleStates = new ScheduleStates();
  /** Handlers that redriven records go to instead of their own, by origin. */
  readonly redirected: Map<number, string> = new Map();
  /** How often records that aren't over were redriven, by origin. */
  readonly redriven: Map<number, number> = new Map();
  readonly endings: Endings = {
    uncleanEnds: 0,
    isOpen: false,
    suspects: new Map(),
    named: new Map(),
    trying: [],
    lease: [0, 0, 0],
  };
  /** Results of handlers, while they are kept. */
  readonly results: Results = new Results((place) => this.droppable.add(place));
  /** Places of WINDOW records, and the origin of their last entry. */
  readonly windowChunks: Map<number, number> = new Map();
  readonly #firstPlace: number;
  #duplicates = 0;

  /**
   * `firstPlace`: of the log, where no snapshot says what stood before it. Then a letter whose copy
   * is read was dead before.
   */
  constructor(limits: WindowLimits = WINDOW_DEFAULTS, firstPlace = 1) {
    this.window = new DedupeWindow(limits);
    this.#firstPlace = firstPlace;
  }

  placeOf(origin: number): number {
    return this.places.get(origin) ?? origin;
  }

  originOf(place: number): number {
    return this.origins.get(place) ?? place;
  }

  isDead(origin: number): boolean {
    return this.dead.has(origin);
  }

  /** Whether the record with this origin needs no delivery. */
  isSettled(origin: number): boolean {
    return this.settled.has(this.placeOf(origin));
  }

  get deadCount(): number {
    return this.dead.size;
  }

  /** Records that were decided to be duplicates since the states were made. */
  get duplicates(): number {
    return this.#duplicates;
  }

  /** Origins of copies among the places from `first` to `last`. */
  *copiesIn(first: number, last: number): Generator<number, void> {
    // By whichever is shorter: copies of dead records stay for good.
    if (last - first < this.origins.size) {
      for (let place = first; place <= last; place += 1) {
        const origin = this.origins.get(place);
        if (origin !== undefined) yield origin;
      }
    } else for (const [place, origin] of this.origins) if (place >= first && place <= last) yield origin;
  }

  /**
   * Takes note of one durable record, in the order of the log. For a record of data it says whether
   * the record is the first with its idempotency key or producer's sequence.
   */
  read(record: LogRecord, group: Group = ALONE): Verdict {
    const { type, sequence, replaces } = record;
    // Others tell the time by a clock that anybody sets.
    if (type === RECORD_TYPE.ack || type === RECORD_TYPE.result) this.results.read(record.timeMs);
    switch (type) {
      case RECORD_TYPE.data:
        if (replaces === 0) return this.#judge(record, group);
        this.#moved(record.origin, replaces, sequence);
        return FIRST;
      case RECORD_TYPE.ack:
        this.noted(sequence);
        this.#acknowledged(ackRanges(record.payload()));
        return FIRST;
      case RECORD_TYPE.retry:
        this.#retried(record);
        return FIRST;
      case RECORD_TYPE.dead:
        this.#died(record);
        return FIRST;
      case RECORD_TYPE.result:
        this.#resultKept(record);
        return FIRST;
      case RECORD_TYPE.window:
        this.#windowWritten(record);
        return FIRST;
      default:
        this.noted(sequence);
        this.#readEvent(record);
        return FIRST;
    }
  }

  #readEvent(record: LogRecord): void {
    switch (record.type) {
      case RECORD_TYPE.redrive:
        this.#redriven(record);
        break;
      case RECORD_TYPE.expire:
        for (const origin of this.endedBy(record)) this.#ended(origin);
        break;
      case RECORD_TYPE.lease:
        this.endings.lease = decodeLease(record.payload());
        break;
      case RECORD_TYPE.control:
        this.#controlled(decodeControl(record.payload()));
        break;
      case RECORD_TYPE.attempt:
        // It says nothing about the record that another one doesn't say.
        decodeAttempt(record.payload());
        break;
      case RECORD_TYPE.lost:
        break;
      default:
        // A newer build may have written it: without it, others would mean something else.
        throw newer(`record ${record.sequence} has the unknown type ${record.type}`, { type: record.type });
    }
  }

  /**
   * The origins that an EXPIRE record ends: what is dropped must be dead still, what expires must
   * not be over.
   */
  endedBy(record: LogRecord): number[] {
    const { kind, origins, lastDeath } = decodeExpire(record.payload());
    if (kind === DROPPED) return origins.filter((origin) => this.#isMeant(origin, lastDeath));
    return origins.filter((origin) => !this.dead.has(origin) && !this.isSettled(origin));
  }

  /** The origins that a REDRIVE record gives another turn: once for each death. */
  redrivenBy(record: LogRecord): number[] {
    const { origins, lastDeath } = decodeRedrive(record.payload());
    return [...new Set(origins)].filter((origin) => this.#isMeant(origin, lastDeath));
  }

  /** Whether a record is dead, and was when a command about it was given. */
  #isMeant(origin: number, lastDeath: number): boolean {
    if (lastDeath === 0) return this.dead.has(origin);
    return (this.dead.get(origin)?.death ?? Infinity) <= lastDeath;
  }

  // ── data ──────────────────────────────────────────────────────────────────────────────────────

  #judge(record: LogRecord, { isRefused }: Group): Verdict {
    const header = record.header();
    if (!isRefused && !hasTerms(header)) return FIRST;
    const verdict = isRefused ? this.#refused(record) : this.#judgeTerms(termsOf(header), record);
    if (verdict.kind !== "first") {
      // Decided from the log alone, so no record need say it: reading the log again decides it
      // again.
      this.noted(record.sequence);
      this.#duplicates += 1;
    }
    return verdict;
  }

  /** Of a group that is refused: the verdict of the culprit, or of one beside it. */
  #refused(record: LogRecord): Verdict {
    const header = record.header();
    const { idempotency } = termsOf(header);
    if (idempotency === undefined) return REFUSED;
    const verdict = this.window.recall(handlerName(header), idempotency, record.sequence);
    return verdict.kind === "mismatch" ? verdict : REFUSED;
  }

  #judgeTerms({ idempotency, producer, scheduled }: Terms, record: LogRecord): Verdict {
    if (scheduled !== undefined && !this.schedules.judge(scheduled)) return { kind: "duplicate", first: 0 };
    if (producer !== undefined) {
      let known = this.producers.get(producer.id);
      if (known === undefined) {
        known = new ProducerState();
        this.producers.set(producer.id, known);
      }
      if (known.sequences.has(producer.sequence)) return { kind: "duplicate", first: 0 };
      known.add(producer.sequence, producer.payloadCrc);
    }
    if (idempotency === undefined) return FIRST;
    return this.window.judge(handlerName(record.header()), idempotency, record.sequence, record.timeMs);
  }

  #resultKept(record: LogRecord): void {
    const { sequence: place, replaces } = record;
    const { origin, untilMs } = decodeResultHead(record.payload());
    this.settled.add(place);
    if (replaces !== 0) this.noted(replaces);
    this.results.keep(origin, { place, untilMs }, replaces);
  }

  /** A record about records: needed by nobody once it was read. */
  noted(place: number): void {
    this.settled.add(place);
    this.droppable.add(place);
  }

  #acknowledged(ranges: RangeSet): void {
    for (let index = 0; index < ranges.ranges; index += 1) {
      const [first, last] = ranges.range(index);
      this.settled.addRange(first, last);
      this.droppable.addRange(first, last);
      for (const origin of this.copiesIn(first, last)) this.#forget(origin);
      this.#dropRetries(first, last);
      this.#forgetRedriven(first, last);
    }
  }

  /** Forgets redriven records that are finished where they were published. */
  #forgetRedriven(first: number, last: number): void {
    const { redriven, redirected } = this;
    if (redriven.size === 0 && redirected.size === 0) return;
    const forget = (origin: number): void => {
      redriven.delete(origin);
      redirected.delete(origin);
    };
    // By whichever is shorter.
    if (last - first < redriven.size + redirected.size) {
      for (let origin = first; origin <= last; origin += 1) if (this.placeOf(origin) === origin) forget(origin);
      return;
    }
    for (const origin of [...redriven.keys(), ...redirected.keys()]) {
      if (origin >= first && origin <= last && this.placeOf(origin) === origin) forget(origin);
    }
  }

  /** Drops the retries of finished records. */
  #dropRetries(first: number, last: number): void {
    for (const origin of this.retries.originsIn(first, last)) this.#dropRetry(origin);
  }

  #dropRetry(origin: number): void {
    const retry = this.retries.get(origin);
    if (retry === undefined) return;
    this.droppable.add(retry.place);
    this.retries.delete(origin);
  }

  /** A record is over, and nobody needs it. */
  #ended(origin: number): void {
    const dead = this.dead.get(origin);
    if (dead !== undefined) this.droppable.add(dead.place);
    this.dead.delete(origin);
    const place = this.placeOf(origin);
    this.settled.add(place);
    this.droppable.add(place);
    this.#dropRetry(origin);
    this.#forget(origin);
  }

  #forget(origin: number): void {
    this.#dropRetry(origin);
    this.origins.delete(this.placeOf(origin));
    this.places.delete(origin);
    this.redirected.delete(origin);
    this.redriven.delete(origin);
    this.endings.suspects.delete(origin);
  }

  /** Records before this place that weren't copied are no longer in the log: nobody needs them. */
  givenUp(firstPlace: number): void {
    this.settled.addRange(1, firstPlace - 1);
    this.droppable.addRange(1, firstPlace - 1);
    for (const origin of this.retries.keys()) if (this.placeOf(origin) < firstPlace) this.#dropRetry(origin);
  }

  // ── attempts ──────────────────────────────────────────────────────────────────────────────────

  #retried(record: LogRecord): void {
    const { sequence: place, replaces } = record;
    const { origin, attempts, atMs, firstMs } = decodeFate(record.payload());
    this.settled.add(place);
    if (replaces !== 0) this.noted(replaces);
    const known = this.retries.get(origin);
    // The record may have ended meanwhile, or a later attempt may have failed.
    const isOver = this.settled.has(this.placeOf(origin)) || this.dead.has(origin);
    if (isOver || (replaces !== 0 && known?.place !== replaces)) {
      this.droppable.add(place);
      return;
    }
    if (known !== undefined) this.droppable.add(known.place);
    const ageMs = attempts === 0 ? 0 : Math.max(0, record.timeMs - firstMs);
    this.retries.set(origin, { attempts, dueMs: atMs, pauseMs: atMs - record.timeMs, ageMs, place });
  }

  #died(record: LogRecord): void {
    const { sequence: place, replaces } = record;
    const { origin, attempts, reason, atMs } = decodeFate(record.payload());
    this.settled.add(place);
    if (replaces !== 0) this.noted(replaces);
    const known = this.dead.get(origin);
    const isUnseen = known === undefined && replaces < this.#firstPlace;
    if (replaces !== 0 && known?.place !== replaces && !isUnseen) {
      this.droppable.add(place);
      return;
    }
    this.settled.add(this.placeOf(origin));
    const header = record.header();
    const { recordBytes, keyHash, handler } = decodeDeadHeader(header);
    const bytes = recordBytes + header.length + record.payload().length;
    const death = known?.death ?? place;
    this.dead.set(origin, { place, reason, attempts, atMs, death, handler, keyHash, bytes });
    this.#dropRetry(origin);
    this.endings.suspects.delete(origin);
  }

  #redriven(record: LogRecord): void {
    const { handler } = decodeRedrive(record.payload());
    for (const origin of this.redrivenBy(record)) {
      this.droppable.add(this.dead.get(origin)?.place as number);
      this.dead.delete(origin);
      this.settled.remove(this.placeOf(origin));
      this.redriven.set(origin, (this.redriven.get(origin) ?? 0) + 1);
      if (handler !== "") this.redirected.set(origin, handler);
    }
  }

  // ── places ────────────────────────────────────────────────────────────────────────────────────

  /** The record with this origin was copied from `from` to `to`. */
  #moved(origin: number, from: number, to: number): void {
    const isOver = this.settled.has(from) && !this.dead.has(origin);
    this.settled.add(from);
    this.droppable.add(from);
    this.origins.delete(from);
    // A copy of a record that was finished before it: the ACK named the old place.
    if (isOver) {
      this.noted(to);
      return;
    }
    this.places.set(origin, to);
    this.origins.set(to, origin);
    if (this.dead.has(origin)) this.settled.add(to);
  }

  // ── events ────────────────────────────────────────────────────────────────────────────────────

  #controlled(control: Control): void {
    switch (control.kind) {
      case "opened":
        this.endings.isOpen = true;
        this.endings.uncleanEnds = control.uncleanEnds;
        this.endings.named.clear();
        break;
      case "suspected":
        for (let at = 0; at < control.suspects.length; at += 2) {
          this.endings.named.set(control.suspects[at] as number, control.suspects[at + 1] as number);
        }
        break;
      case "begun":
        this.endings.suspects = this.endings.named;
        this.endings.named = new Map();
        this.endings.trying = [];
        break;
      case "closed":
        this.endings.isOpen = false;
        this.endings.uncleanEnds = 0;
        this.endings.trying = [];
        break;
      case "trying":
        this.endings.trying = control.origins;
        for (const origin of control.cleared) this.endings.suspects.delete(origin);
        break;
      case "paused":
        this.paused.add(control.handler);
        break;
      case "resumed":
        this.paused.delete(control.handler);
        break;
      case "producerDropped":
        this.producers.delete(control.producer);
        break;
      case "scheduled":
        this.schedules.defined(control);
        break;
      case "unscheduled":
        this.schedules.removed(control.name);
        break;
    }
  }

  #windowWritten(record: LogRecord): void {
    const { sequence, replaces } = record;
    this.settled.add(sequence);
    if (replaces !== 0) {
      this.noted(replaces);
      this.windowChunks.delete(replaces);
    }
    const entries = record.payload();
    this.window.decode(entries);
    this.windowChunks.set(sequence, lastOriginOf(entries));
    this.dropOldChunks();
  }

  /** WINDOW records whose entries have all left the window. */
  dropOldChunks(): void {
    for (const [place, lastOrigin] of this.windowChunks) {
      if (lastOrigin >= this.window.oldestOrigin) continue;
      this.droppable.add(place);
      this.windowChunks.delete(place);
    }
  }

  /** Up to this origin the entries of the window stand in WINDOW records. */
  get windowWrittenUpTo(): number {
    let upTo = 0;
    for (const lastOrigin of this.windowChunks.values()) upTo = Math.max(upTo, lastOrigin);
    return upTo;
  }
}
