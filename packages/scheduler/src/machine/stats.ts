/** What a machine counts: written by the machine by plain stores, read by anyone. */
import { Counters, Histogram, HISTOGRAM_BYTES, type HistogramSummary } from "@millrace/metrics";
import type { SearchCounters } from "./processor.ts";

const NAMES = [
  "ok",
  "failed",
  "parks",
  "wakesForNothing",
  "steals",
  "stolenTasks",
  "staleEntries",
  "overflows",
  "ranInline",
  "wakeupsMissed",
  "busyMs",
  "queueDepth",
] as const;
const COUNTER_BYTES: number = Math.ceil((NAMES.length * Float64Array.BYTES_PER_ELEMENT) / 128) * 128;

export const MACHINE_STATS_BYTES: number = COUNTER_BYTES + 2 * HISTOGRAM_BYTES;

/** Counts since the machine's first start. */
export interface MachineCounts {
  /** Tasks that returned, and that threw. */
  readonly ok: number;
  readonly failed: number;
  /** How often it slept, and how often it was woken and found nothing to do. */
  readonly parks: number;
  readonly wakesForNothing: number;
  /** How often it took tasks from another processor, and how many. */
  readonly steals: number;
  readonly stolenTasks: number;
  /** Queue entries whose task another machine had taken, or was over. */
  readonly staleEntries: number;
  /** How often a run queue had no room. */
  readonly overflows: number;
  /** Tasks of its own handlers that it ran for want of a slot. */
  readonly ranInline: number;
  /**
   * How often it slept in its event loop beside work for which nobody had woken it; 0 in a correct
   * scheduler.
   */
  readonly wakeupsMissed: number;
  /** Time spent in stretches of tasks. */
  readonly busyMs: number;
  /** Entries in its processor's queue when it last looked. */
  readonly queueDepth: number;
}

const INDEX = Object.fromEntries(NAMES.map((name, index) => [name, index])) as Record<(typeof NAMES)[number], number>;

export class MachineStats {
  readonly #cells: Float64Array;
  readonly #counters: Counters<(typeof NAMES)[number]>;
  readonly #waiting: Histogram;
  readonly #running: Histogram;
  readonly #base: number[];

  constructor(buffer: SharedArrayBuffer) {
    this.#cells = new Float64Array(buffer, 0, NAMES.length);
    this.#counters = new Counters(NAMES, buffer);
    this.#waiting = new Histogram(buffer, COUNTER_BYTES);
    this.#running = new Histogram(buffer, COUNTER_BYTES + HISTOGRAM_BYTES);
    // A machine that was replaced goes on counting where the one before it ended.
    this.#base = [];
    for (let index = 0; index < NAMES.length; index += 1) this.#base.push(this.#cells[index] as number);
  }

  settled(ok: boolean): void {
    const cell = ok ? INDEX.ok : INDEX.failed;
    this.#cells[cell] = (this.#cells[cell] as number) + 1;
  }

  park(): void {
    this.#add(INDEX.parks, 1);
  }

  wokenForNothing(): void {
    this.#add(INDEX.wakesForNothing, 1);
  }

  missedWakeUp(): void {
    this.#add(INDEX.wakeupsMissed, 1);
  }

  inline(): void {
    this.#add(INDEX.ranInline, 1);
  }

  busyMs(ms: number): void {
    this.#add(INDEX.busyMs, ms);
  }

  depth(entries: number): void {
    this.#cells[INDEX.queueDepth] = entries;
  }

  waitedMicroseconds(us: number): void {
    this.#waiting.record(us);
  }

  ranMicroseconds(us: number): void {
    this.#running.record(us);
  }

  /** Takes over what the search for work has counted. */
  copy(counters: SearchCounters): void {
    this.#cells[INDEX.steals] = (this.#base[INDEX.steals] as number) + counters.steals;
    this.#cells[INDEX.stolenTasks] = (this.#base[INDEX.stolenTasks] as number) + counters.stolenTasks;
    this.#cells[INDEX.staleEntries] = (this.#base[INDEX.staleEntries] as number) + counters.staleEntries;
    this.#cells[INDEX.overflows] = (this.#base[INDEX.overflows] as number) + counters.overflows;
  }

  read(): MachineCounts {
    return this.#counters.read();
  }

  /** µs from submission to start, of one task in 64. */
  get waiting(): Histogram {
    return this.#waiting;
  }

  /** µs from start to the handler's return, of the same tasks. */
  get running(): Histogram {
    return this.#running;
  }

  #add(cell: number, amount: number): void {
    this.#cells[cell] = (this.#cells[cell] as number) + amount;
  }
}

export type { HistogramSummary };
