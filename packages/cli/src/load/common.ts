/** The options, the directories and the latency figures that both load commands use. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Histogram } from "@millrace/metrics";
import type { ReporterOptions } from "../terminal/reporter.ts";
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

/**
 * The directories of a run. `remove` deletes them, except a journal directory that the user has
 * named.
 */
export interface Workplace extends VictimPlace {
  readonly remove: () => void;
}

/** The journal, and beside it, never within it, the ledgers and the socket. */
export function createWorkplace(options: LoadOptions): Workplace {
  const base = mkdtempSync(join(tmpdir(), "millrace-load-"));
  const directory = options.dir ?? join(base, "journal");
  const ledgerDirectory = join(base, "ledgers");
  mkdirSync(ledgerDirectory);
  return {
    directory,
    ledgerDirectory,
    socketPath: join(base, "socket"),
    processors: options.processors,
    verbose: options.verbose === true,
    remove: () => rmSync(base, { recursive: true, force: true }),
  };
}

export interface Latency {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

/** Percentiles in ms of a histogram in µs. */
export function latencyMs(histogram: Histogram): Latency {
  const { p50, p90, p99, p999, max } = histogram.summary();
  return {
    p50: round(p50 / 1000),
    p90: round(p90 / 1000),
    p99: round(p99 / 1000),
    p999: round(p999 / 1000),
    max: round(max / 1000),
  };
}

export function latencyText({ p50, p90, p99, p999, max }: Latency): string {
  return `p50 ${duration(p50)}, p90 ${duration(p90)}, p99 ${duration(p99)}, p99.9 ${duration(p999)}, max ${duration(max)}`;
}
