/** The options, the directories and the latency figures that both load commands use. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Histogram } from "@millrace/metrics";
import type { ReporterOptions } from "../terminal/reporter.ts";
import { removeInUse } from "../terminal/temporary.ts";
import { duration, round } from "../terminal/units.ts";
import type { VictimPlace } from "./victim.ts";

export interface LoadOptions extends ReporterOptions {
  readonly seconds: number;
  readonly rate: number;
  readonly size: number;
  readonly processors: number;
  readonly seed: number;
  readonly dir?: string | undefined;
}

/** The directories of a run. */
export interface Workplace extends VictimPlace {
  /** Deletes what the run has made; a journal directory that the user has named stays. */
  readonly remove: () => void;
  /** Leaves everything in place, also when the process ends. */
  readonly keep: () => void;
}

const PREFIX = "millrace-load-";
/** Marks a directory that a run has kept for a closer look. */
const KEPT_NAME = "kept";

/**
 * The journal, and beside it, never within it, the ledgers and the socket. All goes with the
 * process.
 */
export function createWorkplace(options: LoadOptions): Workplace {
  removeLeftovers();
  const base = mkdtempSync(join(tmpdir(), `${PREFIX}${process.pid}-`));
  const ledgerDirectory = join(base, "ledgers");
  mkdirSync(ledgerDirectory);
  const remove = (): void => removeInUse(base);
  process.once("exit", remove);
  return {
    directory: options.dir ?? join(base, "journal"),
    base,
    ledgerDirectory,
    socketPath: join(base, "socket"),
    processors: options.processors,
    verbose: options.verbose === true,
    remove,
    keep: () => {
      process.off("exit", remove);
      writeFileSync(join(base, KEPT_NAME), "");
    },
  };
}

/** Removes the directories of runs that were killed together with their victims. */
function removeLeftovers(): void {
  for (const name of readdirSync(tmpdir())) {
    const pid = name.startsWith(PREFIX) ? /^(\d+)-/.exec(name.slice(PREFIX.length))?.[1] : undefined;
    const path = join(tmpdir(), name);
    if (pid === undefined || isAlive(Number(pid)) || existsSync(join(path, KEPT_NAME))) continue;
    try {
      rmSync(path, { recursive: true, force: true });
    } catch {
      // Another user's.
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (thrown) {
    // Another user's process can't be asked.
    return (thrown as NodeJS.ErrnoException).code !== "ESRCH";
  }
}

export interface Latency {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

/** Percentiles in ms of a histogram in µs; null when it is empty. */
export function latencyMs(histogram: Histogram): Latency | null {
  const { count, p50, p90, p99, p999, max } = histogram.summary();
  if (count === 0) return null;
  return {
    p50: round(p50 / 1000),
    p90: round(p90 / 1000),
    p99: round(p99 / 1000),
    p999: round(p999 / 1000),
    max: round(max / 1000),
  };
}

export function latencyText(latency: Latency | null): string {
  if (latency === null) return "none";
  const { p50, p90, p99, p999, max } = latency;
  return `p50 ${duration(p50)}, p90 ${duration(p90)}, p99 ${duration(p99)}, p99.9 ${duration(p999)}, max ${duration(max)}`;
}

/** Printed when a signal ends a run early. */
export const STOPPING = "stopping: waiting for what is under way; once more to stop at once";
export const STOPPED: unique symbol = Symbol("stopped");

/** The promise's result, or STOPPED when the signal comes first. */
export async function untilStopped<T>(promise: Promise<T>, stop: AbortSignal): Promise<T | typeof STOPPED> {
  promise.catch(() => {});
  if (stop.aborted) return STOPPED;
  let abort: (() => void) | undefined;
  const stopped = new Promise<typeof STOPPED>((resolve) => {
    abort = () => resolve(STOPPED);
    stop.addEventListener("abort", abort, { once: true });
  });
  try {
    return await Promise.race([promise, stopped]);
  } finally {
    stop.removeEventListener("abort", abort as () => void);
  }
}
