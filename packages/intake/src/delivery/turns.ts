/**
 * Gives turns to the lanes of the three priorities, and to those of handlers that were set apart
 * because they can't run now.
 */
import { RECORD_TYPE } from "@millrace/journal";
import type { LogRecord } from "../format/log-record.ts";
import type { LogWalk } from "../states/log-walk.ts";
import type { RecordStates } from "../states/record-states.ts";
import type { Gates } from "./gates.ts";
import type { Obstacle } from "./handler-gate.ts";
import { Lane, type LaneHost } from "./lane.ts";
import type { Log } from "./ports.ts";
import { laneReport, type LaneReport } from "./reports.ts";
import type { Suspects } from "./suspects.ts";

/**
 * One turn in this many goes to the next priority although the one before it has work. So the first
 * record of a low lane waits for at most AGEING² others, for each lane that takes turns with it.
 */
const AGEING = 16;
const LANES = 3;

export interface TurnsParts {
  readonly log: Log;
  readonly states: RecordStates;
  readonly gates: Gates;
  readonly suspects: Suspects;
  readonly handlerOf: (record: LogRecord) => number;
  readonly laneRecordsMax: number;
}

export class Turns implements LaneHost {
  readonly #parts: TurnsParts;
  readonly #lanes: Lane[];
  /** Lanes of handlers that were set apart, by priority and handler. */
  readonly #apart = new Map<string, Lane>();
  /** The lanes of origins that are ready. */
  readonly #ready = new Map<number, Lane>();
  #turn = 0;
  /** By priority: how often lanes that were set apart have stood beside the one of the priority. */
  readonly #rounds: number[] = Array.from({ length: LANES }, () => 0);
  /** When an obstacle of a handler that was set apart may be gone by itself. */
  #obstaclesUntil = Infinity;

  constructor(parts: TurnsParts) {
    this.#parts = parts;
    this.#lanes = Array.from({ length: LANES }, (_, priority) => new Lane(this, priority, undefined));
  }

  // ── what lanes need ───────────────────────────────────────────────────────────────────────────

  wants(lane: Lane, record: LogRecord): boolean {
    const { states, suspects, handlerOf } = this.#parts;
    const { sequence, type, priority, replaces } = record;
    if (type !== RECORD_TYPE.data || priority !== lane.priority || replaces !== 0) return false;
    if (states.settled.has(sequence) || states.retries.has(sequence)) return false;
    if (suspects.has(sequence)) return false;
    const own = this.laneOf(handlerOf(record), priority);
    if (own !== lane && lane.handler === undefined) own.passed(sequence);
    return own === lane;
  }

  nextUnsettled(place: number): number {
    return this.#parts.states.settled.endOf(place) + 1;
  }

  known(): number {
    return this.#parts.log.known;
  }

  walk(): LogWalk {
    return this.#parts.log.walk();
  }

  get laneRecordsMax(): number {
    return this.#parts.laneRecordsMax;
  }

  // ── lanes ─────────────────────────────────────────────────────────────────────────────────────

  laneOf(handler: number, priority: number): Lane {
    const lane = this.#lanes[priority] as Lane;
    return this.#apart.size === 0 ? lane : (this.#apart.get(`${priority}/${handler}`) ?? lane);
  }

  /** At an opening: everything that isn't settled is to be read from the log. */
  readFrom(first: number): void {
    for (const lane of this.#lanes) lane.fallBehind(first);
  }

  /**
   * From now on the handler's records of this priority go by themselves. `visited`: the record that
   * is being visited, of a group whose others come after it.
   */
  setApart(handler: number, priority: number, visited: number = this.known()): Lane {
    this.#parts.gates.heldUp(handler);
    const name = `${priority}/${handler}`;
    const known = this.#apart.get(name);
    if (known !== undefined) return known;
    const lane = (this.#lanes[priority] as Lane).split(handler, this.#parts.handlerOf, visited);
    this.#apart.set(name, lane);
    return lane;
  }

  /** Lanes of handlers that can run again and have caught up are one with the others. */
  joinAgain(): void {
    this.#obstaclesUntil = Infinity;
    const { gates } = this.#parts;
    const { now } = gates;
    for (const [name, lane] of this.#apart) {
      const gate = gates.of(lane.handler as number);
      if (gate.obstacle(now) !== undefined) {
        if (!lane.isEmpty) this.#obstaclesUntil = Math.min(this.#obstaclesUntil, gate.retryAt(now));
        lane.rest();
      } else if (lane.isEmpty && (this.#lanes[lane.priority] as Lane).isCaughtUp) this.#apart.delete(name);
    }
  }

  get obstaclesUntil(): number {
    return this.#obstaclesUntil;
  }

  /**
   * Offers the lanes that can run, the one whose turn it is first, until one is taken; whether one
   * was.
   */
  takeInTurn(take: (lane: Lane) => boolean): boolean {
    this.#turn += 1;
    const first = this.#turn % (AGEING * AGEING) === 0 ? 2 : this.#turn % AGEING === 0 ? 1 : 0;
    for (let step = 0; step < LANES; step += 1) {
      const priority = (first + step) % LANES;
      if (this.#apart.size === 0) {
        if (take(this.#lanes[priority] as Lane)) return true;
      } else for (const lane of this.#lanesOf(priority)) if (take(lane)) return true;
    }
    return false;
  }

  /**
   * Lanes that can run take turns: the backlog of a handler that runs again holds up no other.
   */
  *#lanesOf(priority: number): Generator<Lane, void> {
    const main = this.#lanes[priority] as Lane;
    // An empty one would leave its turns to the next.
    const lanes = main.isEmpty ? [] : [main];
    for (const lane of this.#apart.values()) {
      if (lane.priority !== priority || lane.isEmpty) continue;
      if (this.#parts.gates.isRunnable(lane.handler as number)) lanes.push(lane);
    }
    const round = this.#rounds[priority] as number;
    this.#rounds[priority] = round + 1;
    for (let step = 0; step < lanes.length; step += 1) yield lanes[(round + step) % lanes.length] as Lane;
  }

  // ── turns that come again ─────────────────────────────────────────────────────────────────────

  /** A record's turn has come again; once, however many reasons there are. */
  makeReady(lane: Lane, origin: number): void {
    if (this.#ready.has(origin)) return;
    this.#ready.set(origin, lane);
    lane.pushReady(origin);
  }

  takeReady(lane: Lane, origin: number): void {
    this.#ready.delete(origin);
    lane.takeReady();
  }

  /** Whether a record's turn has come again, and its handler can't run. */
  isHeldUp(origin: number): boolean {
    const handler = this.#ready.get(origin)?.handler;
    return handler !== undefined && !this.#parts.gates.isRunnable(handler);
  }

  /** Whether a lane that reads the log will find the record at `place`, and hand it out. */
  comesBy(lane: Lane, origin: number, place: number): boolean {
    const { suspects, states } = this.#parts;
    return lane.isAhead(place) && place === origin && !suspects.has(origin) && !states.retries.has(origin);
  }

  // ── what is left ──────────────────────────────────────────────────────────────────────────────

  /** For a lease: every record of the lane before its place has had its turn. */
  positions(): number[] {
    return this.#lanes.map((lane) => lane.position);
  }

  /** When the oldest record was published that is next in a lane; Infinity without. */
  get oldestMs(): number {
    let oldestMs = Infinity;
    for (const lane of this.#lanes) oldestMs = Math.min(oldestMs, lane.oldestMs);
    return oldestMs;
  }

  get isReading(): boolean {
    return this.#lanes.some((lane) => lane.isReading);
  }

  /** Whether a lane that can run reads from the log, and has found no record yet. */
  get isAnySearching(): boolean {
    const { gates } = this.#parts;
    for (const lane of this.#lanes) if (lane.isSearching) return true;
    for (const lane of this.#apart.values()) {
      if (lane.isSearching && gates.isRunnable(lane.handler as number)) return true;
    }
    return false;
  }

  /** No lane that can run has a record. */
  get isDrained(): boolean {
    const { gates } = this.#parts;
    for (const lane of this.#lanes) if (!lane.isEmpty) return false;
    for (const lane of this.#apart.values()) {
      if (!lane.isEmpty && gates.isRunnable(lane.handler as number)) return false;
    }
    return true;
  }

  /**
   * Handlers that were set apart, with the reason and how many of their records are known to wait.
   */
  *heldUp(): Generator<{ readonly handler: string; readonly why: Obstacle; readonly waiting: number }, void> {
    const { gates } = this.#parts;
    const now = gates.renew();
    for (const lane of this.#apart.values()) {
      const gate = gates.of(lane.handler as number);
      const why = gate.obstacle(now);
      if (why !== undefined && !lane.isEmpty) yield { handler: gate.name, why, waiting: lane.size };
    }
  }

  /** Records that are known to wait for handlers that are stopped. */
  get aside(): number {
    const { gates } = this.#parts;
    let aside = 0;
    for (const lane of this.#apart.values()) if (gates.isStopped(lane.handler as number)) aside += lane.size;
    return aside;
  }

  /** The lanes of the priorities, and those of handlers that were set apart. */
  reports(): LaneReport[] {
    const apart = Array.from(this.#apart.values(), (lane) => {
      return laneReport(lane, this.#parts.gates.of(lane.handler as number).name);
    });
    return [...this.#lanes.map((lane) => laneReport(lane, undefined)), ...apart];
  }

  /** Where records wait, as one line of text for a person. */
  describe(): string {
    return [...this.#lanes, ...this.#apart.values()].map((lane) => lane.describe()).join(" ");
  }
}
