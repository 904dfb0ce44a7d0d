/** A machine's counters: the machine writes them by plain stores, and any thread reads them. */
import {
  counterPlaces,
  Counters,
  countersBytes,
  Histogram,
  HISTOGRAM_BYTES,
  type HistogramSummary,
} from "@millrace/metrics";
import type { SearchCounters } from "./processor.ts";

const PLACES = counterPlaces([
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
] as const);
const COUNTER_BYTES: number = countersBytes(PLACES);

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

export class MachineStats {
  readonly #cells: Float64Array;
  readonly #counters: Counters<keyof typeof PLACES>;
  readonly #waiting: Histogram;
  readonly #running: Histogram;
  /** The counts of the machine before this one, from which it counts on. */
  readonly #before: MachineCounts;

  constructor(buffer: SharedArrayBuffer) {
    this.#counters = new Counters(PLACES, buffer);
    this.#cells = this.#counters.cells;
    this.#waiting = new Histogram(buffer, COUNTER_BYTES);
    this.#running = new Histogram(buffer, COUNTER_BYTES + HISTOGRAM_BYTES);
    this.#before = this.#counters.read();
  }

  settled(ok: boolean): void {
    const cell = ok ? PLACES.ok : PLACES.failed;
    this.#cells[cell] = (this.#cells[cell] as number) + 1;
  }

  park(): void {
    this.#add(PLACES.parks, 1);
  }

  wokenForNothing(): void {
    this.#add(PLACES.wakesForNothing, 1);
  }

  missedWakeUp(): void {
    this.#add(PLACES.wakeupsMissed, 1);
  }

  inline(): void {
    this.#add(PLACES.ranInline, 1);
  }

  busyMs(ms: number): void {
    this.#add(PLACES.busyMs, ms);
  }

  depth(entries: number): void {
    this.#cells[PLACES.queueDepth] = entries;
  }

  waitedMicroseconds(us: number): void {
    this.#waiting.record(us);
  }

  ranMicroseconds(us: number): void {
    this.#running.record(us);
  }

  /** Takes over what the search for work has counted. */
  copy(counters: SearchCounters): void {
    this.#cells[PLACES.steals] = this.#before.steals + counters.steals;
    this.#cells[PLACES.stolenTasks] = this.#before.stolenTasks + counters.stolenTasks;
    this.#cells[PLACES.staleEntries] = this.#before.staleEntries + counters.staleEntries;
    this.#cells[PLACES.overflows] = this.#before.overflows + counters.overflows;
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
