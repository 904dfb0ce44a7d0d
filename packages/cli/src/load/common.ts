/** The options, the directories and the latency figures that both load commands use. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Histogram } from "@millrace/metrics";
import { cliError } from "../errors.ts";
import type { ReporterOptions } from "../terminal/reporter.ts";
import { KEPT_NAME, removeInUse, temporaryDirectory } from "../terminal/temporary.ts";
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
/** What the address of a Unix socket holds, on macOS; on Linux it is four more. */
const ADDRESS_BYTES_MAX = 103;

/**
 * The journal, and beside it, never within it, the ledgers and the socket. All goes with the
 * process.
 */
export function createWorkplace(options: LoadOptions): Workplace {
  const base = temporaryDirectory(PREFIX);
  const remove = (): void => removeInUse(base);
  process.once("exit", remove);
  const socketPath = join(base, "socket");
  // Node would cut it off, and listen elsewhere.
  if (Buffer.byteLength(socketPath) > ADDRESS_BYTES_MAX) {
    throw cliError("ERR_CLI_TEMPORARY", `no socket can have a path as long as ${socketPath}`, {
      details: { directory: base },
    });
  }
  const ledgerDirectory = join(base, "ledgers");
  mkdirSync(ledgerDirectory);
  return {
    directory: options.dir ?? join(base, "journal"),
    base,
    ledgerDirectory,
    socketPath,
    processors: options.processors,
    verbose: options.verbose === true,
    remove,
    keep: () => {
      process.off("exit", remove);
      writeFileSync(join(base, KEPT_NAME), "");
    },
  };
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
