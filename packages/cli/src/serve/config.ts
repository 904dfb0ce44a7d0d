/**
 * Settings of `millrace serve` out of a file: below the environment, which is below the command
 * line.
 *
 * The file is JSON, or a module whose default export is such an object. Its members are the
 * command's options in camel case, and `journal` and `processors` as `open()` has them.
 */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { inspect } from "node:util";
import type { Command, Option } from "commander";
import { messageOf, nearest } from "@millrace/base";
import type { MillraceOptions } from "@millrace/runtime";
import { cliError } from "../errors.ts";

/** Options of `open()` beyond those of the command. */
export interface RuntimeSettings {
  readonly runtime: Pick<MillraceOptions, "processors">;
  readonly journal: Partial<NonNullable<MillraceOptions["journal"]>>;
  /** Ports that nobody has chosen: of the demo they may be others. */
  readonly movablePorts: readonly ("port" | "adminPort")[];
}

/** Where a value comes from. */
export type Origin = "command line" | "environment" | "file" | "default";

const FOR_OPEN = ["journal", "processors"] as const;
const ORIGINS: Readonly<Record<string, Origin>> = { cli: "command line", env: "environment", config: "file" };

const TYPES = { boolean: "true or false", number: "a number", string: "a text" } as const;

function wrong(path: string, problem: string, cause?: unknown): Error {
  return cliError("ERR_CLI_USAGE", `--config ${path}: ${problem}`, { cause, details: { path } });
}

/** Rejects when nothing is left that could end a module's `await`: Node would end in silence. */
function endless(): Promise<never> {
  return new Promise((_, reject) => {
    process.once("beforeExit", () => reject(new Error("it awaits what never comes")));
  });
}

async function contentOf(path: string): Promise<unknown> {
  try {
    if (!/\.[cm]?js$/.test(path)) return JSON.parse(readFileSync(path, "utf8")) as unknown;
    const module = (await Promise.race([import(pathToFileURL(resolve(path)).href), endless()])) as {
      default?: unknown;
    };
    return module.default;
  } catch (thrown) {
    throw wrong(path, `it can't be read: ${messageOf(thrown)}`, thrown);
  }
}

/** The options that a file may set: those of the command but its own path and how it prints. */
function fileOptions(command: Command): readonly Option[] {
  const own = new Set(["config", "origin", "demo", "json", "quiet", "verbose"]);
  return command.options.filter((option) => !own.has(option.attributeName()));
}

/** A value of the file, as the command line would have it. */
function valueOf(path: string, option: Option, value: unknown): unknown {
  const name = option.attributeName();
  const isFlag = option.isBoolean() || option.negate;
  const type = isFlag ? "boolean" : option.parseArg === undefined ? "string" : "number";
  const isText = type === "number" && typeof value === "string";
  if (typeof value !== type && !isText) throw wrong(path, `${name} must be ${TYPES[type]}`);
  if (value === "") throw wrong(path, `${name} must not be empty`);
  if (option.parseArg === undefined || isFlag) return value;
  try {
    return option.parseArg(String(value), undefined);
  } catch (thrown) {
    // It names the option of the command line.
    throw wrong(path, messageOf(thrown).replace(/^\S+/, name), thrown);
  }
}

/**
 * Fills in what neither the command line nor the environment has set. Throws `ERR_CLI_USAGE` for a
 * file that can't be read, an unknown member and a wrong value.
 */
export async function applyConfig(command: Command): Promise<RuntimeSettings> {
  const { config: path } = command.opts<{ config?: string }>();
  if (path === undefined) return { runtime: {}, journal: {}, movablePorts: movablePorts(command) };
  const content = await contentOf(path);
  if (typeof content !== "object" || content === null || Array.isArray(content))
    throw wrong(path, "it isn't an object");
  const options = new Map(fileOptions(command).map((option) => [option.attributeName(), option]));
  for (const [name, value] of Object.entries(content)) {
    const option = options.get(name);
    if (option === undefined && !(FOR_OPEN as readonly string[]).includes(name)) {
      const known = [...options.keys(), ...FOR_OPEN];
      const near = nearest(name, known);
      throw wrong(
        path,
        `unknown "${name}"; ${near === undefined ? `known are ${known.join(", ")}` : `did you mean "${near}"?`}`,
      );
    }
    if (option === undefined) continue;
    const source = command.getOptionValueSource(name);
    const parsed = valueOf(path, option, value);
    if (source === undefined || source === "default") command.setOptionValueWithSource(name, parsed, "config");
  }
  const { processors, journal = {} } = content as Pick<MillraceOptions, "processors"> & {
    journal?: RuntimeSettings["journal"];
  };
  if (typeof journal !== "object" || journal === null || Array.isArray(journal))
    throw wrong(path, "journal must be an object with options");
  if ("directory" in journal) throw wrong(path, `"dir" says where the journal is, not journal.directory`);
  return { runtime: processors === undefined ? {} : { processors }, journal, movablePorts: movablePorts(command) };
}

function movablePorts(command: Command): RuntimeSettings["movablePorts"] {
  if (command.getOptionValue("demo") !== true) return [];
  return (["port", "adminPort"] as const).filter((name) => command.getOptionValueSource(name) === "default");
}

/** Each option with its value and where that comes from. */
export function originsOf(command: Command): { name: string; value: unknown; origin: Origin }[] {
  return fileOptions(command).map((option) => {
    const name = option.attributeName();
    const source = command.getOptionValueSource(name) ?? "default";
    return {
      name,
      value: command.getOptionValue(name) as unknown,
      origin: ORIGINS[source] ?? "default",
    };
  });
}

/** The members of the file that go to `open()`. */
export function openOrigins({ runtime, journal }: RuntimeSettings): { name: string; value: unknown; origin: Origin }[] {
  const values = { processors: runtime.processors, journal: Object.keys(journal).length === 0 ? undefined : journal };
  return Object.entries(values).map(([name, value]) => {
    return { name, value: printable(value), origin: value === undefined ? "default" : "file" };
  });
}

/** A module may have what JSON can't hold: a BigInt, or an object within itself. */
function printable(value: unknown): unknown {
  try {
    JSON.stringify(value);
    return value;
  } catch {
    return inspect(value, { breakLength: Number.POSITIVE_INFINITY });
  }
}
