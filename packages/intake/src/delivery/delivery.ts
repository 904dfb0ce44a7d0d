/**
 * Delivery: hands durable records to handlers, and writes down what became of them.
 *
 * It is one state machine on one thread, driven turn by turn; it alone decides what becomes of a
 * record. It knows nothing of threads: `ports.ts` says what it needs of the world, and the
 * simulation drives it with arrays, a seed and a clock of its own.
 *
 *   durable ──visit──► lane ──► in hand ──returned──► finished ──ACK durable──► told
 *                      ▲  ▲         │
 *                      │  │         └──failed──► waits (RETRY) ──due──► lane
 *                      │  │         └──failed for the last time──► dead (DEAD) ──REDRIVE──► lane
 *                      │  └── its key is free again
 *                      └── its time has come
 *
 * Whatever has no durable ACK is delivered again after a crash: at least once. `RecordStates` is
 * what is durably known; everything else here is rebuilt from it at an opening.
 */
import { isMillraceError, type Random } from "@millrace/base";
import { RECORD_TYPE } from "@millrace/journal";
import type { OutcomeSink } from "@millrace/scheduler";
import { FULL } from "@millrace/shared-memory";
import type { LogRecord } from "../format/log-record.ts";
import type { HeaderParser } from "../format/record-header.ts";
import {
  ackRanges,
  briefHistory,
  type Control,
  decodeControl,
  decodeFate,
  decodeRedrive,
  DROPPED,
  encodeControl,
  encodeExpire,
  encodeFate,
  encodeLease,
  encodeRedrive,
  EXPIRED,
  historyBytes,
  ORIGINS_MAX,
  REASON,
  reasonName,
  withFailure,
} from "../format/state-records.ts";
import { TaskHeaderWriter } from "../format/task-header.ts";
import type { Verdict } from "../states/dedupe-window.ts";
import { Keys } from "../states/keys.ts";
import type { RecordStates } from "../states/record-states.ts";
import { Waits } from "../states/waits.ts";
import { Gates } from "./gates.ts";
import type { HandlerGate } from "./handler-gate.ts";
import { Hands } from "./hands.ts";
import { type Job, jobOf } from "./job.ts";
import { Jobs } from "./jobs.ts";
import type { Lane } from "./lane.ts";
import { findSuspects, QUARANTINE_ENDS, Suspects } from "./suspects.ts";
import { decide, type HandlerTerms } from "./policy.ts";
import type { Clock, Log, Runner } from "./ports.ts";
import { StateLog } from "./state-log.ts";
import { Turns } from "./turns.ts";
import { Window } from "./window.ts";

export interface DeliveryTerms {
  /** The terms of every handler that options name, and of the others. */
  readonly handlerTerms: (name: string) => HandlerTerms;
  /** Id of the log, for `context.record.id`. */
  readonly logId: Uint8Array;
  /** Records that a lane keeps in memory before it falls behind. Default 4096. */
  readonly laneRecordsMax?: number;
}

/** What delivery tells: everything here was durable before. */
export interface DeliveryEvents {
  /** Whether anybody waits for a record to be finished. */
  readonly wantsFinished: boolean;
  /** The record is finished. */
  finished(origin: number): void;
  /** The record is dead; `history` is encoded. */
  dead(origin: number, history: Uint8Array): void;
  /** Nobody will handle the record: its time was over, or it was dropped by command. */
  expired(origin: number): void;
  /** A record with a key isn't the first. */
  judged(place: number, verdict: Verdict): void;
  /**
   * A record is to be handled in a process of its own; `Delivery.quarantined` is told what became
   * of it.
   */
  quarantine(origin: number, handler: string, header: Uint8Array, payload: Uint8Array): void;
}

/** How many attempts, and what came of them; for `stats()`. */
export interface DeliveryCounts {
  delivered: number;
  done: number;
  retried: number;
  dead: number;
  expired: number;
  duplicates: number;
}

/** Outcomes handled before the other duties get their turn. */
const DRAIN_MAX = 1024;
/** Handed out in one turn. */
const SUBMIT_MAX = 512;
/** Records of others that a lane passes over in one turn. */
const PASS_MAX = 4096;
/** A lease says up to where records may have been handed out; written no more often than this. */
const LEASE_MS = 100;
/**
 * A record that has ended its process in quarantine so often, counting all its failures, is dead.
 */
const QUARANTINE_ATTEMPTS = 3;
const LANE_RECORDS_MAX = 4096;
const ORIGIN_BYTES = 8;
/** Of a state record beside its entries, generously. */
const HEAD_BYTES_MAX = 512;
const NO_BYTES = new Uint8Array(0);

type HandedOut = "taken" | "full" | "stopped";

export class Delivery implements OutcomeSink {
  readonly #log: Log;
  readonly #runner: Runner;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #events: DeliveryEvents;
  readonly #parser: HeaderParser;
  readonly states: RecordStates;
  readonly stateLog: StateLog;
  readonly counts: DeliveryCounts = { delivered: 0, done: 0, retried: 0, dead: 0, expired: 0, duplicates: 0 };

  readonly #taskHeaders: TaskHeaderWriter;
  readonly #gates: Gates;
  readonly #turns: Turns;
  readonly #jobs: Jobs;
  readonly #hands: Hands;
  readonly #window: Window;
  readonly #keys = new Keys();
  readonly #waits = new Waits();
  /** Origins that die or expire, by records that aren't durable yet. */
  readonly #ending = new Set<number>();
  /** Origins whose copies aren't durable yet, and those of them that were finished meanwhile. */
  readonly copying: Set<number> = new Set();
  readonly #finishedInCopy = new Set<number>();
  /** Origins of copies whose ACK is on its way: the states forget them when they read it. */
  readonly #acked = new Map<number, number>();
  readonly #suspects: Suspects;
  /** Keys that dead records hold, by origin. */
  readonly #heldByDead = new Map<number, Job>();
  /** Called when a copy is durable. */
  onCopied: () => void = () => {};
  #hasUnpublished = false;
  /** Jobs that a process of their own has. */
  readonly #inQuarantine = new Map<number, Job>();
  #leasedAt = 0;
  #leased: readonly number[] = [0, 0, 0];
  #isDraining = false;
  #beginning: "unwritten" | "written" | "durable" = "unwritten";
  #isClosed = false;

  constructor(
    world: { readonly log: Log; readonly runner: Runner; readonly clock: Clock; readonly random: Random },
    states: RecordStates,
    parser: HeaderParser,
    handlers: number,
    terms: DeliveryTerms,
    events: DeliveryEvents,
  ) {
    this.#log = world.log;
    this.#runner = world.runner;
    this.#clock = world.clock;
    this.#random = world.random;
    this.#events = events;
    this.#parser = parser;
    this.states = states;
    this.stateLog = new StateLog(world.log, world.clock);
    this.#taskHeaders = new TaskHeaderWriter(terms.logId);
    this.#suspects = new Suspects(findSuspects(this.#log, states, this.#clock.wall()));
    this.#gates = new Gates(parser, handlers, terms.handlerTerms, this.#clock);
    this.#hands = new Hands(this.#runner);
    this.#window = new Window(this.#runner, this.#clock);
    const handlerOf = (record: LogRecord): number => this.#handlerOf(record);
    this.#jobs = new Jobs(this.#log, states, handlerOf);
    this.#turns = new Turns({
      log: this.#log,
      clock: this.#clock,
      states,
      gates: this.#gates,
      suspects: this.#suspects,
      handlerOf,
      laneRecordsMax: terms.laneRecordsMax ?? LANE_RECORDS_MAX,
    });
    this.#begin();
  }

  // ── an opening ────────────────────────────────────────────────────────────────────────────────

  #begin(): void {
    for (const name of this.states.paused) this.#gates.named(name).isPaused = true;
    this.#takeKeysAgain();
    const now = this.#clock.now();
    const wall = this.#clock.wall();
    for (const [origin, { dueMs }] of this.states.retries) {
      if (!this.#suspects.has(origin)) this.#waits.add(now + Math.max(0, dueMs - wall), origin);
    }
    // What was copied forward stood before everything that is in the log at its old place.
    const moved = [...this.states.places.keys()].filter((origin) => this.#needsTurn(origin)).toSorted((a, b) => a - b);
    for (const origin of moved) this.#turnAgain(origin);
    const first = this.#turns.nextUnsettled(this.#log.firstSequence);
    if (first <= this.#log.known) this.#turns.readFrom(first);
  }

  /** Whether a record that was moved is to be delivered now. */
  #needsTurn(origin: number): boolean {
    return (
      !this.states.isDead(origin) &&
      !this.states.isSettled(origin) &&
      !this.states.retries.has(origin) &&
      !this.#suspects.has(origin)
    );
  }

  /**
   * Records that wait for their retry, that were moved, that are suspect, and some dead ones hold
   * their keys.
   */
  #takeKeysAgain(): void {
    const moved = [...this.states.places.keys()].filter((origin) => this.#needsTurn(origin));
    const holders = [...this.states.retries.keys(), ...moved, ...this.#suspects.all().map(([origin]) => origin)];
    const places = new Set([...holders, ...this.states.dead.keys()].map((origin) => this.states.placeOf(origin)));
    const jobs: Job[] = [];
    for (const place of [...places].toSorted((left, right) => left - right)) {
      const job = this.#jobs.at(place);
      if (job.keyName !== undefined) jobs.push(job);
    }
    for (const job of jobs.toSorted((left, right) => left.origin - right.origin)) {
      const { terms } = this.#gates.of(job.handler);
      if (this.states.isDead(job.origin)) {
        if (!terms.holdsKeyWhenDead) continue;
        this.#heldByDead.set(job.origin, job);
      } else if (terms.order === "skip" && this.states.retries.has(job.origin)) continue;
      this.#keys.enter(job.keyName as string, job.origin);
    }
  }

  /**
   * Before anything is handed out the log says that a process has begun: if it ends without saying
   * so, what it had in hand is suspect. True once that is durable.
   */
  #isBegun(): boolean {
    if (this.#beginning === "durable") return true;
    if (this.#beginning === "written") return false;
    this.#beginning = "written";
    const { endings } = this.states;
    const uncleanEnds = endings.isOpen ? endings.uncleanEnds + 1 : 0;
    this.#controlled({ kind: "opened", uncleanEnds });
    const suspects = this.#suspects.all();
    const most = this.#fitting(2 * ORIGIN_BYTES);
    for (let from = 0; from < suspects.length; from += most) {
      const part = Float64Array.from(suspects.slice(from, from + most).flat());
      this.#controlled({ kind: "suspected", suspects: part });
    }
    this.#controlled({ kind: "begun" });
    this.stateLog.urge();
    return false;
  }

  // ── one turn ──────────────────────────────────────────────────────────────────────────────────

  /** Begins to end: nothing more is handed out. */
  drain(): void {
    this.#isDraining = true;
  }

  /** All duties once; how much there was to do. */
  turn(): number {
    let handled = this.#runner.drain(this, DRAIN_MAX);
    this.#window.renew();
    handled += this.#log.takeNews((record) => this.#visit(record));
    if (this.#isDraining) handled += this.#runner.cancelQueued();
    else {
      handled += this.#wakeDue();
      handled += this.#endOverdue();
      handled += this.#trySuspects();
      handled += this.#pump();
      this.#lease();
    }
    this.stateLog.flush(this.#isDraining);
    return handled;
  }

  /** When the next turn is due although nothing happens, by the clock that only grows. */
  nextTurnAt(): number {
    return Math.min(this.#waits.nextDueMs, this.#turns.obstaclesUntil, this.#hands.nextTimeout(), this.stateLog.dueAt);
  }

  /** Nothing is in hand, and everything that was decided is durable. */
  get isQuiet(): boolean {
    const isIdle = this.#runner.outstanding === this.#hands.abandoned && this.#inQuarantine.size === 0;
    return isIdle && this.stateLog.isQuiet;
  }

  /** Nothing can run now: what there is waits for a time, a handler, or a command. */
  get isDrained(): boolean {
    if (!this.isQuiet || this.copying.size > 0 || this.#suspects.size > 0) return false;
    return this.#turns.isDrained;
  }

  /** Nothing is in hand but what was abandoned, and the last record is durable. */
  get isOver(): boolean {
    if (!this.isQuiet) return false;
    if (this.#isClosed || this.#beginning === "unwritten") return true;
    this.#isClosed = true;
    this.#controlled({ kind: "closed" });
    this.stateLog.flush(true);
    return false;
  }

  /** Where records wait, in a line: for whoever looks for one. */
  describe(): string {
    return (
      `lanes ${this.#turns.describe()}, waits ${this.#waits.size}, keys ${this.#keys.size} with ${this.#keys.waiting} waiting (${this.#keys.describe()}), ` +
      `suspects ${this.#suspects.describe()}, in hand ${this.#runner.outstanding}`
    );
  }

  /** Records that wait for a time. */
  get waiting(): number {
    return this.#waits.size;
  }

  /** Records that wait behind others of their key. */
  get keyWaiting(): number {
    return this.#keys.waiting;
  }

  /** Suspects that weren't tried yet. */
  get suspects(): number {
    return this.#suspects.size;
  }

  get isReading(): boolean {
    return this.#turns.isReading;
  }

  /**
   * Handlers that were set apart, with the reason and how many of their records are known to wait.
   */
  stopped(): ReturnType<Turns["stopped"]> {
    return this.#turns.stopped();
  }

  // ── what becomes durable ──────────────────────────────────────────────────────────────────────

  #visit(record: LogRecord): void {
    // Once for each letter: what isn't dead any more is redriven already, or dropped.
    const redriven =
      record.type === RECORD_TYPE.redrive
        ? decodeRedrive(record.payload()).origins.filter((origin) => this.states.isDead(origin))
        : [];
    const ended = record.type === RECORD_TYPE.expire ? this.states.endedBy(record) : [];
    const verdict = this.states.read(record);
    for (const origin of redriven) this.#redriven(origin);
    for (const origin of ended) this.#expired(origin);
    if (record.type === RECORD_TYPE.data) {
      if (record.replaces !== 0) this.#copied(record);
      else if (verdict.kind === "first") this.#offer(record);
      else {
        this.counts.duplicates += 1;
        this.#events.judged(record.sequence, verdict);
      }
      return;
    }
    if (record.replaces !== 0) this.onCopied();
    else if (record.type !== RECORD_TYPE.ack) this.stateLog.visited(record.type);
    switch (record.type) {
      case RECORD_TYPE.ack:
        this.stateLog.acknowledged();
        this.#acknowledged(record);
        break;
      case RECORD_TYPE.dead:
        if (record.replaces === 0) this.#died(record);
        break;
      case RECORD_TYPE.control:
        this.#visitControl(decodeControl(record.payload()));
        break;
    }
  }

  #visitControl({ kind }: Control): void {
    if (kind === "trying") this.#handOutSuspects();
    else if (kind === "begun") this.#beginning = "durable";
  }

  #expired(origin: number): void {
    this.#ending.delete(origin);
    this.counts.expired += 1;
    this.#releaseDead(origin);
    this.#events.expired(origin);
  }

  /** A dead record is dropped: its key is free. */
  #releaseDead(origin: number): void {
    const job = this.#heldByDead.get(origin);
    if (job === undefined) return;
    this.#heldByDead.delete(origin);
    this.#giveKeyAway(job);
  }

  #acknowledged(record: LogRecord): void {
    if (!this.#events.wantsFinished && this.#acked.size === 0) return;
    const ranges = ackRanges(record.payload());
    for (let index = 0; index < ranges.ranges; index += 1) {
      const [first, last] = ranges.range(index);
      for (let place = first; place <= last; place += 1) {
        const origin = this.#acked.get(place) ?? place;
        if (origin !== place) this.#acked.delete(place);
        this.#events.finished(origin);
      }
    }
  }

  #died(record: LogRecord): void {
    const payload = record.payload();
    const { origin } = decodeFate(payload);
    this.#ending.delete(origin);
    this.counts.dead += 1;
    this.#events.dead(origin, historyBytes(payload));
  }

  #redriven(origin: number): void {
    // A key that it has held is its own still.
    this.#heldByDead.delete(origin);
    const job = this.#jobs.again(origin);
    this.#jobs.keep(job);
    const lane = this.#turns.laneOf(job.handler, job.priority);
    if (!this.#turns.comesBy(lane, origin, this.states.placeOf(origin))) this.#turns.makeReady(lane, origin);
  }

  /** A record has a new place. One whose turn hasn't come gets it from there. */
  #copied(record: LogRecord): void {
    const { origin, sequence, replaces } = record;
    this.onCopied();
    this.copying.delete(origin);
    if (this.#finishedInCopy.delete(origin)) {
      this.#finish(origin, sequence);
      return;
    }
    if (this.states.isDead(origin) || this.states.isSettled(origin)) return;
    const handler = this.#handlerOf(record);
    const lane = this.#turns.laneOf(handler, record.priority);
    if (!this.#turns.comesBy(lane, origin, replaces)) return;
    // Before any later record of its key that the lane finds.
    const { keyName } = jobOf(record, handler);
    if (keyName !== undefined) this.#keys.enter(keyName, origin);
    this.#turns.makeReady(lane, origin);
  }

  // ── lanes ─────────────────────────────────────────────────────────────────────────────────────

  #handlerOf(record: LogRecord): number {
    const redirected = this.states.redirected.size === 0 ? undefined : this.states.redirected.get(record.origin);
    return redirected === undefined ? this.#parser.handler(record.header()) : this.#parser.numberOf(redirected);
  }

  /** A new record, while its bytes are in memory. */
  #offer(record: LogRecord): void {
    const handler = this.#handlerOf(record);
    let lane = this.#turns.laneOf(handler, record.priority);
    if (lane.isEmpty && this.#window.left > 0 && !this.#isDraining) {
      const handed = this.#handOut(jobOf(record, handler));
      if (handed === "taken") return;
      if (handed === "stopped") lane = this.#turns.setApart(handler, record.priority);
    }
    lane.push(record);
  }

  /** Hands out what there is, the most urgent first. */
  #pump(): number {
    this.#turns.joinAgain();
    let handed = 0;
    for (; handed < SUBMIT_MAX && this.#window.left > 0; handed += 1) {
      if (!this.#pumpOne()) break;
    }
    if (this.#hasUnpublished) this.#runner.publish();
    this.#hasUnpublished = false;
    // A lane that reads on and has found nothing yet isn't through.
    return handed + (this.#window.left > 0 && this.#turns.isAnyReading ? 1 : 0);
  }

  #pumpOne(): boolean {
    for (const lane of this.#turns.inTurn()) if (this.#handNext(lane)) return true;
    return false;
  }

  /** Hands out the next record of a lane; false when it has none now. */
  #handNext(lane: Lane): boolean {
    const ready = lane.peekReady();
    const { isReadyFirst } = this.#turns;
    if (ready !== undefined && isReadyFirst) return this.#handReady(lane, ready);
    if (this.#handNew(lane)) return true;
    return ready !== undefined && !isReadyFirst && this.#handReady(lane, ready);
  }

  #handNew(lane: Lane): boolean {
    const record = lane.peek(PASS_MAX);
    if (record === undefined) return false;
    const handler = this.#handlerOf(record);
    if (lane.handler === undefined && this.#turns.laneOf(handler, lane.priority) !== lane) {
      // Its handler was set apart after it came into the queue; that lane has a copy.
      lane.advance();
      return true;
    }
    if (this.states.settled.has(this.states.placeOf(record.origin))) {
      lane.advance();
      return true;
    }
    switch (this.#handOut(jobOf(record, handler))) {
      case "taken":
        lane.advance();
        return true;
      case "stopped":
        if (lane.handler !== undefined) return false;
        this.#turns.setApart(handler, lane.priority);
        return true;
      default:
        return false;
    }
  }

  #handReady(lane: Lane, origin: number): boolean {
    if (this.#isOver(origin)) {
      this.#turns.takeReady(lane, origin);
      return true;
    }
    const job = this.#jobs.again(origin);
    const own = this.#turns.laneOf(job.handler, job.priority);
    if (own !== lane) {
      this.#survived(job);
      this.#turns.takeReady(lane, origin);
      this.#turns.makeReady(own, origin);
      this.#jobs.keep(job);
      return true;
    }
    const delivered = this.counts.delivered;
    switch (this.#handOut(job)) {
      case "taken":
        this.#turns.takeReady(lane, origin);
        // It waits for something else, and its group needn't.
        if (this.counts.delivered === delivered) this.#survived(job);
        return true;
      case "stopped":
        this.#survived(job);
        this.#jobs.keep(job);
        if (lane.handler !== undefined) return false;
        this.#turns.takeReady(lane, origin);
        this.#turns.makeReady(this.#turns.setApart(job.handler, job.priority), origin);
        return true;
      default:
        this.#jobs.keep(job);
        return false;
    }
  }

  /** Whether a record needs no turn any more, or soon won't. */
  #isOver(origin: number): boolean {
    const place = this.states.placeOf(origin);
    return (
      this.states.isDead(origin) ||
      this.states.settled.has(place) ||
      this.#ending.has(origin) ||
      this.#finishedInCopy.has(origin) ||
      this.stateLog.isFinished(place)
    );
  }

  // ── handing out ───────────────────────────────────────────────────────────────────────────────

  /** What becomes of a record whose turn has come. */
  #handOut(job: Job): HandedOut {
    const { notBeforeMs, expiresAtMs } = job.terms;
    if (notBeforeMs !== undefined || expiresAtMs !== undefined) {
      const wall = this.#clock.wall();
      if (expiresAtMs !== undefined && wall >= expiresAtMs) {
        this.#expire(job);
        return "taken";
      }
      if (notBeforeMs !== undefined && wall < notBeforeMs) {
        this.#waits.add(this.#clock.now() + notBeforeMs - wall, job.origin);
        return "taken";
      }
    }
    const gate = this.#gates.of(job.handler);
    const now = this.#clock.now();
    if (gate.obstacle(now) !== undefined) return "stopped";
    if (this.#window.left <= 0 || !this.#isBegun()) return "full";
    if (job.keyName !== undefined && !this.#keys.take(job.keyName, job.origin)) return "taken";
    if (!this.#submit(job, gate)) return "full";
    gate.given(now);
    return "taken";
  }

  #submit(job: Job, gate: HandlerGate): boolean {
    const { origin, timeMs, terms, key, headers } = job;
    const header = this.#taskHeaders.write({
      sequence: origin,
      timeMs,
      attempt: job.attempts + this.#suspects.endsOf(origin) + 1,
      keepsResult: terms.keepsResult === true,
      key: terms.isOrdered === true ? key : NO_BYTES,
      replayOf: terms.replayOf ?? 0,
      headers,
    });
    if (this.needsQuarantine(origin)) {
      this.#inQuarantine.set(origin, job);
      if (job.keyName !== undefined) this.#keys.running(job.keyName, true);
      this.#events.quarantine(origin, gate.name, Uint8Array.from(header), Uint8Array.from(job.payload));
      this.counts.delivered += 1;
      return true;
    }
    const slot = this.#runner.submit(job.handler, job.priority, job.payload, header);
    if (slot === FULL) {
      this.#window.left = 0;
      return false;
    }
    this.#hasUnpublished = true;
    this.#window.left -= 1;
    if (job.keyName !== undefined) this.#keys.running(job.keyName, true);
    const { timeoutMs } = gate.terms;
    this.#hands.give(slot, job, timeoutMs === undefined ? Infinity : this.#clock.now() + timeoutMs);
    this.counts.delivered += 1;
    return true;
  }

  // ── times ─────────────────────────────────────────────────────────────────────────────────────

  #wakeDue(): number {
    const now = this.#clock.now();
    let woken = 0;
    for (; this.#waits.nextDueMs <= now && woken < SUBMIT_MAX; woken += 1) this.#turnAgain(this.#waits.take());
    return woken;
  }

  /** A record goes to the end of those whose turn has come again; the lane where it waits. */
  #turnAgain(origin: number): Lane | undefined {
    if (this.states.isDead(origin) || this.states.isSettled(origin)) return undefined;
    const job = this.#jobs.again(origin);
    this.#jobs.keep(job);
    const lane = this.#turns.laneOf(job.handler, job.priority);
    this.#turns.makeReady(lane, origin);
    return lane;
  }

  #expire(job: Job): void {
    this.#ending.add(job.origin);
    this.stateLog.write(RECORD_TYPE.expire, encodeExpire({ kind: EXPIRED, origins: [job.origin] }));
    this.#giveKeyAway(job);
  }

  /** Attempts whose time is over are ended; what they return later is ignored. */
  #endOverdue(): number {
    // Looking for them costs a walk.
    if (this.#gates.timed === 0) return 0;
    let ended = 0;
    for (const [slot, job] of this.#hands.overdue(this.#clock.now())) {
      this.#runner.askToStop(slot);
      this.#hands.readBack(slot, job);
      this.#failed(job, new Error("the handler took longer than its time limit"), REASON.timeout);
      ended += 1;
    }
    return ended;
  }

  // ── outcomes ──────────────────────────────────────────────────────────────────────────────────

  /** From `Runner.drain`: a handler is done with a record. */
  settled(slot: number): void {
    this.#window.finished();
    const job = this.#hands.takeBack(slot);
    if (job === undefined) return;
    if (this.#runner.isOk(slot)) {
      this.#gates.of(job.handler).succeeded();
      this.counts.done += 1;
      this.#ended(job);
      return;
    }
    const error = this.#runner.value(slot);
    this.#hands.readBack(slot, job);
    const isDeath = isMillraceError(error, "ERR_MACHINE_DIED");
    this.#failed(job, error, isDeath ? REASON.death : REASON.error);
  }

  #ended(job: Job): void {
    const { origin } = job;
    this.#survived(job);
    if (this.copying.has(origin)) this.#finishedInCopy.add(origin);
    else this.#finish(origin, this.states.placeOf(origin));
    this.#giveKeyAway(job);
  }

  /** Writes down that the record at `place` is finished. */
  #finish(origin: number, place: number): void {
    if (origin !== place) this.#acked.set(place, origin);
    this.stateLog.finished(place);
  }

  #failed(job: Job, error: unknown, reason: number): void {
    this.#survived(job);
    const nowMs = this.#clock.wall();
    const attempts = job.attempts + 1;
    const firstMs = job.firstMs === 0 ? nowMs : job.firstMs;
    const gate = this.#gates.of(job.handler);
    const fraction = this.#random.fraction();
    const decision =
      reason === REASON.quarantine && attempts >= QUARANTINE_ATTEMPTS
        ? ({ kind: "dead", reason } as const)
        : decide(gate.terms, { attempts, firstFailedMs: firstMs, nowMs, error, reason, fraction });
    const counts = decision.kind === "dead" || decision.counts;
    gate.failed(this.#clock.now(), counts && attempts === 1);
    if (counts) {
      job.attempts = attempts;
      job.firstMs = firstMs;
      const failure = { attempt: attempts, atMs: nowMs, reason: reasonName(reason), error };
      job.history = withFailure(job.history, failure, this.#log.payloadBytesMax);
    }
    if (decision.kind === "dead") this.#die(job, decision.reason, nowMs);
    else this.#retryLater(job, decision.waitMs, decision.reason, nowMs);
  }

  #retryLater(job: Job, waitMs: number, reason: number, nowMs: number): void {
    const { origin, attempts, firstMs } = job;
    const fate = { origin, attempts, reason, atMs: nowMs + waitMs, firstMs };
    // On a full disk the room is for what ends records: after a crash this one is tried again at
    // once.
    if (!this.#log.isDiskFull()) this.stateLog.write(RECORD_TYPE.retry, encodeFate(fate, briefHistory(job.history)));
    this.#waits.add(this.#clock.now() + waitMs, origin);
    this.#jobs.keep(job);
    this.counts.retried += 1;
    if (job.keyName !== undefined) this.#keys.running(job.keyName, false);
    if (job.keyName !== undefined && this.#gates.of(job.handler).terms.order === "skip") this.#giveKeyAway(job);
  }

  #die(job: Job, reason: number, nowMs: number): void {
    const { origin, attempts, firstMs } = job;
    this.#ending.add(origin);
    const fate = { origin, attempts, reason, atMs: nowMs, firstMs };
    this.stateLog.write(RECORD_TYPE.dead, encodeFate(fate, job.history));
    // The one who awaits it wants to know.
    this.stateLog.urge();
    if (!this.#gates.of(job.handler).terms.holdsKeyWhenDead) this.#giveKeyAway(job);
    else if (job.keyName !== undefined) {
      this.#keys.running(job.keyName, false);
      this.#heldByDead.set(origin, job);
    }
  }

  #giveKeyAway(job: Job): void {
    if (job.keyName === undefined) return;
    const next = this.#keys.release(job.keyName, job.origin);
    if (next !== undefined) this.#turns.makeReady(this.#turns.laneOf(job.handler, job.priority), next);
  }

  /** What became of a record in quarantine: undefined when its handler has returned. */
  quarantined(origin: number, error: unknown): void {
    const job = this.#inQuarantine.get(origin);
    if (job === undefined) return;
    this.#inQuarantine.delete(origin);
    if (error === undefined) {
      this.#gates.of(job.handler).succeeded();
      this.counts.done += 1;
      this.#ended(job);
      return;
    }
    const hasDied = isMillraceError(error, "ERR_QUARANTINE_DIED");
    this.#failed(job, error, hasDied ? REASON.quarantine : REASON.error);
  }

  // ── suspects ──────────────────────────────────────────────────────────────────────────────────

  /** Names the next group of suspects in the log, before it is handed out. */
  #trySuspects(): number {
    if (this.#suspects.size === 0 || !this.#isBegun()) return 0;
    const group = this.#suspects.nextGroup();
    if (group === undefined) return 0;
    this.#controlled({ kind: "trying", origins: [...group], cleared: this.#suspects.takeCleared() });
    this.stateLog.urge();
    return group.length;
  }

  /** The group was named durably. */
  #handOutSuspects(): void {
    for (const origin of this.#suspects.announced()) {
      // A group doesn't wait for a handler that can't run.
      if (this.#isOver(origin) || this.#turnAgain(origin)?.handler !== undefined) this.#suspects.survived(origin);
    }
  }

  /** An attempt is over, and the process lives. */
  #survived(job: Job): void {
    if (this.#suspects.size > 0) this.#suspects.survived(job.origin);
  }

  /** Whether a record must not run in this process. */
  needsQuarantine(origin: number): boolean {
    return this.#suspects.endsOf(origin) >= QUARANTINE_ENDS;
  }

  // ── leases, commands ──────────────────────────────────────────────────────────────────────────

  /** Now and then: up to where records may have been handed out. */
  #lease(): void {
    const now = this.#clock.now();
    if (now - this.#leasedAt < LEASE_MS) return;
    const lease = this.#turns.positions();
    this.#leasedAt = now;
    // Without new records it says nothing new.
    if (this.#runner.outstanding === 0 || lease.every((place, index) => place === this.#leased[index])) return;
    this.#leased = lease;
    this.stateLog.write(RECORD_TYPE.lease, encodeLease(lease));
  }

  #controlled(control: Control, onDurable?: () => void): void {
    this.stateLog.write(RECORD_TYPE.control, encodeControl(control), onDurable);
  }

  /** Nothing of the handler is begun any more, or again; `onDurable` when that outlives a crash. */
  pause(name: string, isPaused: boolean, onDurable?: () => void): void {
    this.#gates.named(name).isPaused = isPaused;
    this.#controlled({ kind: isPaused ? "paused" : "resumed", handler: name }, onDurable);
    this.stateLog.urge();
  }

  /**
   * Whether the record with this origin, at `place`, is over by records that aren't durable yet.
   */
  isEnding(origin: number, place: number): boolean {
    return this.#ending.has(origin) || this.stateLog.isFinished(place);
  }

  /** Dead letters get another turn, from their handler or from another one. */
  redrive(origins: readonly number[], handler: string, onDurable?: () => void): void {
    this.#writeOrigins(RECORD_TYPE.redrive, origins, onDurable, (part) => encodeRedrive({ handler, origins: part }));
  }

  /** Dead letters are given up for good. */
  drop(origins: readonly number[], onDurable?: () => void): void {
    this.#writeOrigins(RECORD_TYPE.expire, origins, onDurable, (part) =>
      encodeExpire({ kind: DROPPED, origins: part }),
    );
  }

  /** How many entries of this size a record takes beside its head and a name. */
  #fitting(entryBytes: number): number {
    return Math.min(ORIGINS_MAX, Math.floor((this.#log.payloadBytesMax - HEAD_BYTES_MAX) / entryBytes));
  }

  /** In as many records as it takes; the last one tells. */
  #writeOrigins(
    type: number,
    origins: readonly number[],
    onDurable: (() => void) | undefined,
    encodePart: (part: readonly number[]) => Buffer,
  ): void {
    if (origins.length === 0) onDurable?.();
    const most = this.#fitting(ORIGIN_BYTES);
    for (let from = 0; from < origins.length; from += most) {
      const end = from + most;
      this.stateLog.write(type, encodePart(origins.slice(from, end)), end >= origins.length ? onDurable : undefined);
    }
    this.stateLog.urge();
  }
}
