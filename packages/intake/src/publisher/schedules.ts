/** Schedules as the opener defines and lists them. */
import {
  baseError,
  custom,
  integer,
  oneOf,
  optional,
  optionsObject,
  type Resolved,
  resolveOptions,
  type Rules,
  text,
} from "@millrace/base";
import { decode, encode } from "@millrace/codec";
import { PRIORITY, type Priority } from "@millrace/scheduler";
import { type DeclaredSchedule, scheduleRefused, type ScheduleReport } from "../delivery/schedules.ts";
import { checkTimes } from "../delivery/timetable.ts";
import type { CatchUp, ScheduleDefinition } from "../format/schedule.ts";
import { KEY_BYTES_MAX, shortText } from "../format/publication.ts";

/** The record that a schedule publishes, and its times: one of `cron` and `everyMs` is required. */
export interface ScheduleOptions<Name extends string = string> {
  readonly handler: Name;
  /**
   * The payload that the handler gets each time; up to 16 KiB with the headers. Default undefined.
   */
  readonly payload?: unknown;
  readonly headers?: object;
  /**
   * Five fields (minute, hour, day of month, month, day of week), six with seconds before them,
   * seven with years behind them; or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`.
   */
  readonly cron?: string;
  /**
   * Ms between two due times, the first one this long after the schedule was first defined; from
   * 1000.
   */
  readonly everyMs?: number;
  /** The time zone in which `cron` is read; a name of the IANA database. Default "UTC". */
  readonly timeZone?: string;
  /**
   * How to treat due times that passed while no process ran. "last": the last one gets a record.
   * "all": all get one, up to `catchUpMax`. "none": none that passed more than a minute ago.
   * Default "last".
   */
  readonly catchUp?: CatchUp;
  /** With "all": at most this many, the newest ones. 1 to 1000, default 100. */
  readonly catchUpMax?: number;
  /** As of `publish`. */
  readonly priority?: Priority;
  readonly key?: string;
  readonly ttlMs?: number;
}

export interface ScheduleInfo {
  readonly name: string;
  readonly handler: string;
  readonly payload: unknown;
  readonly headers: unknown;
  readonly cron: string | undefined;
  readonly everyMs: number | undefined;
  readonly timeZone: string;
  readonly catchUp: CatchUp;
  readonly catchUpMax: number;
  readonly priority: Priority;
  readonly key: string | undefined;
  readonly ttlMs: number | undefined;
  /** Whether `open` declares it. */
  readonly isDeclared: boolean;
  /** "over": no time comes any more. "resting": its handler isn't there. */
  readonly state: "active" | "over" | "resting";
  /** The due time of its newest record, ms since 1970; undefined before the first. */
  readonly lastDueAtMs: number | undefined;
  readonly nextDueAtMs: number | undefined;
  /** Due times that passed without a record; at most 1000 are counted between two records. */
  readonly missed: number;
}

const NAME_BYTES_MAX = 255;
const BYTES_MAX = 16_384;
const EVERY_MS_MIN = 1000;
const TEN_YEARS_MS: number = 10 * 365 * 86_400_000;

const rules = {
  handler: text(),
  payload: custom(
    "any value",
    (_value): _value is unknown => true,
    () => undefined,
  ),
  headers: optional(optionsObject<object>()),
  cron: optional(text()),
  everyMs: optional(integer(EVERY_MS_MIN, TEN_YEARS_MS, EVERY_MS_MIN)),
  timeZone: text("UTC"),
  catchUp: oneOf(["none", "last", "all"], "last"),
  catchUpMax: integer(1, 1000, 100),
  priority: oneOf(["high", "normal", "low"], "normal"),
  key: optional(shortText(KEY_BYTES_MAX)),
  ttlMs: optional(integer(1, TEN_YEARS_MS, 1)),
} satisfies Rules;

/** Throws `ERR_INVALID_OPTION`. */
export function checkScheduleName(name: unknown): asserts name is string {
  if (typeof name === "string" && name.length > 0 && Buffer.byteLength(name) <= NAME_BYTES_MAX) return;
  const allowed = `a text of 1 to ${NAME_BYTES_MAX} bytes of UTF-8`;
  throw baseError("ERR_INVALID_OPTION", `schedule: the name must be ${allowed}`, {
    details: { owner: "schedule", name: "name", value: name, allowed },
  });
}

/** Throws `ERR_INVALID_OPTION`, `ERR_SCHEDULE_REFUSED`, `ERR_VALUE_UNSUPPORTED`. */
export function scheduleDefinition(name: string, given: ScheduleOptions): ScheduleDefinition {
  checkScheduleName(name);
  const owner = `schedule ${name}`;
  const options = resolveOptions(owner, rules, given);
  mustHaveOne(owner, options);
  checkTimes(owner, options, Date.now());
  const { handler, cron, everyMs, timeZone, catchUp, catchUpMax, priority, key, ttlMs } = options;
  const payload = Uint8Array.from(encode(options.payload));
  const headers = options.headers === undefined ? undefined : Uint8Array.from(encode(options.headers));
  if (payload.length + (headers?.length ?? 0) > BYTES_MAX) throw scheduleRefused(name, "large");
  const times = { cron, everyMs, timeZone };
  return { handler, payload, headers, ...times, catchUp, catchUpMax, priority: PRIORITY[priority], key, ttlMs };
}

function mustHaveOne(owner: string, { cron, everyMs, timeZone }: Resolved<typeof rules>): void {
  if ((cron === undefined) === (everyMs === undefined)) {
    throw baseError("ERR_INVALID_OPTION", `${owner}: give "cron" or "everyMs", one of both`, {
      details: { owner, name: cron === undefined ? "cron" : "everyMs", value: cron === undefined ? cron : everyMs },
    });
  }
  if (everyMs === undefined || timeZone === "UTC") return;
  throw baseError("ERR_INVALID_OPTION", `${owner}: option "timeZone" says nothing beside "everyMs"`, {
    details: { owner, name: "timeZone", value: timeZone },
  });
}

/** Of the option `schedules`. Throws as `scheduleDefinition` does. */
export function declaredSchedules(given: Readonly<Record<string, ScheduleOptions>>): DeclaredSchedule[] {
  return Object.entries(given).map(([name, options]) => ({ name, definition: scheduleDefinition(name, options) }));
}

const PRIORITIES = Object.keys(PRIORITY) as Priority[];

export function scheduleInfo(report: ScheduleReport): ScheduleInfo {
  const { name, definition, isDeclared, lastDueMs, nextDueMs, missed, isRunnable } = report;
  const { payload, headers, priority, ...times } = definition;
  return {
    name,
    ...times,
    payload: decode(Buffer.from(payload)),
    headers: headers && decode(Buffer.from(headers)),
    priority: PRIORITIES.find((each) => PRIORITY[each] === priority) as Priority,
    isDeclared,
    state: isRunnable ? (nextDueMs === undefined ? "over" : "active") : "resting",
    lastDueAtMs: lastDueMs === 0 ? undefined : lastDueMs,
    nextDueAtMs: nextDueMs,
    missed,
  };
}
