/** `millrace dlq`: the dead letters of an intake, running or not. */
import { resolve } from "node:path";
import { messageOf } from "@millrace/base";
import { cliError } from "../errors.ts";
import { drained, isOutputClosed } from "../terminal/closed-pipes.ts";
import { EXIT } from "../terminal/exit-codes.ts";
import { Reporter, type ReporterOptions } from "../terminal/reporter.ts";
import { amount } from "../terminal/units.ts";
import { withTarget } from "./target.ts";

export interface FilterOptions extends ReporterOptions {
  readonly handler?: string;
  readonly reason?: string;
  readonly from?: number;
  readonly to?: number;
  readonly key?: string;
  readonly text?: string;
  readonly limit?: number;
  readonly after?: number;
}

export interface DoOptions extends FilterOptions {
  readonly dryRun?: boolean;
  readonly all?: boolean;
}

export interface RedriveCommandOptions extends DoOptions {
  readonly toHandler?: string;
  readonly rate?: number;
}

export interface ExportCommandOptions extends FilterOptions {
  readonly output: string;
}

/** A letter as the intake shows it. */
interface Shown {
  readonly sequence: number;
  readonly handler: string;
  readonly key?: string;
  readonly reason: string;
  readonly attempts: number;
  readonly diedAt?: string;
  readonly failures: readonly { readonly error: unknown }[];
}

const FILTERS = ["handler", "reason", "from", "to", "key", "text", "limit", "after"] as const;

function filterOf(options: FilterOptions): Record<string, unknown> {
  const given = FILTERS.filter((name) => options[name] !== undefined);
  return Object.fromEntries(given.map((name) => [name, options[name]]));
}

/** A line of text for each letter; with --json one document. Exit code 0, also for none. */
export function list(directory: string, options: FilterOptions): Promise<number> {
  const reporter = new Reporter(options);
  return withTarget(directory, async (target) => {
    const letters: object[] = [];
    await target.ask("dead.list", filterOf(options), async (letter) => {
      if (reporter.isJson) letters.push(letter);
      else await print(`${lineOf(letter as Shown)}\n`);
    });
    if (reporter.isJson) reporter.result({ directory, letters }, () => "");
    return EXIT.ok;
  });
}

/** Where nobody reads any more nothing is printed. */
async function print(text: string): Promise<void> {
  if (isOutputClosed() || process.stdout.write(text)) return;
  await drained(process.stdout);
}

function lineOf({ sequence, handler, key, reason, attempts, diedAt, failures }: Shown): string {
  const { name, message } = (failures.at(-1)?.error ?? {}) as { name?: unknown; message?: unknown };
  const error = typeof message === "string" ? `${String(name)}: ${message}` : "";
  const parts = [sequence, diedAt ?? "-", handler, key ?? "-", reason, attempts, error];
  // One letter, one line, even if an error has line breaks.
  return parts.join("  ").replaceAll(/\s*[\r\n]+\s*/g, " ");
}

/** Everything about one letter, as JSON. Exit code 1 when the record isn't dead. */
export function show(directory: string, sequence: number, options: ReporterOptions): Promise<number> {
  const reporter = new Reporter(options);
  return withTarget(directory, async (target) => {
    const letter = await target.ask("dead.show", { sequence });
    if (letter === undefined || letter === null) {
      throw cliError("ERR_DEAD_LETTER_MISSING", `record ${sequence} is no dead letter`, {
        details: { directory, sequence },
      });
    }
    reporter.result(letter, () => JSON.stringify(letter, undefined, 2));
    return EXIT.ok;
  });
}

export function redrive(directory: string, options: RedriveCommandOptions): Promise<number> {
  const { toHandler, rate } = options;
  const more = {
    ...(toHandler === undefined ? {} : { toHandler }),
    ...(rate === undefined ? {} : { ratePerSecond: rate }),
  };
  return change(directory, options, "redrive", more);
}

export function drop(directory: string, options: DoOptions): Promise<number> {
  return change(directory, options, "drop", {});
}

/** Without a filter it must be said that all letters are meant. */
function change(
  directory: string,
  options: DoOptions,
  what: "redrive" | "drop",
  more: Record<string, unknown>,
): Promise<number> {
  const { dryRun = false } = options;
  const filter = filterOf(options);
  if (Object.keys(filter).length === 0 && options.all !== true && !dryRun) {
    throw cliError("ERR_CLI_USAGE", `say which letters to ${what}, or --all; --dry-run counts them`);
  }
  const reporter = new Reporter(options);
  return withTarget(directory, async (target) => {
    const count = (await target.ask(`dead.${what}`, { ...filter, ...more, dryRun })) as number;
    const done = what === "redrive" ? "redriven" : "dropped";
    reporter.result({ directory, isRunning: target.isRunning, dryRun, [done]: dryRun ? 0 : count, count }, () =>
      dryRun ? `${amount(count, "letter")} would be ${done}` : `${amount(count, "letter")} ${done}`,
    );
    return EXIT.ok;
  });
}

/** A new file that its owner alone may read. */
export function exportLetters(directory: string, options: ExportCommandOptions): Promise<number> {
  const reporter = new Reporter(options);
  return withTarget(directory, async (target) => {
    // The service may stand in another directory.
    const file = resolve(options.output);
    const count = (await target.ask("dead.export", { ...filterOf(options), file }).catch((cause: unknown) => {
      // The system's own codes (ENOENT, EACCES, ENOSPC), also from a running service.
      if (!/^E[A-Z0-9]+$/.test(String((cause as { code?: unknown }).code))) throw cause;
      throw cliError("ERR_CLI_OUTPUT", `${file} can't be written: ${messageOf(cause)}`, {
        cause,
        details: { path: file },
      });
    })) as number;
    reporter.result({ directory, file, count }, () => `${amount(count, "letter")} in ${file}`);
    return EXIT.ok;
  });
}

/** Prints the figures and the health of a running intake, or that it isn't running. */
export function status(directory: string, options: ReporterOptions): Promise<number> {
  const reporter = new Reporter(options);
  return withTarget(directory, async (target) => {
    if (!target.isRunning) {
      const letters = (await target.ask("dead.count", {})) as number;
      reporter.result(
        { directory, isRunning: false, deadKept: letters },
        () => `stopped; ${amount(letters, "dead letter")}`,
      );
      return EXIT.ok;
    }
    const [stats, health] = [await target.ask("stats", {}), await target.ask("health", {})];
    const document = { directory, isRunning: true, stats, health };
    reporter.result(document, () => JSON.stringify(document, undefined, 2));
    return EXIT.ok;
  });
}

export function pause(directory: string, handler: string, options: ReporterOptions): Promise<number> {
  return setPaused(directory, handler, options, "pause");
}

export function resume(directory: string, handler: string, options: ReporterOptions): Promise<number> {
  return setPaused(directory, handler, options, "resume");
}

function setPaused(
  directory: string,
  handler: string,
  options: ReporterOptions,
  what: "pause" | "resume",
): Promise<number> {
  const reporter = new Reporter(options);
  return withTarget(directory, async (target) => {
    await target.ask(what, { handler });
    const isPaused = what === "pause";
    // Nobody knows which handlers the next service has.
    const from = target.isRunning ? "" : " from the next start on, if the service has a handler of this name";
    const document = { directory, isRunning: target.isRunning, handler, isPaused };
    reporter.result(document, () => `${handler} ${isPaused ? "is paused" : "goes on"}${from}`);
    return EXIT.ok;
  });
}
