/** Times of tasks as piscina shows them: in milliseconds, recorded in microseconds. */
import { createHistogram, type RecordableHistogram } from "node:perf_hooks";

export interface PiscinaHistogramSummary {
  average: number;
  mean: number;
  stddev: number;
  min: number;
  max: number;
  p0_001: number;
  p0_01: number;
  p0_1: number;
  p1: number;
  p2_5: number;
  p10: number;
  p25: number;
  p50: number;
  p75: number;
  p90: number;
  p97_5: number;
  p99: number;
  p99_9: number;
  p99_99: number;
  p99_999: number;
}

export interface PiscinaHistogram {
  readonly runTime: PiscinaHistogramSummary;
  readonly waitTime: PiscinaHistogramSummary;
  resetRunTime(): void;
  resetWaitTime(): void;
}

const MICROSECONDS = 1000;

/** A histogram takes whole numbers from 1. */
export function record(histogram: RecordableHistogram, milliseconds: number): void {
  histogram.record(Math.max(1, Math.trunc(milliseconds * MICROSECONDS)));
}

export function summaryOf(histogram: RecordableHistogram): PiscinaHistogramSummary {
  const at = (percentile: number): number => histogram.percentile(percentile) / MICROSECONDS;
  const mean = histogram.mean / MICROSECONDS;
  return {
    average: mean,
    mean,
    stddev: histogram.stddev / MICROSECONDS,
    min: histogram.min / MICROSECONDS,
    max: histogram.max / MICROSECONDS,
    p0_001: at(0.001),
    p0_01: at(0.01),
    p0_1: at(0.1),
    p1: at(1),
    p2_5: at(2.5),
    p10: at(10),
    p25: at(25),
    p50: at(50),
    p75: at(75),
    p90: at(90),
    p97_5: at(97.5),
    p99: at(99),
    p99_9: at(99.9),
    p99_99: at(99.99),
    p99_999: at(99.999),
  };
}

/** The times of a pool's tasks. */
export class Timing {
  readonly #runTime = createHistogram();
  readonly #waitTime = createHistogram();
  /** Milliseconds, of all tasks that have ended since the last reset. */
  #busyMs = 0;

  recordRunTime(milliseconds: number): void {
    this.#busyMs += milliseconds;
    record(this.#runTime, milliseconds);
  }

  recordWaitTime(milliseconds: number): void {
    record(this.#waitTime, milliseconds);
  }

  get busyMs(): number {
    return this.#busyMs;
  }

  get runTime(): PiscinaHistogramSummary {
    return summaryOf(this.#runTime);
  }

  get waitTime(): PiscinaHistogramSummary {
    return summaryOf(this.#waitTime);
  }

  resetRunTime(): void {
    this.#busyMs = 0;
    this.#runTime.reset();
  }

  resetWaitTime(): void {
    this.#waitTime.reset();
  }
}

/** `pool.histogram`: always there; without timing its summaries aren't. */
export function histogramOf(timing: Timing | undefined): PiscinaHistogram {
  return {
    get runTime(): PiscinaHistogramSummary {
      return timing?.runTime as PiscinaHistogramSummary;
    },
    get waitTime(): PiscinaHistogramSummary {
      return timing?.waitTime as PiscinaHistogramSummary;
    },
    resetRunTime(): void {
      timing?.resetRunTime();
    },
    resetWaitTime(): void {
      timing?.resetWaitTime();
    },
  };
}
