/** Runs the scenarios and mutants of one file, and tells what came of it. */
import type { Mutant, Scenario } from "./api.ts";
import { type Failure, type Limits, limitsOf, type Outcome, randomWalk, search } from "./explore.ts";
import { load, type Loaded } from "./load.ts";
import { replay } from "./replay.ts";
import type { Form } from "./rewrite.ts";
import { world } from "./world.ts";

export interface SuiteOptions {
  /** Larger bounds, for a night. */
  readonly isDeep: boolean;
  /** Only scenarios whose name contains this. */
  readonly only?: string;
  /** Whether scenarios, mutants, or both are run. */
  readonly skipMutants?: boolean;
  readonly skipScenarios?: boolean;
  /** Deep runs stop a scenario after this long, and say so; ms. */
  readonly limitMs?: number;
  readonly say: (line: string) => void;
}

export interface SuiteResult {
  executions: number;
  states: number;
  mutants: number;
  killed: number;
  readonly failures: string[];
}

/** A scenario in one form; the "wrap" form looks for dropped calls and needs no depth. */
const WRAP_PREEMPTIONS = 1;
const WRAP_PREEMPTIONS_KILL = 0;

function formOf(scenario: Scenario, calls: Form["calls"]): Form {
  return { calls, plain: (scenario.kill?.length ?? 0) > 0 ? "yield" : "check" };
}

const key = (form: Form): string => `${form.calls} ${form.plain}`;

/** Loads a file once per form. */
class Forms {
  readonly #url: string;
  readonly #edits: readonly Mutant[];
  readonly #loaded = new Map<string, Promise<Loaded>>();

  constructor(url: string, edits: readonly Mutant[] = []) {
    this.#url = url;
    this.#edits = edits;
  }

  async find(name: string, form: Form): Promise<{ loaded: Loaded; scenario: Scenario }> {
    let loading = this.#loaded.get(key(form));
    if (loading === undefined) {
      loading = load(this.#url, form, this.#edits);
      this.#loaded.set(key(form), loading);
    }
    const loaded = await loading;
    return { loaded, scenario: loaded.scenarios.find((each) => each.name === name) as Scenario };
  }
}

export async function runFile(url: string, options: SuiteOptions): Promise<SuiteResult> {
  const result: SuiteResult = { executions: 0, states: 0, mutants: 0, killed: 0, failures: [] };
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
      if (able.length > 0) {
        try {
          await runMutant(url, able, mutant, options, result);
        } catch (thrown) {
          result.failures.push(`mutant of ${mutant.file}: ${mutant.breaks}: it is broken: ${String(thrown)}`);
        }
      }
      if (able.length === 0 && options.only === undefined)
        result.failures.push(`${mutant.breaks}: no scenario is called ${mutant.by}`);
    }
  }
  return result;
}

async function runScenario(forms: Forms, each: Scenario, options: SuiteOptions, result: SuiteResult): Promise<void> {
  for (const calls of ["star", "wrap"] as const) {
    const form = formOf(each, calls);
    const { loaded, scenario } = await forms.find(each.name, form);
    const limits = scenarioLimits(scenario, options.isDeep && calls === "star", calls);
    const started = performance.now();
    // Dropped calls show without deaths.
    const alive = calls === "star" ? scenario : { ...scenario, kills: 0 };
    const outcome = explore(loaded, alive, limits, calls, options);
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
    for (const race of scenario.races ?? []) {
      if (calls === "star" && !world.racesSeen.has(race)) {
        result.failures.push(`${scenario.name}: the race that is allowed in ${race.file} (${race.line}) doesn't occur`);
      }
    }
  }
}

function scenarioLimits(scenario: Scenario, isDeep: boolean, calls: Form["calls"]): Limits {
  const limits = limitsOf(scenario);
  const most = (scenario.kill?.length ?? 0) > 0 ? WRAP_PREEMPTIONS_KILL : WRAP_PREEMPTIONS;
  if (calls === "wrap") return { ...limits, preemptions: Math.min(most, Math.max(0, limits.preemptions - 1)) };
  if (!isDeep) return limits;
  return { ...limits, preemptions: limits.preemptions + 1, states: 100_000_000, ...scenario.deep };
}

function explore(
  loaded: Loaded,
  scenario: Scenario,
  limits: Limits,
  calls: Form["calls"],
  options: SuiteOptions,
): Outcome {
  const settings = {
    wraps: calls === "wrap",
    ...(options.limitMs === undefined ? {} : { endsAt: performance.now() + options.limitMs }),
  };
  if (scenario.random === undefined) return search(loaded, scenario, limits, settings);
  const count = calls === "wrap" ? Math.ceil(scenario.random.executions / 10) : scenario.random.executions;
  const seeds = { first: 1, count: options.isDeep ? count * 50 : count, changes: scenario.random.changes };
  return randomWalk(loaded, scenario, limits, settings, seeds);
}

async function runMutant(
  url: string,
  scenarios: readonly Scenario[],
  mutant: Mutant,
  options: SuiteOptions,
  result: SuiteResult,
): Promise<void> {
  result.mutants += 1;
  const started = performance.now();
  const forms = new Forms(url, [mutant]);
  let executions = 0;
  const title = `mutant of ${mutant.file}: ${mutant.breaks}`;
  const least = Math.max(...scenarios.map((each) => limitsOf(each).preemptions));
  // Few preemptions first, in all scenarios: most mutants fall at once.
  for (let preemptions = 0; preemptions <= Math.min(least, 4); preemptions += 1) {
    for (const each of scenarios) {
      const limits = limitsOf(each);
      if (preemptions > limits.preemptions || (each.random !== undefined && preemptions > 0)) continue;
      const { loaded, scenario } = await forms.find(each.name, formOf(each, "star"));
      const isLast = preemptions === 4 && limits.preemptions > 4;
      const outcome = explore(
        loaded,
        scenario,
        { ...limits, preemptions: isLast ? limits.preemptions : preemptions },
        "star",
        {
          ...options,
          isDeep: false,
        },
      );
      executions += outcome.executions;
      result.executions += outcome.executions;
      result.states += outcome.states;
      if (outcome.failure === undefined) continue;
      const ms = Math.round(performance.now() - started);
      const first = outcome.failure.message.split("\n")[0];
      if (
        /^(ReferenceError|SyntaxError|TypeError: Assignment to constant)/.test(outcome.failure.message) ||
        /unsupported|bound|scenario/.test(outcome.failure.kind)
      ) {
        result.failures.push(`${title}: it is not a mutant, it is broken: ${first}`);
        return;
      }
      result.killed += 1;
      options.say(
        `${title}: killed by "${scenario.name}" (${outcome.failure.kind}, ${executions} executions, ${ms} ms): ${first}`,
      );
      return;
    }
  }
  result.failures.push(`${title}: SURVIVED ${executions} executions`);
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

/** Replays a schedule of a scenario of the file, with the mutant of that number applied if one is given. */
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
