/**
 * Lines of production code with `Atomics`: which there are, and which of them the scenarios have
 * executed.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { lineKey } from "./sites.ts";
import { parseModule, walk } from "./syntax.ts";
import { isAtomics } from "./taint.ts";
import { UNEXECUTED } from "./unexecuted.ts";

const packages = fileURLToPath(new URL("../../../packages/", import.meta.url));

export interface AtomicsLine {
  /** `package/folder/module`. */
  readonly module: string;
  /** As `executedLines` names it. */
  readonly key: string;
  /** The compiled line. */
  readonly text: string;
}

/** The modules of all packages, as `package/folder/module`, with their compiled text. */
export function* productionModules(): Generator<{ module: string; text: string }> {
  for (const name of readdirSync(packages).toSorted()) {
    const sources = `${packages}${name}/src`;
    if (!existsSync(sources)) continue;
    for (const file of readdirSync(sources, { recursive: true, encoding: "utf8" }).toSorted()) {
      // A compiled file without a source was left behind by a module that moved.
      if (!file.endsWith(".ts")) continue;
      const path = file.slice(0, -".ts".length);
      yield { module: `${name}/${path}`, text: readFileSync(`${packages}${name}/dist/${path}.js`, "utf8") };
    }
  }
}

/** Every line of production code on which an operation of `Atomics` begins. */
export function atomicsLines(): AtomicsLine[] {
  const found = new Map<string, AtomicsLine>();
  for (const { module, text } of productionModules()) {
    if (!/\bAtomics\b/.test(text)) continue;
    const lines = text.split("\n");
    walk(parseModule(text), (node) => {
      if (node.type !== "MemberExpression" || !isAtomics(node["object"])) return;
      const { line } = node["loc"]["start"];
      const key = lineKey({ label: `${module}.js`, line });
      found.set(key, { module, key, text: lines[line - 1]?.trim() ?? "" });
    });
  }
  return [...found.values()];
}

export interface Coverage {
  readonly executed: number;
  readonly lines: number;
  /** Lines that were not executed and have no exception, and exceptions that are none. */
  readonly failures: readonly string[];
}

/**
 * Compares the lines that were executed with those that there are; lines with an exception don't
 * count.
 */
export function coverageOf(executed: ReadonlySet<string>): Coverage {
  const failures: string[] = [];
  const exceptions = UNEXECUTED.flatMap(({ module, lines: pieces = [""] }) => pieces.map((line) => ({ module, line })));
  const used = new Set<unknown>();
  let lines = 0;
  let count = 0;
  for (const { module, key, text } of atomicsLines()) {
    const exception = exceptions.find((each) => sameModule(each.module, module) && text.includes(each.line));
    if (executed.has(key)) {
      lines += 1;
      count += 1;
    } else if (exception === undefined) {
      lines += 1;
      failures.push(`no scenario executes ${module}: ${text}`);
    } else used.add(exception);
  }
  for (const each of exceptions) {
    if (!used.has(each)) failures.push(`this exception is needed no longer: ${each.module}: ${each.line}`);
  }
  return { executed: count, lines, failures };
}

/** By package and file: a module may move to another folder of its package. */
function sameModule(exception: string, module: string): boolean {
  const [name, ...rest] = module.split("/");
  return exception === `${name}/${rest.at(-1)}`;
}
