/**
 * Runs mutants that were made by rule through the scenarios that execute what they change, and
 * keeps the table.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { atomicsLines } from "./executed.ts";
import { scenarioFiles } from "./files.ts";
import type { MechanicalMutant } from "./mechanical.ts";
import { currentMutants, type MutantTable, readTable, writeTable } from "./mutant-table.ts";
import type { ScenarioRun } from "./suite.ts";

/**
 * The lines that each scenario executed when it ran last. Lines by module and text, so that it
 * outlives a build.
 */
const coveragePath = fileURLToPath(new URL("./executed.json", import.meta.url));

interface Executed extends Omit<ScenarioRun, "lines"> {
  readonly file: string;
  readonly lines: readonly string[];
}

const lineText = (module: string, text: string): string => `${module.replace(/\/.*\//, "/")}: ${text}`;

/**
 * Keeps what the scenarios of these files executed that held; what is known of other files stays.
 */
export function writeExecuted(
  files: readonly string[],
  runs: readonly (ScenarioRun & { readonly file: string })[],
): void {
  const others = existsSync(coveragePath) ? readExecuted().filter(({ file }) => !files.includes(file)) : [];
  const texts = new Map(atomicsLines().map(({ key, module, text }) => [key, lineText(module, text)]));
  const executed = runs.map((run) => ({ ...run, lines: run.lines.flatMap((line) => texts.get(line) ?? []) }));
  writeFileSync(coveragePath, JSON.stringify([...others, ...executed]));
}

function readExecuted(): Executed[] {
  if (!existsSync(coveragePath))
    throw new Error("run all scenarios first: node scripts/dev.mjs test/run.mjs model/scenarios");
  return JSON.parse(readFileSync(coveragePath, "utf8")) as Executed[];
}

export interface Job {
  readonly mutant: MechanicalMutant;
  /** Scenarios by file, the cheapest first. */
  readonly candidates: readonly { readonly url: string; readonly name: string; readonly hasDeaths: boolean }[];
  readonly limitMs: number;
}

export interface JobResult {
  readonly killedBy: string | undefined;
  /** For people. */
  readonly outcome: string;
  readonly isBroken: boolean;
}

export interface MechanicalOptions {
  /** Only mutants whose name contains one of these; all without one. */
  readonly words: readonly string[];
  /** Also those that stand in the table. */
  readonly again: boolean;
  /** For one mutant, and in how many scenarios it is looked for. */
  readonly limitMs: number;
  readonly scenariosMax: number;
  /** For all of them: what is left then stays as it was in the table. */
  readonly endsAt: number;
  readonly say: (line: string) => void;
}

/**
 * Runs the mutants and writes the table. Returns what is wrong: survivors, and reasons that were
 * refuted.
 */
export async function runMechanical(options: MechanicalOptions): Promise<string[]> {
  const mutants = currentMutants();
  const table = withoutGone(readTable(), mutants);
  const { killed, equivalent } = table;
  const chosen = [...mutants.values()].filter(
    ({ name }) =>
      (options.words.length === 0 || options.words.some((word) => name.includes(word))) &&
      (options.again || (killed[name] === undefined && equivalent[name] === undefined)),
  );
  const executed = readExecuted();
  const urls = new Map(scenarioFiles().map(({ name, url }) => [name, url]));
  const refuted: string[] = [];
  const run = async (mutant: MechanicalMutant, ask: (job: Job) => Promise<JobResult>): Promise<void> => {
    const { name } = mutant;
    const able = candidatesFor(mutant, executed, killed[name]).slice(0, options.scenariosMax);
    const candidates = able.flatMap(({ file, name: scenario, deaths }) => {
      const url = urls.get(file);
      return url === undefined ? [] : [{ url, name: scenario, hasDeaths: deaths > 0 }];
    });
    // The run of all scenarios reports lines that none reaches.
    if (candidates.length === 0) return;
    const { killedBy, outcome, isBroken } = await ask({ mutant, candidates, limitMs: options.limitMs });
    options.say(`${name}: ${outcome}`);
    if (isBroken) return;
    delete killed[name];
    delete table.survived[name];
    if (killedBy !== undefined) {
      killed[name] = killedBy;
      if (equivalent[name] !== undefined) refuted.push(`${name}: said to be equivalent, but ${killedBy} notices it`);
    } else if (equivalent[name] === undefined) table.survived[name] = outcome;
  };
  const queue = chosen.values();
  const lane = async (): Promise<void> => {
    let asker = new Asker();
    for (const mutant of queue) {
      if (performance.now() > options.endsAt) break;
      if (asker.isWorn) {
        await asker.end();
        asker = new Asker();
      }
      await run(mutant, (job) => asker.ask(job));
      writeTable(table);
    }
    await asker.end();
  };
  await Promise.all(Array.from({ length: Math.min(availableParallelism(), 4) }, lane));
  writeTable(table);
  return [...refuted, ...Object.entries(table.survived).map(([name, outcome]) => `${name}: ${outcome}`)];
}

/** Without mutants of lines that are there no longer. */
function withoutGone(table: MutantTable, mutants: ReadonlyMap<string, unknown>): MutantTable {
  const kept = (entries: Record<string, string>): Record<string, string> =>
    Object.fromEntries(Object.entries(entries).filter(([name]) => mutants.has(name)));
  return { killed: kept(table.killed), equivalent: kept(table.equivalent), survived: kept(table.survived) };
}

/**
 * The scenarios that execute a line with `Atomics` of the mutated function: the one that is known
 * to notice first, then those of the files that are named after the module, then the cheapest.
 */
function candidatesFor(mutant: MechanicalMutant, executed: readonly Executed[], known: string | undefined): Executed[] {
  const lines = atomicsLines().filter(({ module }) => module === mutant.file);
  const within = lines.filter(({ key }) => {
    const line = Number(key.slice(key.lastIndexOf(":") + 1));
    return line >= mutant.first && line <= mutant.last;
  });
  const texts = new Set(within.map(({ module, text }) => lineText(module, text)));
  const own = mutant.file.slice(mutant.file.lastIndexOf("/") + 1);
  const rank = (each: Executed): number => (nameOf(each) === known ? 0 : each.file.startsWith(own) ? 1 : 2);
  return executed
    .filter((each) => each.lines.some((line) => texts.has(line)))
    .toSorted((a, b) => rank(a) - rank(b) || a.ms - b.ms);
}

const nameOf = ({ file, name }: Executed): string => `${file}: ${name}`;

/** A worker loads modules that it never lets go. */
const JOBS_MAX = 60;

class Asker {
  readonly #worker = new Worker(new URL("./mechanical.worker.js", import.meta.url), {
    resourceLimits: { maxOldGenerationSizeMb: 4096 },
  });
  #jobs = 0;

  get isWorn(): boolean {
    return this.#jobs >= JOBS_MAX;
  }

  ask(job: Job): Promise<JobResult> {
    this.#jobs += 1;
    return new Promise((resolve, reject) => {
      this.#worker.removeAllListeners();
      this.#worker.once("message", resolve);
      this.#worker.once("error", reject);
      this.#worker.postMessage(job);
    });
  }

  async end(): Promise<void> {
    await this.#worker.terminate();
  }
}
