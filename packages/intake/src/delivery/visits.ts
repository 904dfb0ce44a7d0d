/**
 * Every durable record is visited once, in the order of the log: the states take note of it, and
 * then the parts of delivery that it concerns.
 */
import { RECORD_TYPE } from "@millrace/journal";
import type { LogRecord } from "../format/log-record.ts";
import { isJudged } from "../format/record-header.ts";
import { decodeControl, decodeFate, historyBytes } from "../format/state-records.ts";
import { type Group, GroupReader } from "../states/groups.ts";
import type { RecordStates } from "../states/record-states.ts";
import type { Deaths } from "./deaths.ts";
import type { Ends } from "./ends.ts";
import type { DeliveryCounts, DeliveryEvents } from "./events.ts";
import { jobOf } from "./job.ts";
import type { Jobs } from "./jobs.ts";
import type { KeyLines } from "./key-lines.ts";
import type { Life } from "./life.ts";
import type { Log } from "./ports.ts";
import type { Pump } from "./pump.ts";
import type { Schedules } from "./schedules.ts";
import type { StateLog } from "./state-log.ts";
import type { Turns } from "./turns.ts";

export interface VisitsParts {
  readonly log: Log;
  readonly states: RecordStates;
  readonly events: DeliveryEvents;
  readonly counts: DeliveryCounts;
  readonly stateLog: StateLog;
  readonly turns: Turns;
  readonly jobs: Jobs;
  readonly ends: Ends;
  readonly deaths: Deaths;
  readonly keyLines: KeyLines;
  readonly life: Life;
  readonly pump: Pump;
  readonly schedules: Schedules;
  readonly handlerOf: (record: LogRecord) => number;
}

export class Visits {
  readonly #parts: VisitsParts;
  readonly #groups: GroupReader;
  readonly #visitOne = (record: LogRecord, group: Group): void => this.#visit(record, group);
  /** Called when a copy is durable. */
  onCopied: () => void = () => {};

  constructor(parts: VisitsParts) {
    this.#parts = parts;
    this.#groups = new GroupReader(parts.states.window, (record) => parts.log.hold(record));
  }

  /** A durable record. It is visited once all members of its group are there. */
  take(record: LogRecord): void {
    this.#groups.take(record, this.#visitOne);
  }

  #visit(record: LogRecord, group: Group): void {
    const { states, counts, events } = this.#parts;
    // Once for each letter: what isn't dead any more is redriven already, or dropped.
    const redriven = record.type === RECORD_TYPE.redrive ? states.redrivenBy(record) : [];
    const ended = record.type === RECORD_TYPE.expire ? states.endedBy(record) : [];
    const verdict = states.read(record, group);
    for (const origin of redriven) this.#redriven(origin);
    for (const origin of ended) this.#expired(origin);
    if (record.type !== RECORD_TYPE.data) this.#visitState(record);
    else if (record.replaces !== 0) this.#copied(record);
    else if (verdict.kind === "first") this.#parts.pump.offer(record);
    else {
      counts.duplicates += 1;
      events.judged(record.sequence, verdict, !group.isOutcome && isJudged(record.header()));
    }
  }

  #visitState(record: LogRecord): void {
    const { stateLog, ends, events, schedules } = this.#parts;
    if (record.replaces !== 0) this.onCopied();
    else if (record.type !== RECORD_TYPE.ack) stateLog.visited(record.type);
    switch (record.type) {
      case RECORD_TYPE.ack:
        stateLog.acknowledged();
        ends.acknowledged(record.payload(), events.wantsFinished, (origin) => events.finished(origin));
        break;
      case RECORD_TYPE.dead:
        if (record.replaces === 0) this.#died(record.payload());
        break;
      case RECORD_TYPE.control: {
        const control = decodeControl(record.payload());
        if (control.kind === "begun") this.#parts.life.begun();
        else if (control.kind === "scheduled" || control.kind === "unscheduled") schedules.changed(control.name);
        break;
      }
    }
  }

  #died(payload: Buffer): void {
    const { ends, deaths, counts, events } = this.#parts;
    const { origin } = decodeFate(payload);
    ends.durable(origin);
    deaths.durable(origin);
    counts.dead += 1;
    events.dead(origin, historyBytes(payload));
  }

  #expired(origin: number): void {
    const { ends, counts, keyLines, events } = this.#parts;
    ends.durable(origin);
    counts.expired += 1;
    keyLines.dropped(origin);
    events.expired(origin);
  }

  #redriven(origin: number): void {
    const { states, jobs, turns, keyLines } = this.#parts;
    // What memory may have of it is from before its death, for the handler in which it died.
    jobs.forget(origin);
    const job = jobs.again(origin);
    keyLines.redriven(job);
    const lane = turns.laneOf(job.handler, job.priority);
    const place = states.placeOf(origin);
    if (turns.comesBy(lane, origin, place)) {
      lane.redriven(place);
      return;
    }
    jobs.keep(job);
    turns.makeReady(lane, origin);
  }

  /** A record has a new place. One whose turn hasn't come gets it from there. */
  #copied(record: LogRecord): void {
    const { states, ends, turns, keyLines, handlerOf } = this.#parts;
    const { origin, sequence, replaces } = record;
    this.onCopied();
    if (ends.copyArrived(origin, sequence)) return;
    if (states.isDead(origin) || states.isSettled(origin)) return;
    const handler = handlerOf(record);
    const lane = turns.laneOf(handler, record.priority);
    if (!turns.comesBy(lane, origin, replaces)) return;
    lane.moved(replaces);
    // Before any later record of its key that the lane finds.
    keyLines.enter(jobOf(record, handler));
    turns.makeReady(lane, origin);
  }
}
