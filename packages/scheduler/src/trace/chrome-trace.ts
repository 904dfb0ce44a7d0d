/**
 * A recorded trace in the JSON trace event format, which Perfetto (ui.perfetto.dev) and
 * chrome://tracing open.
 *
 * Source of the format: "Trace Event Format", Google, the kinds X (slice), b/e (async slice), s/f
 * (flow), C (counter), i (instant), M (name of a track). Times are microseconds.
 *
 * The tracks:
 *
 *   process "machines"     a track per machine: a slice per task (nested where a join ran others
 *                          meanwhile), a slice per sleep, hand-overs of the processor as
 *                          instants; the time of an async handler between its return and its
 *                          promise as an async slice
 *   process "processors"   a track per processor: a short slice per steal from its queue, a flow
 *                          from there to the first stolen task on the thief's track; the length
 *                          of the queue as a counter
 *   process "submitters"   a track per thread outside: its submissions and the outcomes that it
 *                          has read, as instants
 *
 * A ring keeps its newest records only. A slice whose beginning was dropped begins with the ring's
 * first record and says so (`args.cut: "begin"`); one that was still open at the end of the trace
 * ends there (`args.cut: "end"`).
 */
import { TRACE, type TraceKind, type TraceRecord, type TraceRings, type TraceSnapshot } from "../shared/trace-ring.ts";

/** One event; `args` by kind of event, as the exporter below sets them. */
export interface ChromeEvent {
  readonly ph: "X" | "b" | "e" | "s" | "f" | "C" | "i" | "M";
  readonly name: string;
  readonly pid: number;
  readonly tid: number;
  /** µs since the beginning of the trace. */
  readonly ts: number;
  /** Of a slice, in µs. */
  readonly dur?: number;
  readonly cat?: string;
  readonly id?: string;
  readonly bp?: "e";
  readonly s?: "t";
  readonly args?: Readonly<Record<string, unknown>>;
}

export interface ChromeTrace {
  readonly traceEvents: readonly ChromeEvent[];
  readonly displayTimeUnit: "ms";
  readonly otherData: {
    readonly producer: "millrace";
    /** When the first record was written, Unix time in ms. */
    readonly beganMs: number;
    readonly durationMs: number;
    readonly machines: number;
    readonly submitters: number;
    /** By ring, machines first: records that were overwritten before they could be read. */
    readonly dropped: readonly number[];
  };
}

export const PID = { machines: 1, processors: 2, submitters: 3 } as const;

/** How long a steal is drawn: a slice of no length can't be seen or clicked at. */
const STEAL_US = 1;

const PARKED = ["blocked", "in its event loop", "without a processor"] as const;

const ENDS_A_PARK: ReadonlySet<TraceKind> = new Set([TRACE.unpark, TRACE.park, TRACE.start]);

interface OpenSlice {
  readonly record: TraceRecord;
  readonly args: Record<string, unknown>;
}

/** `handlerNames` by number, as `Scheduler.handlerNames`. */
export function chromeTrace(
  rings: Pick<TraceRings, "machines" | "submitters" | "epochMs">,
  snapshot: TraceSnapshot,
  handlerNames: readonly string[],
): ChromeTrace {
  const times = snapshot.records.map((record) => record.timeMs);
  const beganMs = times.reduce((first, time) => Math.min(first, time), times[0] ?? 0);
  const endedMs = times.reduce((last, time) => Math.max(last, time), beganMs);
  const exporter = new Exporter(rings.machines, handlerNames, beganMs, endedMs);
  exporter.noteSubmissions(snapshot.records);
  const threads = byRing(snapshot.records);
  for (let ring = 0; ring < rings.machines + rings.submitters; ring += 1) {
    const records = threads.get(ring);
    // A machine without a record has slept all the time; a submitter without one has nothing to
    // show.
    if (records !== undefined || ring < rings.machines) exporter.nameRing(ring);
    if (records !== undefined) exporter.thread(records);
  }
  return {
    traceEvents: exporter.events,
    displayTimeUnit: "ms",
    otherData: {
      producer: "millrace",
      beganMs: rings.epochMs + beganMs,
      durationMs: endedMs - beganMs,
      machines: rings.machines,
      submitters: rings.submitters,
      dropped: snapshot.dropped,
    },
  };
}

function byRing(records: readonly TraceRecord[]): Map<number, TraceRecord[]> {
  const rings = new Map<number, TraceRecord[]>();
  for (const record of records) {
    const ring = rings.get(record.ring);
    if (ring === undefined) rings.set(record.ring, [record]);
    else ring.push(record);
  }
  return rings;
}

/** The same for all attempts of one task: its slot, and how often the slot was used before. */
function taskKey(record: TraceRecord): string {
  return `${record.task}.${record.run >> 4}`;
}

/** 1 for the first start, as `context.attempt`. */
function attemptOf(record: TraceRecord): number {
  return (record.run & 15) + 1;
}

class Exporter {
  readonly events: ChromeEvent[] = [];
  readonly #machines: number;
  readonly #names: readonly string[];
  readonly #beganMs: number;
  readonly #endedMs: number;
  readonly #namedProcessors = new Set<number>();
  /** When a task was submitted, ms. */
  readonly #submittedMs = new Map<string, number>();
  #flows = 0;

  constructor(machines: number, names: readonly string[], beganMs: number, endedMs: number) {
    this.#machines = machines;
    this.#names = names;
    this.#beganMs = beganMs;
    this.#endedMs = endedMs;
    for (const [name, pid] of Object.entries(PID)) this.#name("process_name", pid, 0, name);
  }

  nameRing(ring: number): void {
    const isMachine = ring < this.#machines;
    const number = isMachine ? ring : ring - this.#machines;
    this.#name("thread_name", ...this.#track(ring), `${isMachine ? "machine" : "submitter"} ${number}`);
  }

  noteSubmissions(records: readonly TraceRecord[]): void {
    for (const record of records) {
      if (record.kind === TRACE.submit) this.#submittedMs.set(taskKey(record), record.timeMs);
    }
  }

  /** One thread's records, in the order of their writing. */
  thread(records: readonly TraceRecord[]): void {
    const open: OpenSlice[] = [];
    let parked: TraceRecord | undefined;
    /** A steal whose first task has not been started yet. */
    let stolen: { readonly task: number; readonly flow: string } | undefined;
    const firstMs = records[0]?.timeMs ?? this.#beganMs;
    for (const record of records) {
      // A machine that sleeps in its event loop settles and submits meanwhile; it starts nothing.
      if (parked !== undefined && ENDS_A_PARK.has(record.kind)) {
        this.#park(parked, record, record.kind === TRACE.unpark ? record.a === 1 : undefined);
        parked = undefined;
      }
      switch (record.kind) {
        case TRACE.start:
          open.push({ record, args: this.#startArgs(record) });
          if (stolen?.task === record.task) {
            this.#flowEnd(stolen.flow, record);
            stolen = undefined;
          }
          break;
        case TRACE.end:
        case TRACE.suspend:
          this.#close(open, record, firstMs);
          if (record.kind === TRACE.suspend) this.#async("b", record, {});
          break;
        case TRACE.settle:
          this.#async("e", record, { ok: record.a === 1 });
          break;
        case TRACE.steal:
          stolen = { task: record.task, flow: this.#steal(record) };
          break;
        case TRACE.park:
          parked = record;
          break;
        case TRACE.depth:
          this.#depth(record);
          break;
        case TRACE.submit:
          this.#instant(record, `submit ${this.#handler(record)}`, { task: record.task, priority: record.a });
          break;
        case TRACE.outcome:
          this.#instant(record, `outcome of ${this.#handler(record)}`, { task: record.task, ok: record.a === 1 });
          break;
        case TRACE.yield:
          this.#instant(record, `hands processor ${record.a} over`, { to: record.b });
          break;
        case TRACE.take:
          this.#instant(record, `takes processor ${record.a}`, {});
          break;
        case TRACE.unpark:
          break;
      }
    }
    if (parked !== undefined) this.#park(parked, { ...parked, timeMs: this.#endedMs }, undefined);
    for (const slice of open.toReversed()) this.#slice(slice, this.#endedMs, { ...slice.args, cut: "end" });
  }

  // ── one record ────────────────────────────────────────────────────────────────────────────────

  #startArgs(record: TraceRecord): Record<string, unknown> {
    const submittedMs = this.#submittedMs.get(taskKey(record));
    const attempt = attemptOf(record);
    return {
      task: record.task,
      attempt,
      processor: record.a,
      submitter: record.b,
      // No record says when a later attempt was queued.
      ...(submittedMs === undefined || attempt > 1 ? {} : { waitedUs: us(record.timeMs - submittedMs) }),
    };
  }

  /**
   * Ends the innermost slice of that task. Slices inside it whose end was not recorded end with it.
   */
  #close(open: OpenSlice[], record: TraceRecord, firstMs: number): void {
    const outcome = record.kind === TRACE.end ? { ok: record.a === 1 } : { async: true };
    const at = open.findLastIndex(({ record: begin }) => begin.task === record.task && begin.run === record.run);
    if (at < 0) {
      const begin = { record: { ...record, timeMs: firstMs }, args: {} };
      this.#slice(begin, record.timeMs, { task: record.task, attempt: attemptOf(record), ...outcome, cut: "begin" });
      return;
    }
    for (const slice of open.splice(at + 1).toReversed())
      this.#slice(slice, record.timeMs, { ...slice.args, cut: "end" });
    const slice = open.pop() as OpenSlice;
    this.#slice(slice, record.timeMs, { ...slice.args, ...outcome });
  }

  #slice({ record }: OpenSlice, endMs: number, args: Record<string, unknown>): void {
    this.#push({
      ...this.#at(record),
      ph: "X",
      cat: "task",
      name: this.#handler(record),
      dur: us(endMs - record.timeMs),
      args,
    });
  }

  #park(begin: TraceRecord, end: TraceRecord, woken: boolean | undefined): void {
    const how = PARKED[begin.a] ?? "asleep";
    const args = woken === undefined ? { how, cut: "end" } : { how, woken };
    const dur = us(end.timeMs - begin.timeMs);
    this.#push({ ...this.#at(begin), ph: "X", cat: "park", name: `parked ${how}`, dur, args });
  }

  /** The id ties the two ends together across threads. */
  #async(ph: "b" | "e", record: TraceRecord, args: Record<string, unknown>): void {
    const id = `${taskKey(record)}.${attemptOf(record)}`;
    this.#push({
      ...this.#at(record),
      ph,
      cat: "async",
      id,
      name: this.#handler(record),
      args: { task: record.task, ...args },
    });
  }

  #steal(record: TraceRecord): string {
    this.#nameProcessor(record.a);
    const id = `steal ${this.#flows}`;
    this.#flows += 1;
    const at = { pid: PID.processors, tid: record.a, ts: us(record.timeMs - this.#beganMs) };
    const args = { by: record.ring, tasks: record.b, first: record.task };
    this.#push({
      ...at,
      ph: "X",
      cat: "steal",
      name: `machine ${record.ring} steals ${record.b}`,
      dur: STEAL_US,
      args,
    });
    this.#push({ ...at, ph: "s", cat: "steal", name: "steal", id });
    return id;
  }

  #flowEnd(id: string, record: TraceRecord): void {
    this.#push({ ...this.#at(record), ph: "f", bp: "e", cat: "steal", name: "steal", id });
  }

  #depth(record: TraceRecord): void {
    this.#nameProcessor(record.b);
    const ts = us(record.timeMs - this.#beganMs);
    const at = { pid: PID.processors, tid: record.b, ts };
    this.#push({ ...at, ph: "C", name: `queue of processor ${record.b}`, args: { tasks: record.a } });
  }

  #instant(record: TraceRecord, name: string, args: Record<string, unknown>): void {
    this.#push({ ...this.#at(record), ph: "i", s: "t", cat: "event", name, args });
  }

  // ── places and names ──────────────────────────────────────────────────────────────────────────

  #push(event: ChromeEvent): void {
    this.events.push(event);
  }

  #at(record: TraceRecord): { pid: number; tid: number; ts: number } {
    const [pid, tid] = this.#track(record.ring);
    return { pid, tid, ts: us(record.timeMs - this.#beganMs) };
  }

  #track(ring: number): [pid: number, tid: number] {
    return ring < this.#machines ? [PID.machines, ring] : [PID.submitters, ring - this.#machines];
  }

  #handler({ handler }: TraceRecord): string {
    return this.#names[handler] ?? `handler ${handler}`;
  }

  #nameProcessor(processor: number): void {
    if (this.#namedProcessors.has(processor)) return;
    this.#namedProcessors.add(processor);
    this.#name("thread_name", PID.processors, processor, `processor ${processor}`);
  }

  #name(kind: "process_name" | "thread_name", pid: number, tid: number, name: string): void {
    this.#push({ ph: "M", name: kind, pid, tid, ts: 0, args: { name } });
  }
}

/** Whole nanoseconds, so that slices that touch don't overlap by a rounding error. */
function us(ms: number): number {
  return Math.round(ms * 1e6) / 1000;
}
