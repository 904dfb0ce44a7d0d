/** The report of `ingest` at its end: the document of --json, and the same for people. */
import type { StopSignal } from "../terminal/signals.ts";
import { amount, duration, grouped, table } from "../terminal/units.ts";
import type { DeadReason } from "./dead.ts";
import type { Counts } from "./feed.ts";

export interface SourceReport extends Counts {
  readonly source: string;
  readonly format: string;
  readonly encoding: string;
  readonly compression?: string | undefined;
  /** Of CSV. */
  readonly delimiter?: string;
}

export interface IngestReport extends Counts {
  /** With one source: its name and format. */
  readonly source?: string;
  readonly format?: string;
  readonly sources: readonly SourceReport[];
  /** Why parts of the input are malformed; the first few, and how many more. */
  readonly mistakes: readonly Mistakes[];
  /** Records that this run has handled, with those that an earlier run had left. */
  readonly handled: number;
  readonly retried: number;
  /** Records of these sources that died during this run, and all of them that are dead. */
  readonly dead: number;
  readonly deadKept: number;
  /** Records that wait for their next attempt, longer than the run does. */
  readonly waiting: number;
  /** Records that wait for a handler that isn't there, or is paused. */
  readonly unhandled: number;
  readonly recovered: number;
  readonly deadReasons: readonly DeadReason[];
  readonly interrupted: boolean;
  readonly signal?: StopSignal;
  readonly durationMs: number;
  readonly recordsPerSecond: number;
}

/** Malformed parts with the same problem. */
export interface Mistakes {
  readonly problem: string;
  readonly count: number;
  readonly lines: readonly number[];
}

/** The figures of several sources together. */
export function sumOf(all: readonly Counts[]): Counts {
  const sum = (name: keyof Counts): number => all.reduce((total, each) => total + each[name], 0);
  return {
    records: sum("records"),
    malformed: sum("malformed"),
    skippedBytes: sum("skippedBytes"),
    skippedLines: sum("skippedLines"),
    alreadyStored: sum("alreadyStored"),
    published: sum("published"),
    acknowledged: sum("acknowledged"),
  };
}

export function textOf(report: IngestReport): string {
  const malformed =
    report.malformed === 0
      ? "0"
      : `${grouped(report.malformed)} (${amount(report.skippedLines, "line")}, ${amount(report.skippedBytes, "byte")} passed over)`;
  return table([
    ...report.sources.map((each) => ["source", describe(each)] as const),
    ["records", grouped(report.records)],
    ["malformed", malformed],
    ["already stored", grouped(report.alreadyStored)],
    ["published", grouped(report.published)],
    ["acknowledged", grouped(report.acknowledged)],
    ["handled", grouped(report.handled)],
    ["dead", grouped(report.deadKept)],
    ["waiting for an attempt", grouped(report.waiting)],
    ["waiting for a handler", grouped(report.unhandled)],
    ["records per second", grouped(report.recordsPerSecond)],
    ["duration", duration(report.durationMs)],
  ]);
}

function describe({ source, format, compression, encoding, delimiter }: SourceReport): string {
  const parts = [format, compression, encoding === "utf-8" ? undefined : encoding];
  if (delimiter !== undefined && delimiter !== ",") parts.push(`delimiter ${JSON.stringify(delimiter)}`);
  return `${source} (${parts.filter((part) => part !== undefined).join(", ")})`;
}

/**
 * Reasons why the run failed although nothing was thrown, in the order in which they are printed.
 */
export function complaints(report: IngestReport): string[] {
  const texts: string[] = [];
  if (report.unhandled > 0) {
    texts.push(
      `${amount(report.unhandled, "record waits", "records wait")}: the module has no handler for them, or it is paused`,
    );
  }
  if (report.waiting > 0) {
    const records = amount(report.waiting, "record waits for its", "records wait for their");
    texts.push(`${records} next attempt; the same command goes on with ${report.waiting === 1 ? "it" : "them"}`);
  }
  if (report.deadKept > 0) {
    const earlier = report.deadKept - report.dead;
    const since = earlier > 0 ? `, ${grouped(earlier)} of them since an earlier run` : "";
    texts.push(
      `${amount(report.deadKept, "record is", "records are")} dead${since}; --redrive tries ${report.deadKept === 1 ? "it" : "them"} again`,
    );
    for (const { error, count, lines } of report.deadReasons) texts.push(`  ${counted(error, count, lines)}`);
  }
  if (report.malformed > 0 && report.records === 0) texts.push("no record could be read: is it the right format?");
  return texts;
}

function counted(what: string, count: number, lines: readonly number[]): string {
  return `${grouped(count)} × ${what} (lines ${lines.join(", ")}${count > lines.length ? ", …" : ""})`;
}
