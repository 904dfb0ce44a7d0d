/**
 * The due times of a schedule, by a cron pattern in a time zone or by a distance from an instant.
 * The clock is the caller's: every question names the time that it is about.
 *
 * Where a zone's clocks are set forward, a time of day that doesn't exist is due at the change;
 * where they are set back, a time of day that comes twice is due the first time only. Patterns with
 * `*` or steps in the time of day go on as time does: none is left out, none comes twice.
 */
import { Cron } from "croner";
import { baseError } from "@millrace/base";

/** The terms of a timetable; one of `cron` and `everyMs`. */
export interface Times {
  readonly cron: string | undefined;
  readonly everyMs: number | undefined;
  readonly timeZone: string;
}

export interface Timetable {
  /** The first due time after `afterMs`; undefined when there is none. */
  next(afterMs: number): number | undefined;
  /** The last due time before `beforeMs`; undefined when there is none. */
  previous(beforeMs: number): number | undefined;
}

/** Due times of `everyMs` are `sinceMs + n · everyMs`, with whole n. The times were checked. */
export function timetableOf({ cron, everyMs, timeZone }: Times, sinceMs: number): Timetable {
  if (everyMs !== undefined) return new Distances(everyMs, sinceMs);
  return new CronTimes(cron as string, timeZone);
}

class Distances implements Timetable {
  readonly #everyMs: number;
  readonly #sinceMs: number;

  constructor(everyMs: number, sinceMs: number) {
    this.#everyMs = everyMs;
    this.#sinceMs = sinceMs;
  }

  next(afterMs: number): number {
    return this.#sinceMs + (Math.floor((afterMs - this.#sinceMs) / this.#everyMs) + 1) * this.#everyMs;
  }

  previous(beforeMs: number): number {
    return this.#sinceMs + (Math.ceil((beforeMs - this.#sinceMs) / this.#everyMs) - 1) * this.#everyMs;
  }
}

function cronOf(pattern: string, timeZone: string): Cron {
  return new Cron(pattern, { timezone: timeZone, paused: true });
}

/** Patterns are shared: each holds a table of years, some 80 KB. */
const patterns = new Map<string, WeakRef<Cron>>();

class CronTimes implements Timetable {
  readonly #cron: Cron;

  constructor(pattern: string, timeZone: string) {
    const name = `${timeZone} ${pattern}`;
    this.#cron = patterns.get(name)?.deref() ?? cronOf(pattern, timeZone);
    patterns.set(name, new WeakRef(this.#cron));
  }

  next(afterMs: number): number | undefined {
    return this.#cron.nextRun(new Date(afterMs))?.getTime();
  }

  previous(beforeMs: number): number | undefined {
    return this.#cron.previousRuns(1, new Date(beforeMs))[0]?.getTime();
  }
}

const FIELDS = ["minute", "hour", "day of month", "month", "day of week"];
const FIELDS_MIN = 5;
const FIELDS_MAX = 7;

/**
 * Throws `ERR_INVALID_OPTION` for a pattern that isn't one (`details.position` is the index of the
 * field that is wrong, `details.field` its name), for an unknown time zone, and for times that
 * never come after `nowMs`.
 */
export function checkTimes(owner: string, times: Times, nowMs: number): void {
  checkZone(owner, times.timeZone);
  const { cron } = times;
  if (cron === undefined) return;
  const wrong = findWrongField(cron);
  if (wrong !== undefined) {
    const { position, field, why } = wrong;
    throw baseError("ERR_INVALID_OPTION", `${owner}: option "cron" is wrong at ${position} (${field}): ${why}`, {
      details: { owner, name: "cron", value: cron, position, field },
    });
  }
  if (timetableOf(times, nowMs).next(nowMs) !== undefined) return;
  throw baseError("ERR_INVALID_OPTION", `${owner}: option "cron" names times that never come: ${cron}`, {
    details: { owner, name: "cron", value: cron, position: 0, field: "pattern" },
  });
}

function checkZone(owner: string, timeZone: string): void {
  // Some versions of Node take offsets for zones, others don't.
  if (/^[A-Za-z]/.test(timeZone)) {
    try {
      Intl.DateTimeFormat("en-US", { timeZone });
      return;
    } catch (thrown) {
      if (!(thrown instanceof RangeError)) throw thrown;
    }
  }
  throw baseError("ERR_INVALID_OPTION", `${owner}: option "timeZone" is the name of no time zone: ${timeZone}`, {
    details: {
      owner,
      name: "timeZone",
      value: timeZone,
      allowed: "a name of the IANA database, such as Europe/Berlin",
    },
  });
}

interface WrongField {
  readonly position: number;
  readonly field: string;
  readonly why: string;
}

function findWrongField(pattern: string): WrongField | undefined {
  // The library takes a text with a colon for a date.
  const colon = pattern.indexOf(":");
  if (colon >= 0) return { position: colon, field: "pattern", why: "a colon isn't part of a pattern" };
  const whole = refusalOf(pattern);
  if (whole === undefined) return undefined;
  const parts = [...pattern.matchAll(/\S+/g)];
  if (parts.length >= FIELDS_MIN && parts.length <= FIELDS_MAX) {
    const names = [...(parts.length > FIELDS_MIN ? ["second"] : []), ...FIELDS, "year"];
    for (const [index, part] of parts.entries()) {
      // The field alone, among others that take everything.
      const why = refusalOf(parts.map((_, at) => (at === index ? part[0] : "*")).join(" "));
      if (why !== undefined) return { position: part.index, field: names[index] as string, why };
    }
  }
  const position = parts.length > FIELDS_MAX ? (parts[FIELDS_MAX]?.index ?? 0) : pattern.length;
  return {
    position: parts.length < FIELDS_MIN || parts.length > FIELDS_MAX ? position : 0,
    field: "pattern",
    why: whole,
  };
}

/** Why the library refuses a pattern; undefined when it takes it. */
function refusalOf(pattern: string): string | undefined {
  try {
    cronOf(pattern, "UTC");
    return undefined;
  } catch (thrown) {
    return (thrown as Error).message.replace(/^CronPattern: /, "");
  }
}
