/** Runs the scenarios and mutants of one file, and tells what came of it. */
import type { Mutant, Scenario } from "./api.ts";
import { type Failure, type Limits, limitsOf } from "./explore.ts";
import { explore, formOf, Forms, hunt } from "./hunt.ts";
import { load, type Loaded } from "./load.ts";
import { functionAround } from "./mechanical.ts";
import { type Edit, readModules } from "./modules.ts";
import { replay } from "./replay.ts";
import type { Form } from "./rewrite.ts";
import { executedLines, forgetExecuted } from "./sites.ts";
import { world } from "./world.ts";

export interface SuiteOptions {
  /** Larger bounds, for a night. */
  readonly isDeep: boolean;
  /** Only scenarios whose name contains this. */
  readonly only?: string;
  /** Whether scenarios, mutants, or both are run. */
  readonly skipMutants?: boolean;
  readonly skipScenarios?: boolean;
  /** Mutants made by rule, with the scenario that is known to notice each. */
  readonly made?: readonly MadeMutant[];
  /** Deep runs stop a scenario after this long, and say so; ms. */
  readonly limitMs?: number;
  readonly say: (line: string) => void;
}

export interface MadeMutant {
  readonly name: string;
  readonly edit: Edit;
  readonly by: string;
}

export interface SuiteResult {
  executions: number;
  states: number;
  mutants: number;
  killed: number;
  readonly failures: string[];
  readonly runs: ScenarioRun[];
}

/** One scenario, searched to its bounds. */
export interface ScenarioRun {
  readonly name: string;
  readonly threads: number;
  readonly preemptions: number;
  /** Threads that may die in one execution. */
  readonly deaths: number;
  readonly states: number;
  readonly ms: number;
  /** Lines with `Atomics` that it executed, as `lineKey` names them. */
  readonly lines: readonly string[];
}

/** A scenario in one form; the "wrap" form looks for dropped calls and needs no depth. */
const WRAP_PREEMPTIONS = 1;
const WRAP_PREEMPTIONS_KILL = 0;
/** How much of a random scenario is walked: in the "wrap" form, and in a deep run. */
const WRAP_TIMES = 0.1;
const DEEP_TIMES = 50;

export function emptyResult(): SuiteResult {
  return { executions: 0, states: 0, mutants: 0, killed: 0, failures: [], runs: [] };
}

export async function runFile(url: string, options: SuiteOptions): Promise<SuiteResult> {
  const result = emptyResult();
  const { scenarios, mutants } = await load(url, { calls: "star", plain: "check" });
  const names = new Set(scenarios.map((each) => each.name));
  if (names.size < scenarios.length) throw new Error(`${url}: two scenarios have the same name`);
  const chosen = scenarios.filter((each) => options.only === undefined || each.name.includes(options.only));
  if (options.skipScenarios !== true) {
    const forms = new Forms(url);
    for (const scenario of chosen) await runScenario(forms, scenario, options, result);
  }
  if (options.skipMutants !== true) {
    for (const mutant of mutants) {
      const able = chosen.filter((each) => each.name.includes(mutant.by ?? ""));
      const title = `mutant of ${mutant.file}: ${mutant.breaks}`;
      if (able.length > 0) await runMutant(url, likelyFirst(url, able, mutant, result), mutant, title, options, result);
      else if (options.only === undefined) result.failures.push(`${mutant.breaks}: no scenario is called ${mutant.by}`);
    }
    for (const { name, edit, by } of options.made ?? []) {
      // A scenario that has another name by now is among the others of its file.
      const known = scenarios.filter((each) => each.name === by);
      await runMutant(url, known.length > 0 ? known : scenarios, edit, `mutant ${name}`, options, result);
    }
  }
  return result;
}

async function runScenario(forms: Forms, each: Scenario, options: SuiteOptions, result: SuiteResult): Promise<void> {
  for (const calls of ["star", "wrap"] as const) {
    const { loaded, scenario } = await forms.find(each.name, formOf(each, calls));
    const limits = scenarioLimits(scenario, options.isDeep && calls === "star", calls);
    const started = performance.now();
    // Dropped calls show without deaths.
    const alive = calls === "star" ? scenario : { ...scenario, kills: 0 };
    const times = (calls === "wrap" ? WRAP_TIMES : 1) * (options.isDeep ? DEEP_TIMES : 1);
    const settings = { wraps: calls === "wrap", ...endOf(options) };
    forgetExecuted();
    const outcome = explore(loaded, alive, limits, settings, times);
    result.executions += outcome.executions;
    result.states += outcome.states;
    const ms = Math.round(performance.now() - started);
    const bound = scenario.random === undefined ? `≤ ${limits.preemptions} preemptions` : "random";
    const rest = outcome.isComplete || outcome.failure !== undefined ? "" : ", NOT COMPLETE (time)";
    const title = calls === "star" ? scenario.name : `${scenario.name} (wrap)`;
    options.say(`${title}: ${outcome.executions} executions, ${outcome.states} states, ${ms} ms, ${bound}${rest}`);
    if (outcome.failure !== undefined) {
      result.failures.push(explain(loaded, scenario, limits, outcome.failure, calls));
      return;
    }
    if (calls === "wrap") continue;
    result.runs.push(runOf(scenario, limits, outcome.states, ms));
    for (const race of scenario.races ?? []) {
      if (!world.racesSeen.has(race)) {
        result.failures.push(`${scenario.name}: the race that is allowed in ${race.file} (${race.line}) doesn't occur`);
      }
    }
  }
}

function runOf(scenario: Scenario, { preemptions }: Limits, states: number, ms: number): ScenarioRun {
  const { name, threads, kill = [], kills = 1, random } = scenario;
  return {
    name,
    threads: Object.keys(threads).length,
    preemptions: random === undefined ? preemptions : Infinity,
    deaths: kill.length === 0 ? 0 : kills,
    states,
    ms,
    lines: [...executedLines()],
  };
}

function endOf({ limitMs }: SuiteOptions): { endsAt?: number } {
  return limitMs === undefined ? {} : { endsAt: performance.now() + limitMs };
}

function scenarioLimits(scenario: Scenario, isDeep: boolean, calls: Form["calls"]): Limits {
  const limits = limitsOf(scenario);
  const most = (scenario.kill?.length ?? 0) > 0 ? WRAP_PREEMPTIONS_KILL : WRAP_PREEMPTIONS;
  if (calls === "wrap") return { ...limits, preemptions: Math.min(most, Math.max(0, limits.preemptions - 1)) };
  if (!isDeep) return limits;
  return { ...limits, preemptions: limits.preemptions + 1, states: 100_000_000, ...scenario.deep };
}

/**
 * Scenarios that execute something of the function that is edited come first, the small ones of
 * them before the others.
 */
function likelyFirst(url: string, scenarios: readonly Scenario[], edit: Edit, { runs }: SuiteResult): Scenario[] {
  const module = [...readModules(url).modules.values()].find((each) => each.label === `${edit.file}.js`);
  if (module === undefined) return [...scenarios];
  const { first, last } = functionAround(module.text, module.text.indexOf(edit.from));
  const cost = ({ name }: Scenario): number => {
    const run = runs.find((each) => each.name === name);
    const isReached = run?.lines.some((key) => {
      const [label, line] = key.split(/:(?=\d+$)/);
      return label === module.label && Number(line) >= first && Number(line) <= last;
    });
    return isReached === true ? (run?.states ?? 0) : Infinity;
  };
  const costs = new Map(scenarios.map((each) => [each, cost(each)]));
  const costOf = (each: Scenario): number => costs.get(each) as number;
  return scenarios.toSorted((a, b) => (costOf(a) === costOf(b) ? 0 : costOf(a) - costOf(b)));
}

async function runMutant(
  url: string,
  scenarios: readonly Scenario[],
  edit: Edit,
  title: string,
  options: SuiteOptions,
  result: SuiteResult,
): Promise<void> {
  result.mutants += 1;
  const started = performance.now();
  const forms = new Forms(url, [edit]);
  const candidates = scenarios.map((scenario) => ({ forms, scenario }));
  const found = await hunt(candidates, options.limitMs).catch((thrown: unknown) => ({
    executions: 0,
    states: 0,
    by: undefined,
    kind: "exception",
    message: String(thrown),
    isBroken: true,
  }));
  result.executions += found.executions;
  result.states += found.states;
  const first = found.message.split("\n")[0] as string;
  if (found.isBroken) result.failures.push(`${title}: it is not a mutant, it is broken: ${first}`);
  else if (found.by === undefined) result.failures.push(`${title}: SURVIVED ${found.executions} executions`);
  else {
    result.killed += 1;
    const ms = Math.round(performance.now() - started);
    const { name } = found.by.scenario;
    options.say(`${title}: killed by "${name}" (${found.kind}, ${found.executions} executions, ${ms} ms): ${first}`);
  }
}

/** Lines of a trace at its beginning and its end that are printed at once; a replay prints all. */
const TRACE_HEAD = 40;
const TRACE_TAIL = 100;

function shortened(lines: readonly string[]): readonly string[] {
  const left = lines.length - TRACE_HEAD - TRACE_TAIL;
  if (left <= 0) return lines;
  return [...lines.slice(0, TRACE_HEAD), `… ${left} lines, which the replay prints …`, ...lines.slice(-TRACE_TAIL)];
}

export function explain(
  loaded: Loaded,
  scenario: Scenario,
  limits: Limits,
  failure: Failure,
  calls: Form["calls"],
): string {
  const { lines } = replay(loaded, scenario, limits, failure.schedule, calls === "wrap");
  return [
    `${scenario.name}: ${failure.kind}: ${failure.message}`,
    ...shortened(lines).map((line) => `    ${line}`),
    `  again: node .build/test/model/check.js --only ${JSON.stringify(scenario.name)} --replay ${failure.schedule}`,
  ].join("\n");
}

/**
 * Replays a schedule of a scenario of the file, with the mutant of that number applied if one is
 * given.
 */
export async function replayFile(
  url: string,
  name: string,
  schedule: string,
  mutant?: number,
): Promise<string | undefined> {
  const plain = await load(url, { calls: "star", plain: "check" });
  const found =
    plain.scenarios.find((each) => each.name === name) ?? plain.scenarios.find((each) => each.name.includes(name));
  if (found === undefined) return undefined;
  const edits = mutant === undefined ? [] : [plain.mutants[mutant - 1] as Mutant];
  const { loaded, scenario } = await new Forms(url, edits).find(found.name, formOf(found, "star"));
  const { lines, failure } = replay(loaded, scenario, limitsOf(scenario), schedule, false);
  const end = failure === undefined ? "nothing is wrong" : `${failure.kind}: ${failure.message}`;
  return [scenario.name, ...lines.map((line) => `    ${line}`), end].join("\n");
}
