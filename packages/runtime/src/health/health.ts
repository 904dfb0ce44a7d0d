/**
 * Whether a runtime works, and every reason for doubt.
 *
 * A look costs some loads from shared memory. Slow things are measured beforehand: free space, by a
 * call of the system that may hang with the disk and that nobody waits for; and the delay of this
 * thread's event loop.
 */
import { statfs } from "node:fs/promises";
import { type IntervalHistogram, monitorEventLoopDelay } from "node:perf_hooks";
import { baseError, clearInterval, integer, performance, resolveOptions, type Rule, setInterval } from "@millrace/base";
import type { IntakeVitals } from "@millrace/intake";

export const HEALTH_CODES = [
  "CLOSING",
  "THREADS_DEAD",
  "DELIVERY_DEAD",
  "JOURNAL_POISONED",
  "DIRECTORY_GONE",
  "DISK_STUCK",
  "DISK_SLOW",
  "DISK_FULL",
  "DISK_ROOM_LOW",
  "KEEPER_DEAD",
  "JOURNAL_DAMAGED",
  "LEVEL_REJECT",
  "LEVEL_SLOW",
  "HANDLERS_FULL",
  "BACKLOG_OLD",
  "DEAD_LETTERS",
  "HANDLER_MISSING",
  "EVENT_LOOP_DELAY",
] as const;

export type HealthCode = (typeof HEALTH_CODES)[number];

export interface HealthReason {
  readonly code: HealthCode;
  /** "down": no record is taken, or none is handled. */
  readonly status: "degraded" | "down";
  /** For people. */
  readonly text: string;
  /** The figures in it. */
  readonly details: Readonly<Record<string, number | string>>;
}

export interface MillraceHealth {
  /** The worst of the reasons; "ok" without any. */
  readonly status: "ok" | "degraded" | "down";
  readonly reasons: readonly HealthReason[];
}

/** From when on something counts. */
export interface HealthOptions {
  /**
   * `DISK_SLOW` and `DISK_STUCK`: a write to the disk has not returned for this long, ms. Default 1
   * s and 10 s.
   */
  readonly diskSlowMs?: number;
  readonly diskStuckMs?: number;
  /**
   * `DISK_ROOM_LOW`: the disk has less room. Default 128 MiB, two segments of the largest default
   * size: what the journal needs next.
   */
  readonly freeBytesMin?: number;
  /**
   * `BACKLOG_OLD`: a record has waited this long for its turn, ms, although its handler can run.
   * Default 60 s.
   */
  readonly backlogMs?: number;
  /** `EVENT_LOOP_DELAY`: a timer of the opening thread came this much too late, ms. Default 1 s. */
  readonly eventLoopDelayMs?: number;
}

const OWNER = "open({ health })";
const DAY_MS = 86_400_000;
/** Of the histogram of delays: fine enough for the least limit, and no load. */
const DELAY_RESOLUTION_MS = 50;

const rules: { readonly [Name in keyof HealthOptions]-?: Rule<number> } = {
  diskSlowMs: integer(1, DAY_MS, 1000),
  diskStuckMs: integer(1, DAY_MS, 10_000),
  freeBytesMin: integer(0, Number.MAX_SAFE_INTEGER, 128 * 2 ** 20),
  backlogMs: integer(1, 366 * DAY_MS, 60_000),
  eventLoopDelayMs: integer(2 * DELAY_RESOLUTION_MS, DAY_MS, 1000),
};

export type HealthLimits = Required<HealthOptions>;

/** Throws `ERR_INVALID_OPTION`. */
export function healthOptions(given: HealthOptions | undefined): HealthLimits {
  const limits = resolveOptions(OWNER, rules, given);
  if (limits.diskSlowMs <= limits.diskStuckMs) return limits;
  const { diskSlowMs: value, diskStuckMs } = limits;
  throw baseError("ERR_INVALID_OPTION", `${OWNER}: diskSlowMs (${value}) is above diskStuckMs (${diskStuckMs})`, {
    details: { owner: OWNER, name: "diskSlowMs", value, allowed: `at most ${diskStuckMs}` },
  });
}

const SAMPLE_MS = 1000;
/** Delays are forgotten after this many samples. */
const DELAY_SAMPLES = 10;
export interface HealthSources {
  /** Number of worker threads that run. */
  threads(): number;
  isClosing(): boolean;
  /** Undefined without a journal. */
  readonly directory: string | undefined;
  vitals(): IntakeVitals | undefined;
}

export class Health {
  readonly #sources: HealthSources;
  readonly #limits: HealthLimits;
  readonly #delay: IntervalHistogram = monitorEventLoopDelay({ resolution: DELAY_RESOLUTION_MS });
  readonly #timer: NodeJS.Timeout;
  #samples = 0;
  #freeBytes = Infinity;
  #isAsking = false;

  constructor(sources: HealthSources, limits: HealthLimits) {
    this.#sources = sources;
    this.#limits = limits;
    this.#delay.enable();
    this.#timer = setInterval(() => this.#sample(), SAMPLE_MS).unref();
    this.#sample();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#delay.disable();
  }

  /** Of the journal's disk; Infinity when nobody knows. */
  get freeBytes(): number {
    return this.#freeBytes;
  }

  /** The longest of the last ten seconds. */
  get eventLoopDelayMs(): number {
    return this.#delay.max / 1e6;
  }

  /** Never throws. */
  now(): MillraceHealth {
    const reasons: HealthReason[] = [];
    const add: Add = (status, code, text, details = {}) => reasons.push({ code, status, text, details });
    if (this.#sources.isClosing()) add("down", "CLOSING", "the runtime closes, or is closed");
    else {
      if (this.#sources.threads() === 0) add("down", "THREADS_DEAD", "no worker thread runs");
      const vitals = this.#sources.vitals();
      if (vitals !== undefined) {
        journalReasons(vitals, this.#limits, add);
        this.#roomReason(vitals, add);
        intakeReasons(vitals, this.#limits, add);
      }
      this.#delayReason(add);
    }
    const isDown = reasons.some(({ status }) => status === "down");
    return { status: isDown ? "down" : reasons.length > 0 ? "degraded" : "ok", reasons };
  }

  #sample(): void {
    this.#samples += 1;
    if (this.#samples % DELAY_SAMPLES === 0) this.#delay.reset();
    const { directory } = this.#sources;
    if (directory !== undefined && !this.#isAsking) void this.#ask(directory);
  }

  /** One question at a time: with a disk that hangs, the next one would hang as well. */
  async #ask(directory: string): Promise<void> {
    this.#isAsking = true;
    try {
      const { bavail, bsize } = await statfs(directory);
      this.#freeBytes = bavail * bsize;
    } catch {
      // A directory that is gone, or in memory: the journal itself says so.
      this.#freeBytes = Infinity;
    }
    this.#isAsking = false;
  }

  #roomReason({ journal }: IntakeVitals, add: Add): void {
    const freeBytes = this.#freeBytes;
    const { freeBytesMin } = this.#limits;
    if (freeBytes >= freeBytesMin || journal.isDiskFull) return;
    add("degraded", "DISK_ROOM_LOW", `the disk has ${freeBytes} bytes left`, { freeBytes, freeBytesMin });
  }

  #delayReason(add: Add): void {
    const delayMs = Math.round(this.eventLoopDelayMs);
    if (delayMs >= this.#limits.eventLoopDelayMs) {
      add("degraded", "EVENT_LOOP_DELAY", `a timer of this thread came ${delayMs} ms too late`, { delayMs });
    }
  }
}

type Add = (
  status: HealthReason["status"],
  code: HealthCode,
  text: string,
  details?: Readonly<Record<string, number | string>>,
) => void;

function journalReasons({ journal }: IntakeVitals, { diskSlowMs, diskStuckMs }: HealthLimits, add: Add): void {
  const { state, failure, syncRunningMs, damaged } = journal;
  const ms = Math.round(syncRunningMs);
  if (state === "poisoned" && failure !== undefined) {
    const { step, errno = "" } = failure;
    const isGone = errno === "ENOENT" && step === "looking for the segment";
    const text = isGone ? "the journal's directory was removed, moved or replaced" : "the journal has stopped";
    add("down", isGone ? "DIRECTORY_GONE" : "JOURNAL_POISONED", `${text}: ${step} ${errno}`.trim(), { step, errno });
  }
  if (ms >= diskStuckMs) add("down", "DISK_STUCK", `a write to the disk has not returned for ${ms} ms`, { ms });
  else if (ms >= diskSlowMs) add("degraded", "DISK_SLOW", `a write to the disk has taken ${ms} ms so far`, { ms });
  if (journal.isDiskFull) add("down", "DISK_FULL", "the disk has no room for the next segment");
  if (state === "open" && !journal.isKeeperRunning) {
    add("degraded", "KEEPER_DEAD", "the thread that prepares segments has ended, and is started again");
  }
  if (damaged > 0) add("degraded", "JOURNAL_DAMAGED", `${damaged} places of the log can't be read`, { damaged });
}

function intakeReasons(vitals: IntakeVitals, { backlogMs }: HealthLimits, add: Add): void {
  const { isDeliveryRunning, level, refusedHandlers, oldestMs, deadLetters, unroutable } = vitals;
  if (!isDeliveryRunning) add("down", "DELIVERY_DEAD", "the delivery thread has ended");
  if (level === "reject") add("down", "LEVEL_REJECT", "the intake is full: publishes wait or are refused");
  if (level === "slow") add("degraded", "LEVEL_SLOW", "the intake fills");
  if (refusedHandlers.length > 0) {
    const handlers = refusedHandlers.join(", ");
    add("degraded", "HANDLERS_FULL", `too many records wait for handlers that are stopped: ${handlers}`, { handlers });
  }
  const ageMs = oldestMs === 0 ? 0 : Math.round(performance.timeOrigin + performance.now() - oldestMs);
  if (ageMs >= backlogMs) {
    add("degraded", "BACKLOG_OLD", `the oldest record has waited ${ageMs} ms for its turn`, { ageMs });
  }
  if (deadLetters > 0)
    add("degraded", "DEAD_LETTERS", `${deadLetters} ${deadLetters === 1 ? "record is" : "records are"} dead`, {
      deadLetters,
    });
  if (unroutable > 0) {
    add(
      "degraded",
      "HANDLER_MISSING",
      `${unroutable} ${unroutable === 1 ? "record waits" : "records wait"} for handlers that aren't there`,
      { unroutable },
    );
  }
}
