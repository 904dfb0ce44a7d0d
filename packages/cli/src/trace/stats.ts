/**
 * The numbers of a trace: how long the tasks of each handler waited and ran, and how each machine
 * spent its time.
 *
 * All of them are computed from the events in the file, so a file that was cut to a part gives the
 * numbers of that part.
 */
import { type ChromeEvent, type ChromeTrace, PID } from "@millrace/scheduler";

/** Microseconds; undefined without values. */
export interface Spread {
  readonly mean: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

export interface HandlerTraceStats {
  readonly handler: string;
  readonly tasks: number;
  readonly failed: number;
  /** Tasks whose handler returned a promise; their `ranUs` ends at that return. */
  readonly async: number;
  readonly ranUs: Spread | undefined;
  /** From submission to start, of tasks whose submission is in the trace. */
  readonly waitedUs: Spread | undefined;
  /** From return to settlement, of async tasks that have both in the trace. */
  readonly settledUs: Spread | undefined;
}

export interface MachineTraceStats {
  readonly machine: number;
  readonly tasks: number;
  /** In tasks, as a part of the trace's duration; nested ones are counted once. */
  readonly busyPercent: number;
  readonly parkedPercent: number;
  readonly parks: number;
  /** Sleeps that ended because their time was over. */
  readonly parksTimedOut: number;
  readonly steals: number;
  readonly stolenTasks: number;
  readonly dropped: number;
}

export interface TraceStats {
  readonly beganAt: string;
  readonly durationMs: number;
  readonly tasks: number;
  readonly failed: number;
  /** Tasks of which only a part is in the trace. */
  readonly cut: number;
  /** Records that were overwritten before they could be read. */
  readonly dropped: number;
  readonly handlers: readonly HandlerTraceStats[];
  readonly machines: readonly MachineTraceStats[];
  readonly processors: readonly {
    readonly processor: number;
    readonly stolenTasks: number;
    readonly queueMax: number;
  }[];
}

const MACHINES_MAX = 4096;
/** What a Date holds. */
const TIME_MS_MAX = 8.64e15;

/** Whether a document is a trace of ours: with all that the numbers are computed from. */
export function isTrace(document: unknown): document is ChromeTrace {
  const { traceEvents, otherData } = (document ?? {}) as { [Name in keyof ChromeTrace]?: unknown };
  const data = (otherData ?? {}) as { [Name in keyof ChromeTrace["otherData"]]?: unknown };
  const { producer, beganMs, durationMs, machines, dropped } = data;
  return (
    producer === "millrace" &&
    isNumber(beganMs, -TIME_MS_MAX, TIME_MS_MAX) &&
    isNumber(durationMs, 0, TIME_MS_MAX) &&
    isNumber(machines, 0, MACHINES_MAX) &&
    Array.isArray(dropped) &&
    dropped.every((count) => isNumber(count, 0, Infinity)) &&
    Array.isArray(traceEvents) &&
    traceEvents.every(isEvent)
  );
}

function isNumber(value: unknown, min: number, max: number): boolean {
  return typeof value === "number" && value >= min && value <= max;
}

function isEvent(value: unknown): boolean {
  const { ph, name, ts = 0, dur = 0 } = (value ?? {}) as { [Name in keyof ChromeEvent]?: unknown };
  return typeof ph === "string" && typeof name === "string" && typeof ts === "number" && typeof dur === "number";
}

export function traceStats({ traceEvents, otherData }: ChromeTrace): TraceStats {
  const tasks = traceEvents.filter(({ ph, cat }) => ph === "X" && cat === "task");
  const settled = settledTimes(traceEvents);
  const durationUs = otherData.durationMs * 1000;
  return {
    beganAt: new Date(otherData.beganMs).toISOString(),
    durationMs: otherData.durationMs,
    tasks: tasks.length,
    failed: tasks.filter(hasFailed).length + settled.filter(({ ok }) => !ok).length,
    cut: tasks.filter(isCut).length,
    dropped: otherData.dropped.reduce((sum, count) => sum + count, 0),
    handlers: groups(tasks, ({ name }) => name).map(([handler, own]) => handlerStats(handler, own, settled)),
    machines: Array.from({ length: otherData.machines }, (_, machine) =>
      machineStats(machine, traceEvents, durationUs, otherData.dropped[machine] ?? 0),
    ),
    processors: processorStats(traceEvents),
  };
}

function isCut({ args }: ChromeEvent): boolean {
  return args?.cut !== undefined;
}

function hasFailed({ args }: ChromeEvent): boolean {
  return args?.ok === false;
}

interface Settled {
  readonly handler: string;
  readonly ok: boolean;
  /** Undefined when the handler's return is not in the trace. */
  readonly us: number | undefined;
}

function settledTimes(events: readonly ChromeEvent[]): Settled[] {
  const began = new Map(events.filter(({ ph }) => ph === "b").map((event) => [event.id, event.ts]));
  return events
    .filter(({ ph }) => ph === "e")
    .map(({ id, ts, name, args }) => {
      const from = began.get(id);
      return { handler: name, ok: args?.ok === true, us: from === undefined ? undefined : ts - from };
    });
}

function handlerStats(handler: string, tasks: readonly ChromeEvent[], settled: readonly Settled[]): HandlerTraceStats {
  const own = settled.filter((each) => each.handler === handler);
  return {
    handler,
    tasks: tasks.length,
    failed: tasks.filter(hasFailed).length + own.filter(({ ok }) => !ok).length,
    async: tasks.filter(({ args }) => args?.async === true).length,
    ranUs: spread(tasks.filter((task) => !isCut(task)).map(({ dur = 0 }) => dur)),
    waitedUs: spread(tasks.flatMap(({ args }) => (typeof args?.waitedUs === "number" ? [args.waitedUs] : []))),
    settledUs: spread(own.flatMap(({ us }) => (us === undefined ? [] : [us]))),
  };
}

function machineStats(
  machine: number,
  events: readonly ChromeEvent[],
  durationUs: number,
  dropped: number,
): MachineTraceStats {
  const slices = events.filter(({ ph, pid, tid }) => ph === "X" && pid === PID.machines && tid === machine);
  const tasks = slices.filter(({ cat }) => cat === "task");
  const parks = slices.filter(({ cat }) => cat === "park");
  const steals = events.filter(({ ph, cat, args }) => ph === "X" && cat === "steal" && args?.by === machine);
  return {
    machine,
    tasks: tasks.length,
    busyPercent: percent(covered(tasks), durationUs),
    parkedPercent: percent(covered(parks), durationUs),
    parks: parks.length,
    parksTimedOut: parks.filter(({ args }) => args?.woken === false).length,
    steals: steals.length,
    stolenTasks: sumOf(steals),
    dropped,
  };
}

function processorStats(events: readonly ChromeEvent[]): TraceStats["processors"] {
  const own = events.filter(({ ph, pid }) => pid === PID.processors && (ph === "C" || ph === "X"));
  return groups(own, ({ tid }) => tid)
    .toSorted(([left], [right]) => left - right)
    .map(([processor, each]) => ({
      processor,
      stolenTasks: sumOf(each.filter(({ ph }) => ph === "X")),
      queueMax: Math.max(0, ...each.filter(({ ph }) => ph === "C").map(({ args }) => Number(args?.tasks))),
    }));
}

function sumOf(steals: readonly ChromeEvent[]): number {
  return steals.reduce((sum, { args }) => sum + Number(args?.tasks), 0);
}

/** The time that slices cover together, in µs: one inside another counts once. */
function covered(slices: readonly ChromeEvent[]): number {
  let sum = 0;
  let end = -Infinity;
  for (const { ts, dur = 0 } of slices.toSorted((left, right) => left.ts - right.ts)) {
    sum += Math.max(0, ts + dur - Math.max(ts, end));
    end = Math.max(end, ts + dur);
  }
  return sum;
}

function percent(part: number, whole: number): number {
  return whole === 0 ? 0 : round((100 * part) / whole, 1);
}

function spread(values: readonly number[]): Spread | undefined {
  if (values.length === 0) return undefined;
  const sorted = values.toSorted((left, right) => left - right);
  const rank = (share: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] as number;
  const mean = sorted.reduce((sum, value) => sum + value, 0) / sorted.length;
  return { mean: round(mean), p50: round(rank(0.5)), p99: round(rank(0.99)), max: round(sorted.at(-1) as number) };
}

function round(value: number, digits = 3): number {
  return Number(value.toFixed(digits));
}

function groups<K>(events: readonly ChromeEvent[], keyOf: (event: ChromeEvent) => K): [K, ChromeEvent[]][] {
  const byKey = new Map<K, ChromeEvent[]>();
  for (const event of events) {
    const key = keyOf(event);
    const group = byKey.get(key);
    if (group === undefined) byKey.set(key, [event]);
    else group.push(event);
  }
  return [...byKey];
}
