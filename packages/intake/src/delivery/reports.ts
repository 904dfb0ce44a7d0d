/** Reports on handlers and lanes for people: the delivery thread makes them when it is asked. */
import { PRIORITY, type Priority } from "@millrace/scheduler";
import type { HandlerGate, Obstacle } from "./handler-gate.ts";

/** A handler, and whether its records are begun now. */
export interface HandlerReport {
  readonly handler: string;
  /**
   * "open": it gets records. "paused": by command. "busy": as many are in hand as `concurrencyMax`.
   * "rate": as many were begun as `ratePerSecond`. "resting": it kept failing. "missing": no module
   * exports it. "unwritten": records that it has published wait for room on the disk.
   */
  readonly state: "open" | Obstacle;
  /** Records that it has in hand. */
  readonly running: number;
  /** Attempts that succeeded, and that failed, since the opening. */
  readonly done: number;
  readonly failed: number;
  /** Records that are known to wait because of `state`. */
  readonly held: number;
  /** Undefined without a limit. */
  readonly concurrencyMax: number | undefined;
  readonly ratePerSecond: number | undefined;
}

/** Records of one priority that wait for their turn. */
export interface LaneReport {
  readonly priority: Priority;
  /** The handler, of a lane that was set apart because its handler can't run now. */
  readonly handler: string | undefined;
  /**
   * Number of records that are known to wait; while `isReadingSegments` there may be more on the
   * disk.
   */
  readonly waiting: number;
  readonly isReadingSegments: boolean;
  /** When the next one was published, ms since 1970; undefined where that isn't known. */
  readonly oldestMs: number | undefined;
}

const PRIORITIES = Object.keys(PRIORITY) as Priority[];
/** The value of `concurrencyMax` without a limit. */
const UNLIMITED: number = 2 ** 31;

export function handlerReport(gate: HandlerGate, now: number, held: number): HandlerReport {
  const { name, running, doneCount, failedCount, terms } = gate;
  return {
    handler: name,
    state: gate.obstacle(now) ?? "open",
    running,
    done: doneCount,
    failed: failedCount,
    held,
    concurrencyMax: terms.concurrencyMax === UNLIMITED ? undefined : terms.concurrencyMax,
    ratePerSecond: terms.ratePerSecond,
  };
}

/** The part of a lane that a report reads. */
interface LaneAtHand {
  readonly priority: number;
  readonly size: number;
  readonly isReading: boolean;
  readonly oldestMs: number;
}

export function laneReport(lane: LaneAtHand, handler: string | undefined): LaneReport {
  const { priority, size, isReading, oldestMs } = lane;
  return {
    priority: PRIORITIES.find((each) => PRIORITY[each] === priority) as Priority,
    handler,
    waiting: size,
    isReadingSegments: isReading,
    oldestMs: oldestMs === Infinity ? undefined : oldestMs,
  };
}
