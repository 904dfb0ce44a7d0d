/**
 * `millrace replay --shadow`: recorded records through the handlers of another module, in this
 * process. A service that has the directory open isn't asked, and nothing is written.
 */
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { type DifferenceKind, type ShadowDifference, shadowOfStored, type ShadowReport } from "@millrace/intake";
import { cliError } from "../errors.ts";
import { storageOf } from "../journal/place.ts";
import { EXIT } from "../terminal/exit-codes.ts";
import { Reporter } from "../terminal/reporter.ts";
import { signals } from "../terminal/signals.ts";
import { grouped, table } from "../terminal/units.ts";
import type { ReplayCommandOptions } from "./command.ts";
import { type End, given } from "./ends.ts";

/** Differences that are no failure: their number, or their share of the records. */
export type Allowed = { readonly count: number } | { readonly part: number };

export interface ShadowCommandOptions extends ReplayCommandOptions {
  readonly shadow?: string;
  readonly ignore?: readonly string[];
  readonly allow?: Allowed;
  readonly timeoutMs?: number;
  readonly show?: number;
  readonly values?: boolean;
}

const SHOWN = 10;
/** Options that say how records are published again. */
const OF_REPLAY = { name: "--name", dryRun: "--dry-run" } as const;
/** Options that say how records are compared. */
const OF_SHADOW = {
  ignore: "--ignore",
  allow: "--allow",
  timeoutMs: "--timeout-ms",
  show: "--show",
  values: "--values",
} as const;

/** Throws `ERR_CLI_USAGE`. */
export function allowedBy(text: string): Allowed {
  const [, digits, percent] = /^(\d+(?:\.\d+)?)(%?)$/.exec(text) ?? [];
  const value = Number(digits);
  if (percent === "%" && value <= 100) return { part: value / 100 };
  if (percent === "" && Number.isSafeInteger(value)) return { count: value };
  throw cliError("ERR_CLI_USAGE", `--allow must be a whole number, or a share such as 0.5%, not "${text}"`);
}

/** Throws `ERR_CLI_USAGE` for what only means something with --shadow. */
export function withoutShadow(options: ShadowCommandOptions): ReplayCommandOptions {
  for (const [name, flag] of Object.entries(OF_SHADOW)) {
    if (Object.hasOwn(options, name)) throw cliError("ERR_CLI_USAGE", `${flag} needs --shadow`);
  }
  return options;
}

export async function shadow(directory: string, options: ShadowCommandOptions): Promise<number> {
  for (const [name, flag] of Object.entries(OF_REPLAY)) {
    if (Object.hasOwn(options, name)) throw cliError("ERR_CLI_USAGE", `${flag} and --shadow don't go together`);
  }
  const reporter = new Reporter(options);
  const { allow = { count: 0 }, values = false } = options;
  storageOf(directory);
  const signal = signals.takeOver();
  try {
    const report = await compare(directory, options, signal);
    const isOverLimit = isBeyond(report, allow);
    const differences = values ? report.differences : report.differences.map(withoutValues);
    reporter.result({ directory, isOverLimit, ...report, differences }, () => textOf(report, values));
    if (report.records === 0) return EXIT.runInvalid;
    return isOverLimit ? EXIT.targetMissed : EXIT.ok;
  } catch (thrown) {
    if (signals.exitCode === undefined) throw thrown;
    return signals.exitCode;
  }
}

function compare(directory: string, options: ShadowCommandOptions, signal: AbortSignal): Promise<ShadowReport> {
  const { handler, key, priority, toHandler, rate, ignore, timeoutMs, show = SHOWN } = options;
  const filter = given({ handler, key, priority });
  return shadowOfStored(directory, {
    handlers: pathToFileURL(resolve(options.shadow as string)),
    differencesMax: show,
    signal,
    ...given({
      from: boundOf(options.from),
      to: boundOf(options.to),
      filter: Object.keys(filter).length === 0 ? undefined : filter,
      handler: toHandler,
      ratePerSecond: rate,
      ignore,
      timeoutMs,
    }),
  });
}

function boundOf(end: End | undefined): number | Date | "checkpoint" | undefined {
  if (end === undefined || end === "checkpoint") return end;
  return "ms" in end ? new Date(end.ms) : end.sequence;
}

function isBeyond({ different, records }: ShadowReport, allowed: Allowed): boolean {
  return different > ("count" in allowed ? allowed.count : allowed.part * records);
}

/** Payloads are for those who ask for them. */
function withoutValues({ sequence, handler, key, attempt, kind, paths }: ShadowDifference): object {
  return { sequence, handler, ...(key === undefined ? {} : { key }), attempt, kind, paths };
}

const KINDS: Readonly<Record<DifferenceKind, string>> = {
  result: "another result",
  published: "publishes something else",
  error: "another error",
  fails: "fails, and returned before",
  returns: "returns, and failed before",
  timeout: "takes longer than its time",
  death: "ends its thread",
  missing: "there is no such handler",
};

function textOf(report: ShadowReport, showsValues: boolean): string {
  const { records, same, different, unrecorded, unfinished, expired, kinds, differences, handlers } = report;
  const rows: [string, string][] = [
    ["records compared", grouped(records)],
    ["same", grouped(same)],
    ["different", grouped(different)],
  ];
  for (const [kind, count] of Object.entries(kinds)) rows.push([`  ${KINDS[kind as DifferenceKind]}`, grouped(count)]);
  if (unrecorded > 0) rows.push(["result not recorded", grouped(unrecorded)]);
  if (unfinished > 0) rows.push(["not finished, left out", grouped(unfinished)]);
  if (expired > 0) rows.push(["expired, left out", grouped(expired)]);
  for (const [name, { recordedMs, shadowMs }] of Object.entries(handlers)) {
    const percentiles = (["p50", "p99"] as const).map((which) => {
      return `${which} ${msOf(recordedMs.count, recordedMs[which])} → ${msOf(shadowMs.count, shadowMs[which])}`;
    });
    rows.push([`${name}, ms`, percentiles.join(", ")]);
  }
  const lines = differences.map((each) => lineOf(each, showsValues));
  const rest = different - differences.length;
  if (rest > 0) lines.push(`and ${grouped(rest)} more (--show)`);
  return [table(rows), ...(lines.length === 0 ? [] : ["", ...lines])].join("\n");
}

function msOf(count: number, ms: number): string {
  if (count === 0) return "?";
  return ms.toFixed(ms < 10 ? 2 : 0);
}

function lineOf(difference: ShadowDifference, showsValues: boolean): string {
  const { sequence, handler, kind, paths, payload, recorded, shadow: now } = difference;
  const line = `${sequence} ${handler}: ${KINDS[kind]}${paths.length === 0 ? "" : ` (${paths.join(", ")})`}`;
  if (!showsValues) return line;
  const json = (value: unknown): string => JSON.stringify(value ?? null);
  return `${line}\n  payload ${json(payload)}\n  then    ${json(recorded)}\n  now     ${json(now)}`;
}
