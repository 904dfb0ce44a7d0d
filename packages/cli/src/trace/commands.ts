/**
 * `millrace trace record`: runs a program with tracing on and collects the traces of its runtimes.
 * `millrace trace stats`: prints the numbers of a trace.
 *
 * A traced program writes its traces itself: `open()` of the package `millrace` reads
 * MILLRACE_TRACE_DIRECTORY (and the two variables beside it) and writes one file per runtime there.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, parse, resolve } from "node:path";
import { messageOf } from "@millrace/base";
import type { ChromeTrace } from "@millrace/scheduler";
import { TRACE_ENVIRONMENT } from "@millrace/runtime";
import { cliError } from "../errors.ts";
import { EXIT } from "../terminal/exit-codes.ts";
import { Reporter, type ReporterOptions } from "../terminal/reporter.ts";
import { signals } from "../terminal/signals.ts";
import { KEPT_NAME, removeInUse, temporaryDirectory } from "../terminal/temporary.ts";
import { duration, grouped, table } from "../terminal/units.ts";
import { copyTo, mustBeWritable } from "./output.ts";
import { isTrace, type Spread, type TraceStats, traceStats } from "./stats.ts";

export interface TraceRecordOptions extends ReporterOptions {
  readonly out: string;
  /** Records kept per thread. */
  readonly records: number;
  /**
   * Write the trace after this time and end the program. Default: when the program closes its
   * runtime or ends.
   */
  readonly seconds?: number;
}

/** How long a program may take to end after SIGTERM, once its trace is there. */
const END_MS = 10_000;
/** The program decides how it ends; its trace is collected all the same. */
const FORWARDED = ["SIGHUP", "SIGINT", "SIGTERM"] as const;
/** With `--seconds`: how long a program may take at least until it opens a runtime. */
const BEGIN_MS = 10_000;
/** How often the directory is looked at while `--seconds` runs. */
const LOOK_MS = 50;

export async function record(command: readonly string[], options: TraceRecordOptions): Promise<number> {
  const reporter = new Reporter(options);
  mustBeWritable(resolve(options.out));
  const directory = temporaryDirectory("millrace-trace-");
  let isKept = false;
  const remove = (): void => {
    if (!isKept) removeInUse(directory);
  };
  process.once("exit", remove);
  try {
    const ended = await runTraced(command, directory, options);
    const traces = collect(directory, options.out, () => {
      isKept = true;
      writeFileSync(join(directory, KEPT_NAME), "");
    });
    if (traces.length === 0) {
      const failure = cliError("ERR_TRACE_NONE", `${command.join(" ")} wrote no trace (${describe(ended)})`, {
        details: { ...ended },
      });
      if (signals.exitCode === undefined) throw failure;
      reporter.error(failure);
      return signals.exitCode;
    }
    const document = { command, ...ended, traces: traces.map(({ file, trace }) => ({ file, ...traceStats(trace) })) };
    reporter.result(document, () =>
      document.traces.map((trace) => `${trace.file}: open it at ui.perfetto.dev\n${textOf(trace)}`).join("\n\n"),
    );
    return signals.exitCode ?? (ended.exitCode === 0 || ended.wasEnded ? EXIT.ok : EXIT.failure);
  } finally {
    remove();
  }
}

export function stats(file: string, options: ReporterOptions): number {
  const document = { file, ...traceStats(read(file)) };
  new Reporter(options).result(document, () => textOf(document));
  return EXIT.ok;
}

interface Ended {
  readonly exitCode: number | null;
  readonly signal: string | null;
  /** We ended it, because --seconds were over. */
  readonly wasEnded: boolean;
}

function describe({ exitCode, signal, wasEnded }: Ended): string {
  if (wasEnded) return "it opened no runtime in time, and was ended";
  return signal === null ? `exit code ${exitCode}` : signal;
}

function runTraced(command: readonly string[], directory: string, options: TraceRecordOptions): Promise<Ended> {
  const { seconds } = options;
  const child = spawn(command[0] as string, command.slice(1), {
    // With --json our document has stdout for itself; the program's output then goes to stderr.
    stdio: ["inherit", options.json === true ? process.stderr : "inherit", "inherit"],
    env: {
      ...process.env,
      [TRACE_ENVIRONMENT.directory]: directory,
      [TRACE_ENVIRONMENT.records]: String(options.records),
      ...(seconds === undefined ? {} : { [TRACE_ENVIRONMENT.seconds]: String(seconds) }),
    },
  });
  const forward = (signal: NodeJS.Signals): void => void child.kill(signal);
  signals.takeOver();
  for (const signal of FORWARDED) process.on(signal, forward);
  const ender = seconds === undefined ? undefined : endOnceTraced(child, directory, seconds * 1000);
  return new Promise<Ended>((fulfil, reject) => {
    child.once("error", (cause) =>
      reject(cliError("ERR_TRACE_NONE", `${command[0]} could not be started: ${messageOf(cause)}`, { cause })),
    );
    child.once("exit", (exitCode, signal) => fulfil({ exitCode, signal, wasEnded: ender?.hasEnded === true }));
  }).finally(() => {
    for (const signal of FORWARDED) process.off(signal, forward);
    ender?.stop();
  });
}

/**
 * Ends the program with SIGTERM when a trace is there, or when none has begun in time; with SIGKILL
 * when that doesn't help.
 */
function endOnceTraced(
  child: ChildProcess,
  directory: string,
  traceMs: number,
): { readonly hasEnded: boolean; stop(): void } {
  let hasEnded = false;
  let killer: NodeJS.Timeout | undefined;
  const beginUntil = performance.now() + Math.max(BEGIN_MS, traceMs);
  const looker = setInterval(() => {
    const isLate = performance.now() > beginUntil && readdirSync(directory).length === 0;
    if (!isLate && tracesIn(directory).length === 0) return;
    clearInterval(looker);
    hasEnded = true;
    child.kill("SIGTERM");
    killer = setTimeout(() => child.kill("SIGKILL"), END_MS);
  }, LOOK_MS);
  return {
    get hasEnded() {
      return hasEnded;
    },
    stop: () => {
      clearInterval(looker);
      clearTimeout(killer);
    },
  };
}

/** The complete traces; an unfinished one has another ending. */
function tracesIn(directory: string): string[] {
  return readdirSync(directory)
    .filter((name) => name.endsWith(".json"))
    .toSorted();
}

/**
 * Copies the first trace to `out`, and further ones beside it with a number. `keep` is called when
 * that fails: the program may not run once more.
 */
function collect(directory: string, out: string, keep: () => void): { file: string; trace: ChromeTrace }[] {
  return tracesIn(directory).map((name, index) => {
    const { dir, name: stem, ext } = parse(resolve(out));
    const file = index === 0 ? resolve(out) : join(dir, `${stem}.${index + 1}${ext}`);
    copyTo(file, join(directory, name), () => {
      keep();
      return `; the trace stays in ${directory}`;
    });
    return { file, trace: read(file) };
  });
}

/** Throws `ERR_TRACE_FILE`. */
function read(file: string): ChromeTrace {
  let trace: unknown;
  try {
    trace = JSON.parse(readFileSync(file, "utf8"));
  } catch (cause) {
    throw cliError("ERR_TRACE_FILE", `${file} can't be read as a trace: ${messageOf(cause)}`, {
      cause,
      details: { file },
    });
  }
  if (isTrace(trace)) return trace;
  throw cliError("ERR_TRACE_FILE", `${file} is no trace of Millrace`, { details: { file } });
}

function textOf(given: TraceStats): string {
  const us = (spread: Spread | undefined): string =>
    spread === undefined ? "" : [spread.p50, spread.p99, spread.max].map((value) => duration(value / 1000)).join(" / ");
  const head = table([
    ["began", given.beganAt],
    ["duration", duration(given.durationMs)],
    [
      "tasks",
      `${grouped(given.tasks)}, ${grouped(given.failed)} failed, ${grouped(given.cut)} cut off at an end of the trace`,
    ],
    [
      "dropped",
      given.dropped === 0 ? "nothing" : `the oldest ${grouped(given.dropped)} records: begin later or keep more`,
    ],
  ]);
  const handlers = columns(
    ["handler", "tasks", "failed", "waited p50 / p99 / max", "ran", "then async"],
    given.handlers.map((each) => [
      each.handler,
      grouped(each.tasks),
      grouped(each.failed),
      us(each.waitedUs),
      us(each.ranUs),
      us(each.settledUs),
    ]),
  );
  const machines = columns(
    ["machine", "tasks", "busy", "parked", "parks", "timed out", "steals", "stolen", "dropped"],
    // Leave out spare threads that were never started.
    given.machines
      .filter((each) => each.tasks + each.parks + each.dropped > 0)
      .map((each) => [
        String(each.machine),
        grouped(each.tasks),
        `${each.busyPercent} %`,
        `${each.parkedPercent} %`,
        ...[each.parks, each.parksTimedOut, each.steals, each.stolenTasks, each.dropped].map(grouped),
      ]),
  );
  return [head, handlers, machines].join("\n\n");
}

/** A table: the first column aligned left, the others right. */
function columns(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => (row[column] as string).length)),
  );
  const line = (cells: readonly string[]): string =>
    `  ${cells.map((cell, column) => (column === 0 ? cell.padEnd(widths[0] as number) : cell.padStart(widths[column] as number))).join("  ")}`.trimEnd();
  return [line(head), ...rows.map(line)].join("\n");
}
