// Every scenario to its stated bound, and every mutant; see docs/checker.md. A worker per core
// takes files until none is left.
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { coverageOf } from "./executed.ts";
import { scenarioFiles } from "./files.ts";
import { runMechanical, writeExecuted } from "./mechanical-run.ts";
import { currentMutants, readTable, sample } from "./mutant-table.ts";
import { emptyResult, type MadeMutant, type ScenarioRun, type SuiteResult } from "./suite.ts";

const isDeep = process.env["MILLRACE_MODEL_DEEP"] === "1";
const limitMs = Number(process.env["MILLRACE_MODEL_MINUTES"] ?? 30) * 60_000;
const seed = Number(process.env["MILLRACE_SEED"] ?? Date.now() % 1_000_000);
/** Mutants made by rule in an ordinary run. A deep run makes all of them. */
const SAMPLE = 160;
/** Time that a surviving mutant may cost in a deep run, in all scenarios together; ms. */
const MUTANT_LIMIT_MS = 600_000;

const queue = scenarioFiles();
const total: SuiteResult = emptyResult();
const runs: (ScenarioRun & { file: string })[] = [];

interface Report {
  readonly lines: readonly string[];
  readonly result: SuiteResult;
}

const table = readTable();
const mutants = currentMutants();
const files = new Set(queue.map(({ name }) => name));
const known = Object.keys(table.killed).filter((name) => mutants.has(name) && files.has(killerOf(name).file));
const chosen = isDeep ? [] : sample(known, SAMPLE, seed);

/** The scenario that notices a mutant, by its file and its name. */
function killerOf(mutant: string): { file: string; scenario: string } {
  const [file = "", scenario = ""] = (table.killed[mutant] as string).split(/: (.*)/);
  return { file, scenario };
}

/** Those of the chosen mutants that a scenario of the file notices. */
function madeFor(name: string): MadeMutant[] {
  return chosen.flatMap((mutant) => {
    const { file, scenario } = killerOf(mutant);
    const edit = mutants.get(mutant);
    return file === name && edit !== undefined ? [{ name: mutant, edit, by: scenario }] : [];
  });
}

async function lane(): Promise<void> {
  for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
    const { name, url } = file;
    const started = performance.now();
    const worker = new Worker(new URL("./suite.worker.js", import.meta.url), {
      workerData: { url, isDeep, limitMs, made: madeFor(name) },
      resourceLimits: { maxOldGenerationSizeMb: 4096 },
    });
    const { lines, result } = await new Promise<Report>((resolve, reject) => {
      worker.once("message", resolve);
      worker.once("error", reject);
      worker.once("exit", (code) => reject(new Error(`${name}: the worker ended with code ${code}`)));
    });
    await worker.terminate();
    if (isDeep) for (const line of lines) console.log(`# ${name}: ${line}`);
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    console.log(`# ${name}: ${result.executions} executions, ${result.killed}/${result.mutants} mutants, ${seconds} s`);
    for (const failure of result.failures) console.log(failure);
    total.executions += result.executions;
    total.states += result.states;
    total.mutants += result.mutants;
    total.killed += result.killed;
    total.failures.push(...result.failures.map((failure) => `${name}: ${failure.split("\n")[0]}`));
    runs.push(...result.runs.map((run) => ({ ...run, file: name })));
  }
}

test("all scenarios hold in every interleaving, and every mutant is caught", async () => {
  await Promise.all(Array.from({ length: Math.min(availableParallelism(), 4) }, lane));
  const { executions, states, killed, mutants: count } = total;
  console.log(`# mutants made by rule, a sample: ${chosen.length} of ${known.length}, seed ${seed} (MILLRACE_SEED)`);
  console.log(`# executions ${executions}, states ${states}, mutants killed ${killed}/${count}`);
  assert.equal(total.failures, []);
  assert.is(killed, count);
  assert.ok(executions > 0);
});

test("every line with Atomics was executed by a scenario, but for those listed", () => {
  const { executed, lines, failures } = coverageOf(new Set(runs.flatMap((run) => run.lines)));
  writeExecuted([...files], runs);
  console.log(`# lines with Atomics executed ${executed}/${lines}`);
  assert.equal(failures, []);
});

test("in a deep run no mutant made by rule survives without a reason", async () => {
  if (isDeep) {
    const say = (line: string): void => console.log(`# ${line}`);
    const wrong = await runMechanical({
      words: [],
      again: true,
      limitMs: MUTANT_LIMIT_MS,
      scenariosMax: Infinity,
      endsAt: Infinity,
      say,
    });
    assert.equal(wrong, []);
  }
  const { killed, equivalent, survived } = readTable();
  const missing = [...mutants.keys()].filter((name) => ![killed, equivalent, survived].some((kind) => name in kind));
  const counts = [killed, equivalent, survived].map(
    (kind) => Object.keys(kind).filter((name) => mutants.has(name)).length,
  );
  console.log(
    `# mutants made by rule: killed ${counts[0]}, equivalent ${counts[1]}, survived ${counts[2]}, not in the table ${missing.length}`,
  );
  assert.ok((counts[0] as number) >= SAMPLE, "the table has enough mutants for a sample");
});

test.run();
