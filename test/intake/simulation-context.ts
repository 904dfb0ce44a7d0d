/**
 * Shared by all parts of a simulation: the seed and its decisions, the dice, the clock, the disk,
 * the counts, and the way to report a broken promise.
 */
import { type Random, seededRandom } from "@millrace/base";
import { SimClock } from "./simulation-clock.ts";
import { type Conditions, conditionsOf } from "./simulation-conditions.ts";
import { SimDisk } from "./simulation-disk.ts";

/** A promise is broken. */
class Broken extends Error {}

const COUNTS = [
  "crashes",
  "runs",
  "records",
  "checkpoints",
  "truncations",
  "checkpointsLost",
  "redriven",
  "closes",
  "quarantined",
  /** Processes that records have ended. */
  "kills",
  "scheduled",
  "steps",
] as const;

type SimulationCounts = Record<(typeof COUNTS)[number], number>;

export function noCounts(): SimulationCounts {
  return Object.fromEntries(COUNTS.map((name) => [name, 0])) as SimulationCounts;
}

export class SimContext {
  readonly seed: number;
  readonly conditions: Conditions;
  readonly random: Random;
  readonly clock: SimClock;
  readonly disk: SimDisk;
  readonly counts: SimulationCounts = noCounts();

  constructor(seed: number) {
    this.seed = seed;
    this.conditions = conditionsOf(seed);
    this.random = seededRandom(seed);
    const clock = new SimClock(this.random, this.conditions.isClockSet);
    this.clock = clock;
    this.disk = new SimDisk(() => ({ wallMs: clock.wall(), atMs: clock.now() }));
  }

  trace(what: string): void {
    if (process.env["MILLRACE_INTAKE_TRACE"] !== undefined) console.log(`${this.counts.steps}: ${what}`);
  }

  broken(what: string): never {
    throw new Broken(`seed ${this.seed}, step ${this.counts.steps}: ${what}`);
  }
}
