/**
 * Events of a thread of the scheduler, as fixed records in a ring in shared memory. The ring keeps
 * the newest, and drops the oldest.
 *
 * One ring per thread (machines first, then the threads that submit), written by that thread only,
 * read by anyone at any time. Recording is off unless the option `trace` asks for it.
 *
 * Memory of one ring, in 32-bit words from `base`:
 *
 *   +0    WRITTEN   records written so far, a free-running counter; written by the owner after the
 *         record, read by all; starts at 0
 *   +32   RECORDS   `capacity` × 8 words; record n lies at place n modulo capacity
 *
 * A record:
 *
 *   0–1   TIME      64-bit float: milliseconds since the epoch of the trace (`TraceRings.epochMs`,
 *         Unix time), with fractions
 *   2     KIND      what happened, see TRACE
 *   3     TASK      the task's slot, or -1
 *   4     RUN       tells apart the tasks that used the same slot: generation × 16 + attempt
 *   5     HANDLER   the handler's number, or -1
 *   6     A         by kind
 *   7     B         by kind
 *
 * A reader copies the records between `WRITTEN - capacity` and `WRITTEN`, and then looks at WRITTEN
 * again. It discards the records that the owner may have begun to overwrite meanwhile. So a record
 * that is returned is whole, and `dropped` counts the others.
 */
import { performance } from "@millrace/base";
import { LINE_WORDS } from "@millrace/shared-memory";

/** Kinds of records. A and B are 0 unless the kind says otherwise. */
export const TRACE = {
  /**
   * A handler was called. A: the processor, B: machine or submitter that submitted the task (see
   * `TraceRecord.b`).
   */
  start: 1,
  /** A handler that was called returned or threw. A: 1 when it succeeded. */
  end: 2,
  /** The handler returned a promise: the task goes on without the machine. */
  suspend: 3,
  /** That promise is settled. A: 1 when it succeeded. */
  settle: 4,
  /**
   * Tasks were taken from another processor's queue. TASK: the first of them. A: the processor they
   * came from, B: how many.
   */
  steal: 5,
  /** The machine goes to sleep. A: 0 blocked, 1 in its event loop, 2 without a processor. */
  park: 6,
  /** It is awake again. A: 1 when it was woken, 0 when its time was over. */
  unpark: 7,
  /** The length of the processor's own queue. A: entries, B: the processor. */
  depth: 8,
  /** This thread submitted a task. A: the priority. */
  submit: 9,
  /**
   * The machine gave its processor away before a wait. A: the processor, B: the machine that got
   * it, or -1.
   */
  yield: 10,
  /** The machine has a processor again. A: the processor. */
  take: 11,
  /** A task's outcome was read by the thread that had submitted it. A: 1 for a success. */
  outcome: 12,
} as const;

export type TraceKind = (typeof TRACE)[keyof typeof TRACE];

/** How a machine sleeps: A of `park`. */
export const PARKED_BLOCKED = 0;
export const PARKED_IN_EVENT_LOOP = 1;
export const PARKED_SPARE = 2;

export const TRACE_RECORD_WORDS = 8;
const WRITTEN = 0;
const RECORDS: number = LINE_WORDS;
const TIME = 0;
const KIND = 2;
const TASK = 3;
const RUN = 4;
const HANDLER = 5;
const A = 6;
const B = 7;

/** The rings of all threads; a plain value for `workerData`. */
export interface TraceRings {
  readonly buffer: SharedArrayBuffer;
  /** Records per ring, a power of two. */
  readonly capacity: number;
  /** Unix time in ms that TIME counts from. */
  readonly epochMs: number;
  /** Rings 0 to `machines - 1` are those of the machines, the others those of submitters 0, 1, … */
  readonly machines: number;
  readonly submitters: number;
}

/** One record as the reader gets it; TIME in ms since `epochMs`. */
export interface TraceRecord {
  readonly ring: number;
  readonly timeMs: number;
  readonly kind: TraceKind;
  readonly task: number;
  readonly run: number;
  readonly handler: number;
  readonly a: number;
  readonly b: number;
}

export interface TraceSnapshot {
  /** In the order of their writing, ring by ring. */
  readonly records: readonly TraceRecord[];
  /** By ring: how many records had been overwritten. */
  readonly dropped: readonly number[];
}

function ringWords(capacity: number): number {
  return RECORDS + capacity * TRACE_RECORD_WORDS;
}

/** Memory for a ring per thread. `capacity` is a power of two. */
export function allocateTraceRings(machines: number, submitters: number, capacity: number): TraceRings {
  const words = (machines + submitters) * ringWords(capacity);
  return {
    buffer: new SharedArrayBuffer(words * Int32Array.BYTES_PER_ELEMENT),
    capacity,
    epochMs: performance.timeOrigin,
    machines,
    submitters,
  };
}

/** The writing end of one ring, for its thread only. */
export class TraceRecorder {
  readonly #words: Int32Array;
  readonly #times: Float64Array;
  readonly #base: number;
  readonly #mask: number;
  readonly #offsetMs: number;
  #written: number;

  constructor(rings: TraceRings, ring: number) {
    this.#words = new Int32Array(rings.buffer);
    this.#times = new Float64Array(rings.buffer);
    this.#base = ring * ringWords(rings.capacity);
    this.#mask = rings.capacity - 1;
    // Every thread's performance.now() has an origin of its own.
    this.#offsetMs = performance.timeOrigin - rings.epochMs;
    this.#written = this.#words[this.#base + WRITTEN] as number;
  }

  /** `submitter`: the machine or submitter that submitted the task. */
  started(slot: number, run: number, handler: number, processor: number, submitter: number): void {
    this.#record(TRACE.start, slot, run, handler, processor, submitter);
  }

  ended(slot: number, run: number, handler: number, ok: boolean): void {
    this.#record(TRACE.end, slot, run, handler, ok ? 1 : 0, 0);
  }

  suspended(slot: number, run: number, handler: number): void {
    this.#record(TRACE.suspend, slot, run, handler, 0, 0);
  }

  settled(slot: number, run: number, handler: number, ok: boolean): void {
    this.#record(TRACE.settle, slot, run, handler, ok ? 1 : 0, 0);
  }

  stole(slot: number, handler: number, victim: number, count: number): void {
    this.#record(TRACE.steal, slot, 0, handler, victim, count);
  }

  /** `how`: PARKED_BLOCKED, PARKED_IN_EVENT_LOOP or PARKED_SPARE. */
  parked(how: number): void {
    this.#record(TRACE.park, -1, 0, -1, how, 0);
  }

  unparked(wasWoken: boolean): void {
    this.#record(TRACE.unpark, -1, 0, -1, wasWoken ? 1 : 0, 0);
  }

  depth(entries: number, processor: number): void {
    this.#record(TRACE.depth, -1, 0, -1, entries, processor);
  }

  submitted(slot: number, run: number, handler: number, priority: number): void {
    this.#record(TRACE.submit, slot, run, handler, priority, 0);
  }

  /** `machine`: which one got the processor, or -1. */
  yielded(processor: number, machine: number): void {
    this.#record(TRACE.yield, -1, 0, -1, processor, machine);
  }

  took(processor: number): void {
    this.#record(TRACE.take, -1, 0, -1, processor, 0);
  }

  outcome(slot: number, run: number, handler: number, ok: boolean): void {
    this.#record(TRACE.outcome, slot, run, handler, ok ? 1 : 0, 0);
  }

  #record(kind: TraceKind, task: number, run: number, handler: number, a: number, b: number): void {
    const words = this.#words;
    const at = this.#base + RECORDS + (this.#written & this.#mask) * TRACE_RECORD_WORDS;
    this.#times[(at + TIME) >> 1] = performance.now() + this.#offsetMs;
    words[at + KIND] = kind;
    words[at + TASK] = task;
    words[at + RUN] = run;
    words[at + HANDLER] = handler;
    words[at + A] = a;
    words[at + B] = b;
    this.#written = (this.#written + 1) | 0;
    Atomics.store(words, this.#base + WRITTEN, this.#written);
  }
}

/** Copies what all rings hold; any thread, also while records are written. */
export function readTrace(rings: TraceRings): TraceSnapshot {
  const words = new Int32Array(rings.buffer);
  const times = new Float64Array(rings.buffer);
  const records: TraceRecord[] = [];
  const dropped: number[] = [];
  for (let ring = 0; ring < rings.machines + rings.submitters; ring += 1) {
    const base = ring * ringWords(rings.capacity);
    const end = Atomics.load(words, base + WRITTEN) >>> 0;
    const from = Math.max(0, end - rings.capacity);
    const copied: TraceRecord[] = [];
    for (let n = from; n < end; n += 1) {
      const at = base + RECORDS + (n & (rings.capacity - 1)) * TRACE_RECORD_WORDS;
      copied.push({
        ring,
        timeMs: times[(at + TIME) >> 1] as number,
        kind: words[at + KIND] as TraceKind,
        task: words[at + TASK] as number,
        run: words[at + RUN] as number,
        handler: words[at + HANDLER] as number,
        a: words[at + A] as number,
        b: words[at + B] as number,
      });
    }
    // The record after WRITTEN may be half overwritten as well: one more than the counter says.
    const now = Atomics.load(words, base + WRITTEN) >>> 0;
    const spoilt = Math.min(Math.max(now + 1 - rings.capacity - from, 0), copied.length);
    records.push(...copied.slice(spoilt));
    dropped.push(from + spoilt);
  }
  return { records, dropped };
}
