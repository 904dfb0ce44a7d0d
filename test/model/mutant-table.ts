/**
 * The table of mutants made by rule, `test/model/mechanical.json`: which scenario notices each, or
 * why none can. A mutant that is not in it is new, or its line was changed: `check.js --mechanical`
 * adds it.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { seededRandom } from "@millrace/base";
import { scenarioFiles } from "./files.ts";
import { type MechanicalMutant, mechanicalMutants } from "./mechanical.ts";
import { readModules } from "./modules.ts";

const path = fileURLToPath(new URL("../../../test/model/mechanical.json", import.meta.url));

export interface MutantTable {
  /** Name of the mutant: `file: scenario` that notices it. */
  killed: Record<string, string>;
  /** Name of the mutant: why it behaves like the code. Written by hand. */
  equivalent: Record<string, string>;
  /** Name of the mutant: what was searched. It awaits a scenario or a reason. */
  survived: Record<string, string>;
}

export function readTable(): MutantTable {
  if (!existsSync(path)) return { killed: {}, equivalent: {}, survived: {} };
  return JSON.parse(readFileSync(path, "utf8")) as MutantTable;
}

export function writeTable(table: MutantTable): void {
  const sorted = Object.fromEntries(
    Object.entries(table).map(([kind, entries]) => [
      kind,
      Object.fromEntries(Object.entries(entries as Record<string, string>).toSorted(([a], [b]) => (a < b ? -1 : 1))),
    ]),
  );
  writeFileSync(path, `${JSON.stringify(sorted, undefined, 2)}\n`);
}

/** All mutants of the modules that scenarios load, by name. */
export function currentMutants(): Map<string, MechanicalMutant> {
  const mutants = new Map<string, MechanicalMutant>();
  const seen = new Set<string>();
  for (const { url } of scenarioFiles()) {
    for (const module of readModules(url).modules.values()) {
      if (!module.url.includes("/packages/") || seen.has(module.url)) continue;
      seen.add(module.url);
      const file = module.label.replace(/\.js$/, "");
      for (const mutant of mechanicalMutants(file, module.text)) mutants.set(mutant.name, mutant);
    }
  }
  return mutants;
}

/** Some of the names, chosen by the seed. */
export function sample(names: readonly string[], count: number, seed: number): string[] {
  const random = seededRandom(seed);
  const left = names.toSorted();
  const chosen: string[] = [];
  while (chosen.length < count && left.length > 0) chosen.push(...left.splice(random.below(left.length), 1));
  return chosen;
}
