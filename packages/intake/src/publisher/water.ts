/**
 * How full the intake is: its ring, its unfinished records, its disk. Whether it takes more, and
 * how fast it drains.
 *
 * What is unfinished is known exactly although two threads count: the opener counts what it has put
 * into its ring (`offered`), and delivery says in one word how many unfinished records there are
 * less those that it has taken out of that ring. Their sum counts each record once, wherever it is
 * at the moment. All three are numbers modulo 2^32.
 *
 * Records that wait for their time or for a handler that is stopped don't become fewer by waiting
 * for others. They don't count for the level, or else what can't run would hold up what can. They
 * count for publishes to stopped handlers: these have the same marks for all unfinished records.
 */
import { performance } from "@millrace/base";
import { Rate } from "./rate.ts";
import { graver, type Level, type Marks, WaterLevel } from "./water-level.ts";

export type { Level } from "./water-level.ts";

/**
 * The parts that may be too full. "unfinished": unfinished records, without those that wait for a
 * time or a stopped handler. "stopped": with them, for publishes to handlers that are stopped.
 */
export type LevelCause = "ring" | "unfinished" | "disk" | "stopped";

/** One thing that is measured. */
export interface Gauge {
  readonly cause: LevelCause;
  /** "bytesFree" counts downwards: the marks are then least amounts. */
  readonly unit: "records" | "bytes" | "bytesFree";
  readonly level: Level;
  readonly used: number;
  /** From here on nothing is taken. */
  readonly high: number;
  /** Down to here nothing is taken then. */
  readonly low: number;
}

/** The level has changed, or is as it is. */
export interface LevelReport {
  readonly level: Level;
  /** The fullest part; never "stopped", which the errors of refused publishes may say. */
  readonly cause: LevelCause;
  /** Records per second that drain now: a rate at which the level doesn't rise. */
  readonly ratePerSecond: number;
  /** After this time the intake may take more, at that rate; 0 unless the level is "reject". */
  readonly retryAfterMs: number;
  readonly gauges: readonly Gauge[];
  /**
   * Handlers that take no record at any level: they are paused, rest, or wait for the disk, and too
   * many records are unfinished.
   */
  readonly refusedHandlers: readonly string[];
}

/** The measured amounts. */
export interface Measures {
  /** Records published and not known to be durable. */
  underWay(): number;
  /** Bytes of the publish ring, and how many there are. */
  ringBytes(): number;
  readonly ringBytesMax: number;
  /** Unfinished records less those taken out of the opener's ring; modulo 2^32. */
  balance(): number;
  /** As `balance`, without those that wait for something else than the end of others. */
  runnableBalance(): number;
  freeBytes(): number;
}

export interface WaterMarks {
  readonly ring: Marks | undefined;
  readonly unfinished: Marks | undefined;
  readonly disk: Marks | undefined;
}

interface Measured {
  readonly cause: LevelCause;
  readonly unit: Gauge["unit"];
  readonly water: WaterLevel;
  readonly measure: () => number;
}

const NOBODY: ReadonlySet<string> = new Set();
const RETRY_MS_MIN = 10;
const RETRY_MS_MAX = 60_000;
/** When nothing drains, nobody knows. */
const RETRY_MS_UNKNOWN = 1000;

export class Water {
  readonly #measures: Measures;
  readonly #onChange: (report: LevelReport) => void;
  readonly #all: Measured[];
  /** Those that a single publish may bring to their mark. */
  readonly #counted: Measured[];
  readonly #unfinished: WaterLevel | undefined;
  /** All unfinished records, for stopped handlers. */
  readonly #backlog: WaterLevel | undefined;
  /** Handlers that get no record now, however many of those in hand end. */
  stopped: ReadonlySet<string> = new Set();
  readonly #ring: Measured;
  readonly #finishing = new Rate();
  readonly #storing = new Rate();
  /** Records that were put into the ring and weren't refused. */
  #offered = 0;
  /** Records that were stored, without the modulo; as of the last look. */
  #storedTotal = 0;
  #storedAtLook = 0;
  level: Level = "ok";

  constructor(marks: WaterMarks, measures: Measures, onChange: (report: LevelReport) => void) {
    this.#measures = measures;
    this.#onChange = onChange;
    const { ringBytesMax } = measures;
    const ofRing = { high: ringBytesMax, low: ringBytesMax / 2, calm: ringBytesMax / 4 };
    const gauge = (cause: LevelCause, unit: Gauge["unit"], own: Marks, measure: () => number): Measured => {
      return { cause, unit, water: new WaterLevel(own), measure };
    };
    this.#ring = gauge("ring", "bytes", ofRing, () => measures.ringBytes());
    this.#counted = [];
    if (marks.ring !== undefined) this.#counted.push(gauge("ring", "records", marks.ring, () => measures.underWay()));
    if (marks.unfinished !== undefined) {
      const unfinished = gauge("unfinished", "records", marks.unfinished, () => this.#runnable);
      this.#backlog = new WaterLevel(marks.unfinished);
      this.#unfinished = unfinished.water;
      this.#counted.push(unfinished);
    }
    this.#all = [this.#ring, ...this.#counted];
    if (marks.disk !== undefined) this.#all.push(gauge("disk", "bytesFree", marks.disk, () => -measures.freeBytes()));
  }

  /** Records that were published, here or elsewhere, and aren't finished. */
  get unfinished(): number {
    return (this.#offered + this.#measures.balance()) | 0;
  }

  /** Of those, the ones that don't wait for a time or a stopped handler. */
  get #runnable(): number {
    return (this.#offered + this.#measures.runnableBalance()) | 0;
  }

  /**
   * While too many of them are unfinished: the runnable balance at which they are few enough again.
   */
  get awaitedBalance(): number | undefined {
    if (this.#unfinished?.level !== "reject") return undefined;
    return (this.#unfinished.marks.low - this.#offered) | 0;
  }

  /** Whether the next record may be put into the ring. */
  isOpen(): boolean {
    if (this.level === "reject") this.look();
    else if (this.#counted.length > 0) this.#lookAt(this.#counted);
    return this.level !== "reject";
  }

  /** As `isOpen`, for a record of a stopped handler. */
  isOpenForStopped(): boolean {
    return this.#backlog?.update(this.unfinished) !== "reject" && this.isOpen();
  }

  /** Those that take nothing because they are stopped; as of the last look. */
  get refusedHandlers(): ReadonlySet<string> {
    return this.#backlog?.level === "reject" ? this.stopped : NOBODY;
  }

  /** `count` records were put into the ring. */
  offered(count: number): void {
    this.#offered = (this.#offered + count) | 0;
  }

  /** They aren't stored. */
  refused(count: number): void {
    this.offered(-count);
  }

  /** The ring has no room for the next record. */
  ringIsFull(): void {
    this.#ring.water.update(Math.max(this.#measures.ringBytesMax, this.#measures.ringBytes()));
    this.#settle();
  }

  /** Records that publishing has stored, duplicates among them; as of the last look. */
  get stored(): number {
    return this.#storedTotal;
  }

  /** Measures everything. */
  look(): void {
    this.#backlog?.update(this.unfinished);
    this.#lookAt(this.#all);
    const now = performance.now();
    this.#finishing.sample(now, this.#finished());
    const stored = this.#stored();
    this.#storing.sample(now, stored);
    this.#storedTotal += (stored - this.#storedAtLook) | 0;
    this.#storedAtLook = stored;
  }

  report(): LevelReport {
    this.look();
    return this.#report();
  }

  /** Why a stopped handler takes nothing. */
  stoppedReport(): LevelReport {
    const report = this.report();
    if (this.#backlog?.level !== "reject") return report;
    return { ...report, level: "reject", cause: "stopped", retryAfterMs: RETRY_MS_UNKNOWN };
  }

  #lookAt(measured: readonly Measured[]): void {
    for (const { water, measure } of measured) water.update(measure());
    this.#settle();
  }

  #settle(): void {
    let level: Level = "ok";
    for (const { water } of this.#all) level = graver(level, water.level);
    if (level === this.level) return;
    this.level = level;
    this.#onChange(this.#report());
  }

  /** Modulo 2^32, as numbers that grow. */
  #finished(): number {
    return -this.#measures.balance();
  }

  #stored(): number {
    return this.#offered - this.#measures.underWay();
  }

  #report(): LevelReport {
    const fullest = this.#fullest();
    const now = performance.now();
    const isStoring = fullest.cause === "ring";
    const ratePerSecond = isStoring
      ? this.#storing.perSecond(now, this.#stored())
      : this.#finishing.perSecond(now, this.#finished());
    return {
      level: this.level,
      cause: fullest.cause,
      ratePerSecond: Math.round(ratePerSecond),
      retryAfterMs: this.level === "reject" ? retryAfterMs(fullest, ratePerSecond) : 0,
      gauges: this.#gauges(),
      refusedHandlers: [...this.refusedHandlers],
    };
  }

  #gauges(): Gauge[] {
    const gauges = this.#all.map(({ cause, unit, water }) => gaugeOf(cause, unit, water));
    if (this.#backlog !== undefined) gauges.push(gaugeOf("stopped", "records", this.#backlog));
    return gauges;
  }

  /** The gravest level; among equals the fullest part. */
  #fullest(): Measured {
    let fullest = this.#ring;
    for (const each of this.#all) {
      if (graver(each.water.level, fullest.water.level) !== each.water.level) continue;
      if (each.water.level !== fullest.water.level || shareOf(each) > shareOf(fullest)) fullest = each;
    }
    return fullest;
  }
}

function gaugeOf(cause: LevelCause, unit: Gauge["unit"], { level, used, marks }: WaterLevel): Gauge {
  const sign = unit === "bytesFree" ? -1 : 1;
  return { cause, unit, level, used: used * sign, high: marks.high * sign, low: marks.low * sign };
}

function shareOf({ water }: Measured): number {
  const { used, marks } = water;
  return (used - marks.calm) / (marks.high - marks.calm);
}

function retryAfterMs({ unit, water }: Measured, ratePerSecond: number): number {
  if (unit !== "records" || ratePerSecond <= 0) return RETRY_MS_UNKNOWN;
  const ms = Math.ceil(((water.used - water.marks.low) * 1000) / ratePerSecond);
  return Math.min(RETRY_MS_MAX, Math.max(RETRY_MS_MIN, ms));
}
