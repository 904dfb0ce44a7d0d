/**
 * Delivery: hands durable records to handlers, and writes down how they end.
 *
 * It is one state machine on one thread, driven turn by turn; it alone decides about a record. It
 * knows nothing of threads: it reaches the world through `ports.ts`, and the simulation drives it
 * with arrays, a seed and a clock of its own.
 *
 *   durable ──visit──► lane ──► in hand ──returned──► finished ──ACK durable──► told
 *                      ▲  ▲         │
 *                      │  │         └──failed──► waits (RETRY) ──due──► lane
 *                      │  │         └──failed for the last time──► dead (DEAD) ──REDRIVE──► lane
 *                      │  └── its key is free again
 *                      └── its time has come
 *
 * A record without a durable ACK is delivered again after a crash: at least once. `RecordStates`
 * has the durable states; an opening rebuilds everything else from them.
 *
 * This file puts the parts together and calls them in turn. Each part gets those that stand above
 * it, and no part knows this one:
 *
 *   state-log     the records that delivery writes
 *   gates         whether a handler can run now
 *   suspects      records that an earlier process may have had in hand when it crashed
 *   turns, lane   the order in which records get their turns
 *   failed-attempts  failures that the log doesn't know yet
 *   jobs          records whose turn comes again, out of memory or the log
 *   ends          records whose ends aren't durable yet
 *   deaths        room for dead letters
 *   key-lines     which record of a key is next
 *   returns       records that wait for a time
 *   quarantined   records that run in a process of their own
 *   life          this process's own records in the log
 *   staged-admission   whether a handler's published records may be stored
 *   recorder      writes down how attempts end, if the option `record` asks for it
 *   outcomes      the end of a record that was handed out
 *   hand-out      gives one record to its handler
 *   pump          takes records out of their lanes
 *   visits        takes note of each record that has become durable
 *   commands      the commands of people
 *   schedules     records that are published whenever a time comes
 *   opening       rebuilds all of this
 */
import { invariant, type Random } from "@millrace/base";
import type { Storage } from "@millrace/journal";
import type { LogRecord } from "../format/log-record.ts";
import type { Outcome } from "../format/outcome.ts";
import type { HeaderParser } from "../format/record-header.ts";
import { STAGED_RECORD_BYTES, TaskHeaderWriter } from "../format/task-header.ts";
import type { RecordState, RecordStates } from "../states/record-states.ts";
import { Commands } from "./commands.ts";
import { Deaths } from "./deaths.ts";
import { Ends } from "./ends.ts";
import type { DeliveryCounts, DeliveryEvents } from "./events.ts";
import { FailedAttempts } from "./failed-attempts.ts";
import { Gates } from "./gates.ts";
import { HandOut } from "./hand-out.ts";
import { Hands } from "./hands.ts";
import { Jobs } from "./jobs.ts";
import { KeyLines } from "./key-lines.ts";
import { Life } from "./life.ts";
import { rebuild } from "./opening.ts";
import { Outcomes } from "./outcomes.ts";
import type { HandlerTerms } from "./policy.ts";
import type { Clock, Log, Runner } from "./ports.ts";
import { Pump } from "./pump.ts";
import { Quarantined } from "./quarantined.ts";
import { Recorder } from "./recorder.ts";
import type { HandlerReport, LaneReport } from "./reports.ts";
import { Returns } from "./returns.ts";
import { type DeclaredSchedule, Schedules } from "./schedules.ts";
import { StateLog } from "./state-log.ts";
import { StagedAdmission } from "./staged-admission.ts";
import { Steady } from "./steady.ts";
import { BEHIND_LEASE_MAX, findSuspects, Suspects } from "./suspects.ts";
import { Turns } from "./turns.ts";
import { Visits } from "./visits.ts";
import { Window } from "./window.ts";

/** Outcomes handled before the other duties get their turn. */
const DRAIN_MAX = 1024;
const LANE_RECORDS_MAX = 4096;
const NO_BYTES = new Uint8Array(0);

export interface DeliveryWorld {
  readonly log: Log;
  readonly runner: Runner;
  readonly clock: Clock;
  readonly random: Random;
  /** Where what waits for a time lies beyond `waitsMemoryMax`; nothing there has to be durable. */
  readonly scratch?: Storage | undefined;
}

export interface DeliveryTerms {
  /** The terms of every handler that options name, and of the others. */
  readonly handlerTerms: (name: string) => HandlerTerms;
  /** Id of the log, for `context.record.id`. */
  readonly logId: Uint8Array;
  /** Records that a lane keeps in memory before it falls behind. Default 4096. */
  readonly laneRecordsMax?: number;
  /** Unsettled records behind a lease among which one may be in hand. Default 4096. */
  readonly behindLeaseMax?: number | undefined;
  /** Bytes of jobs that wait and are in memory. Default 64 MiB. */
  readonly jobsBytesMax?: number | undefined;
  /** Delays, and pauses between attempts, that are in memory. Default 65,536 of each. */
  readonly waitsMemoryMax?: number | undefined;
  /** The schedules that `open` declares; undefined: those declared before stay as they are. */
  readonly schedules?: readonly DeclaredSchedule[] | undefined;
  /** Bytes of the reserve for a full disk. */
  readonly reserveBytes: () => number;
  /** Bytes that dead letters may take in the log. Default: no limit. */
  readonly deadBytesMax?: number;
  /** Producers that the intake may know. Default: no limit. */
  readonly producersMax?: number;
  /** A handler has published a record of a producer that nobody knew. */
  readonly onProducer?: (id: string) => void;
}

export class Delivery {
  readonly #log: Log;
  readonly #runner: Runner;
  readonly states: RecordStates;
  readonly stateLog: StateLog;
  readonly counts: DeliveryCounts = { delivered: 0, done: 0, retried: 0, dead: 0, expired: 0, duplicates: 0 };
  readonly ends: Ends;
  readonly deaths: Deaths;
  readonly visits: Visits;
  readonly commands: Commands;
  readonly schedules: Schedules;

  readonly #suspects: Suspects;
  readonly #turns: Turns;
  readonly #gates: Gates;
  readonly #hands: Hands;
  readonly #window: Window;
  readonly #keyLines: KeyLines;
  readonly #returns: Returns;
  readonly #quarantined: Quarantined;
  readonly #life: Life;
  readonly #failedAttempts: FailedAttempts;
  readonly #outcomes: Outcomes;
  readonly #pump: Pump;
  #isDraining = false;

  constructor(
    world: DeliveryWorld,
    states: RecordStates,
    parser: HeaderParser,
    handlers: number,
    terms: DeliveryTerms,
    events: DeliveryEvents,
  ) {
    const { log, runner, clock, scratch } = world;
    const { counts } = this;
    this.#log = log;
    this.#runner = runner;
    this.states = states;
    const handlerOf = handlerIn(states, parser);
    const { laneRecordsMax = LANE_RECORDS_MAX, behindLeaseMax = BEHIND_LEASE_MAX } = terms;

    const steady = new Steady(clock);
    const stateLog = new StateLog(log, clock, steady, terms.reserveBytes);
    const gates = new Gates(parser, handlers, terms.handlerTerms, clock, stateLog, (event) => events.told(event));
    this.#gates = gates;
    const suspects = new Suspects(findSuspects(log, states, clock.wall(), behindLeaseMax), !states.endings.isOpen);
    const hands = new Hands(runner);
    const window = new Window(runner, clock);
    const turns = new Turns({ log, states, gates, suspects, handlerOf, laneRecordsMax });
    const { reserveBytes, jobsBytesMax } = terms;
    const historyOf = (origin: number): Uint8Array | undefined => jobs.historyOf(origin);
    const failedAttempts = new FailedAttempts({ log, clock, stateLog, reserveBytes, historyOf });
    const jobs = new Jobs({ log, states, steady, failedAttempts, handlerOf, bytesMax: jobsBytesMax });
    const ends = new Ends(states, stateLog);
    const deaths = new Deaths(states, terms.deadBytesMax ?? Infinity);
    const keyLines = new KeyLines(gates, turns);
    const returns = new Returns({ clock, states, jobs, turns, scratch, waitsMemoryMax: terms.waitsMemoryMax });
    const quarantined = new Quarantined(suspects, events, counts);
    const ownParts = { log, runner, clock, states, stateLog, gates, suspects, turns, ends, returns };
    const life = new Life({ ...ownParts, behindLeaseMax });
    const known = { ...world, states, counts, stateLog, gates, hands, window, jobs, suspects };
    const isThere = (name: string): boolean => gates.named(name).isThere;
    const schedules = new Schedules({ states: states.schedules, stateLog, log, clock, isThere }, terms.schedules);
    const recorder = new Recorder({ log, states, stateLog });
    const rules = { quarantined, ends, deaths, keyLines, returns, life, schedules, recorder };
    const { producersMax, onProducer } = terms;
    const stagedAdmission = new StagedAdmission({ states, deaths, producersMax, onProducer });
    const outcomes = new Outcomes({ ...known, ...rules, steady, failedAttempts, stagedAdmission });
    const handOut = new HandOut({ ...known, ...rules, outcomes, taskHeaders: taskHeadersOf(world, terms) });
    const pump = new Pump({ ...known, ...rules, turns, handOut, handlerOf });

    this.stateLog = stateLog;
    this.ends = ends;
    this.deaths = deaths;
    this.visits = new Visits({ ...known, ...rules, events, turns, pump, handlerOf });
    this.commands = new Commands(gates, stateLog, stagedAdmission);
    this.schedules = schedules;
    this.#suspects = suspects;
    this.#turns = turns;
    this.#hands = hands;
    this.#window = window;
    this.#keyLines = keyLines;
    this.#returns = returns;
    this.#quarantined = quarantined;
    this.#life = life;
    this.#failedAttempts = failedAttempts;
    this.#outcomes = outcomes;
    this.#pump = pump;
    rebuild({ ...known, ...rules, turns });
  }

  /** Begins to end: nothing more is handed out. */
  drain(): void {
    this.#isDraining = true;
    this.#window.close();
  }

  /**
   * Waits for nothing in hand any more. Those records have no outcome: the next process delivers
   * them again, as if they had not been handed out.
   */
  abandon(): void {
    for (const slot of this.#hands.abandonAll()) this.#runner.askToStop(slot);
    this.#quarantined.abandonAll();
  }

  /** All duties once; how much there was to do. */
  turn(): number {
    this.#gates.renew();
    let handled = this.#runner.drain(this.#outcomes, DRAIN_MAX);
    this.#window.renew();
    handled += this.#log.takeNews((record) => this.visits.take(record));
    handled += this.#outcomes.endOverdue();
    if (this.#isDraining) handled += this.#runner.cancelQueued((slot) => this.#hands.takeBack(slot));
    else {
      handled += this.schedules.turn();
      handled += this.#returns.wakeDue();
      handled += this.#outcomes.letDie();
      handled += this.#life.trySuspects();
      handled += this.#pump.turn();
      this.#life.lease();
    }
    handled += this.#failedAttempts.turn(this.#isDraining);
    this.stateLog.flush(this.#isDraining);
    return handled;
  }

  /** When the next turn is due although nothing happens, by the clock that only grows. */
  nextTurnAt(): number {
    return Math.min(
      this.#returns.nextDueMs,
      this.#turns.obstaclesUntil,
      this.#hands.nextTimeout(),
      this.stateLog.dueAt,
      this.#failedAttempts.dueAt,
      this.#suspects.dueAt,
      this.schedules.nextTurnAt(),
    );
  }

  /**
   * Takes the end of a record in quarantine. `error` is undefined when its handler has returned;
   * then `outcome` is the handler's outcome.
   */
  quarantined(origin: number, error: unknown, outcome?: Outcome): void {
    this.#outcomes.leftQuarantine(origin, error, outcome);
  }

  /**
   * The state of an acknowledged record; a record that expired or was dropped is "done" as well.
   */
  stateOf(origin: number): Exclude<RecordState, "expired"> {
    if (this.states.isDead(origin)) return "dead";
    if (this.states.isSettled(origin)) return "done";
    return this.#hands.has(origin) || this.#quarantined.has(origin) ? "running" : "waiting";
  }

  // ── what is left ──────────────────────────────────────────────────────────────────────────────

  /** Nothing is in hand, and everything that was decided is durable. */
  get isQuiet(): boolean {
    return this.#isIdle && this.#failedAttempts.isQuiet && this.stateLog.isQuiet;
  }

  /** Nothing is in hand, and a full disk keeps decisions from becoming durable. */
  get waitsForRoom(): boolean {
    return this.#isIdle && !this.stateLog.isQuiet && this.#log.isDiskFull();
  }

  /** Nothing is in hand but abandoned attempts. */
  get #isIdle(): boolean {
    return this.#runner.outstanding === this.#hands.abandoned && this.#quarantined.isEmpty;
  }

  /** Nothing can run now: what there is waits for a time, a handler, or a command. */
  get isDrained(): boolean {
    if (!this.isQuiet || this.ends.isCopying || this.#suspects.size > 0) return false;
    return this.#turns.isDrained;
  }

  /** Nothing is in hand but abandoned attempts, and the last record is durable. */
  get isOver(): boolean {
    return this.isQuiet && this.#life.isClosed();
  }

  /** For people who look: each handler, and whether its records are begun now. */
  handlerReports(): HandlerReport[] {
    const held = new Map<string, number>();
    for (const { handler, waiting } of this.heldUp()) held.set(handler, (held.get(handler) ?? 0) + waiting);
    return this.#gates.reports(held);
  }

  /** Names of handlers that get no record now, however many of those in hand end. */
  stoppedNames(): string[] {
    return this.#gates.stoppedNames();
  }

  /**
   * Records that are known to wait for something else than the end of others: for their time, for
   * a handler that is stopped, or for room among the dead letters.
   */
  get aside(): number {
    return this.#returns.delayed + this.deaths.waiting + this.#turns.aside + this.#keyLines.aside;
  }

  laneReports(): LaneReport[] {
    return this.#turns.reports();
  }

  /** Where records wait, as one line of text for a person. */
  describe(): string {
    return (
      `lanes ${this.#turns.describe()}, waits ${this.#returns.waiting}, ${this.#keyLines.describe()}, ` +
      `suspects ${this.#suspects.describe()}, in hand ${this.#runner.outstanding}`
    );
  }

  /** Records that wait for a time. */
  get waiting(): number {
    return this.#returns.waiting;
  }

  /** Of those, the ones that wait for their first time. */
  get delayed(): number {
    return this.#returns.delayed;
  }

  /** When the oldest record was published that waits for its turn, ms since 1970; 0 for none. */
  get oldestMs(): number {
    const oldestMs = this.#turns.oldestMs;
    return oldestMs === Infinity ? 0 : oldestMs;
  }

  /** How often a handler kept failing and was given a rest. */
  get breakersOpened(): number {
    return this.#gates.breakersOpened;
  }

  /** Of those, how many wait on the disk. */
  get spilled(): number {
    return this.#returns.spilled;
  }

  /** The last turn is over: removes what only this process needs. */
  close(): void {
    this.#returns.close();
  }

  /** Records that wait behind others of their key. */
  get keyWaiting(): number {
    return this.#keyLines.waiting;
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
  heldUp(): ReturnType<Turns["heldUp"]> {
    return this.#turns.heldUp();
  }
}

/** The number of the handler that gets a record, which a redrive may have chosen. */
function handlerIn(states: RecordStates, parser: HeaderParser): (record: LogRecord) => number {
  return (record) => {
    const redirected = states.redirected.size === 0 ? undefined : states.redirected.get(record.origin);
    return redirected === undefined ? parser.handler(record.header()) : parser.numberOf(redirected);
  };
}

/** Writes task headers, which tell handlers what they may publish with the end of their record. */
function taskHeadersOf({ log, runner }: DeliveryWorld, { logId }: DeliveryTerms): TaskHeaderWriter {
  const none = { type: 0, priority: 0, timeMs: 0, header: NO_BYTES, key: NO_BYTES, payload: NO_BYTES };
  invariant(log.bytesOf(none) <= STAGED_RECORD_BYTES, "a record takes no more beside its parts than is counted");
  // The ACK is part of the group.
  const groupBytesMax = Math.min(log.groupBytesMax, runner.valueBytesMax) - STAGED_RECORD_BYTES;
  return new TaskHeaderWriter(logId, { recordBytesMax: log.payloadBytesMax, groupBytesMax });
}
