/** Schedules in records. */

/** In the header of a record: a schedule has published it. */
export interface Scheduled {
  readonly name: string;
  /** Ms since 1970. */
  readonly dueMs: number;
  /** Due times between the schedule's record before and this one, which got none. */
  readonly missed: number;
}

export type CatchUp = "none" | "last" | "all";

/** The record that a schedule publishes, and its times. Bytes are encoded by the codec. */
export interface ScheduleDefinition {
  readonly handler: string;
  readonly payload: Uint8Array;
  readonly headers: Uint8Array | undefined;
  /** One of both. */
  readonly cron: string | undefined;
  readonly everyMs: number | undefined;
  readonly timeZone: string;
  readonly catchUp: CatchUp;
  readonly catchUpMax: number;
  readonly priority: number;
  readonly key: string | undefined;
  readonly ttlMs: number | undefined;
}

/** A CONTROL record that defines a schedule, or defines it anew. */
export interface DefinedSchedule {
  readonly name: string;
  readonly definition: ScheduleDefinition;
  /** Whether `open` declares it; otherwise `schedule` defined it. */
  readonly isDeclared: boolean;
  /** Ms since 1970. */
  readonly atMs: number;
}

/** Whether both are due at the same times. */
export function haveSameTimes(left: ScheduleDefinition, right: ScheduleDefinition): boolean {
  return left.cron === right.cron && left.everyMs === right.everyMs && left.timeZone === right.timeZone;
}

/** Whether nothing would change. */
export function isSameDefinition(left: ScheduleDefinition, right: ScheduleDefinition): boolean {
  const names = Object.keys(right) as (keyof ScheduleDefinition)[];
  return names.every((name) => {
    const [a, b] = [left[name], right[name]];
    return a instanceof Uint8Array && b instanceof Uint8Array ? Buffer.compare(a, b) === 0 : a === b;
  });
}
