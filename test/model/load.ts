/**
 * Rewrites a scenario with all that it uses, writes the result into a temporary folder, and imports
 * it.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { Mutant, Scenario, ScenarioFile } from "./api.ts";
import { type Edit, readModules } from "./modules.ts";
import { type Form, rewrite } from "./rewrite.ts";
import { analyse } from "./taint.ts";
import { type ModuleState, world } from "./world.ts";

export interface Loaded {
  readonly scenarios: readonly Scenario[];
  readonly mutants: readonly Mutant[];
  /** The variables of its modules. */
  readonly states: ModuleState[];
}

const runtimeUrl = new URL("./runtime.js", import.meta.url).href;

let folder: string | undefined;
let loads = 0;

function newFolder(): string {
  if (folder === undefined) {
    const made = mkdtempSync(join(tmpdir(), "millrace-model-"));
    process.once("exit", () => rmSync(made, { recursive: true, force: true }));
    folder = made;
  }
  loads += 1;
  const path = join(folder, String(loads));
  mkdirSync(path);
  // The temporary folder says nothing about what its files are.
  writeFileSync(join(path, "package.json"), '{"type":"module"}');
  return path;
}

/** Imports the scenario file at `url` in a form, with the edit of a mutant. */
export async function load(url: string, form: Form, edits: readonly Edit[] = []): Promise<Loaded> {
  const set = readModules(url, edits);
  const taint = analyse(set, form.plain === "yield");
  const files = new Map([...set.modules.keys()].map((each, index) => [each, `${index}-${fileName(each)}`]));
  const path = newFolder();
  for (const module of set.modules.values()) {
    writeFileSync(join(path, files.get(module.url) as string), rewrite(module, taint, form, files, runtimeUrl));
  }
  const states: ModuleState[] = [];
  world.states = states;
  const root = await import(pathToFileURL(join(path, files.get(url) as string)).href);
  world.states = [];
  const { scenarios, mutants = [] } = root as ScenarioFile;
  return { scenarios, mutants, states };
}

function fileName(url: string): string {
  return basename(fileURLToPath(url)).replace(/\.(mjs|cjs|js)$/, ".js");
}
