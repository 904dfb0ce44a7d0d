/** Takes records out of their lanes, the most urgent first, and hands them out. */
import type { LogRecord } from "../format/log-record.ts";
import type { RecordStates } from "../states/record-states.ts";
import type { Ends } from "./ends.ts";
import type { Gates } from "./gates.ts";
import type { HandOut } from "./hand-out.ts";
import { jobOf } from "./job.ts";
import type { Jobs } from "./jobs.ts";
import type { Lane } from "./lane.ts";
import type { Life } from "./life.ts";
import type { Suspects } from "./suspects.ts";
import type { Turns } from "./turns.ts";
import type { Window } from "./window.ts";

/** Handed out in one turn. */
const SUBMIT_MAX = 512;
/** Records of others that a lane passes over in one turn. */
const PASS_MAX = 4096;

export interface PumpParts {
  readonly states: RecordStates;
  readonly window: Window;
  readonly gates: Gates;
  readonly turns: Turns;
  readonly jobs: Jobs;
  readonly suspects: Suspects;
  readonly ends: Ends;
  readonly life: Life;
  readonly handOut: HandOut;
  readonly handlerOf: (record: LogRecord) => number;
}

export class Pump {
  readonly #parts: PumpParts;
  readonly #handFrom = (lane: Lane): boolean => this.#handNext(lane);

  constructor(parts: PumpParts) {
    this.#parts = parts;
  }

  /** A new record, while its bytes are in memory. */
  offer(record: LogRecord): void {
    const { window, turns, life, handOut, handlerOf } = this.#parts;
    const handler = handlerOf(record);
    let lane = turns.laneOf(handler, record.priority);
    if (lane.isEmpty && window.left > 0 && life.isNear(record.priority, record.sequence)) {
      const handed = handOut.handOut(jobOf(record, handler));
      if (handed === "given" || handed === "taken") return;
      if (handed === "heldUp") lane = turns.setApart(handler, record.priority, record.sequence);
    }
    lane.push(record);
  }

  /** Hands out the records that there is room for, and returns their number. */
  turn(): number {
    const { window, turns, handOut } = this.#parts;
    turns.joinAgain();
    let handed = 0;
    for (; handed < SUBMIT_MAX && window.left > 0; handed += 1) {
      if (!turns.takeInTurn(this.#handFrom)) break;
    }
    handOut.publish();
    // A lane that reads on and has found nothing yet isn't through.
    return handed + (window.left > 0 && turns.isAnySearching ? 1 : 0);
  }

  /** Hands out the next record of a lane; false when it has none now. */
  #handNext(lane: Lane): boolean {
    const ready = lane.peekReady();
    if (ready === undefined) return this.#handNew(lane);
    return lane.isReadyFirst() ? this.#handReady(lane, ready) : this.#handNew(lane) || this.#handReady(lane, ready);
  }

  #handNew(lane: Lane): boolean {
    const { states, turns, life, handOut, handlerOf } = this.#parts;
    const record = lane.peek(PASS_MAX);
    if (record === undefined) return false;
    const handler = handlerOf(record);
    if (lane.handler === undefined && turns.laneOf(handler, lane.priority) !== lane) {
      // Its handler was set apart after it came into the queue; that lane has a copy.
      lane.advance();
      return true;
    }
    if (states.settled.has(states.placeOf(record.origin))) {
      lane.advance();
      return true;
    }
    if (!life.isNear(lane.priority, record.sequence)) return false;
    switch (handOut.handOut(jobOf(record, handler))) {
      case "given":
      case "taken":
        lane.advance();
        return true;
      case "heldUp":
        if (lane.handler !== undefined) return false;
        turns.setApart(handler, lane.priority);
        return true;
      default:
        return false;
    }
  }

  /** A suspect whose handler can't run leaves its group, which needn't wait for it. */
  #handReady(lane: Lane, origin: number): boolean {
    const { gates, turns, jobs, suspects, ends, handOut } = this.#parts;
    if (ends.isOver(origin)) {
      suspects.survived(origin);
      jobs.forget(origin);
      turns.takeReady(lane, origin);
      return true;
    }
    const job = jobs.again(origin);
    const own = turns.laneOf(job.handler, job.priority);
    if (own !== lane) {
      if (!gates.isRunnable(job.handler)) suspects.waits(origin);
      turns.takeReady(lane, origin);
      turns.makeReady(own, origin);
      jobs.keep(job);
      return true;
    }
    switch (handOut.handOut(job)) {
      case "given":
      case "taken":
        turns.takeReady(lane, origin);
        return true;
      case "heldUp":
        suspects.waits(origin);
        jobs.keep(job);
        if (lane.handler !== undefined) return false;
        turns.takeReady(lane, origin);
        turns.makeReady(turns.setApart(job.handler, job.priority), origin);
        return true;
      default:
        jobs.keep(job);
        return false;
    }
  }
}
