/** Runs a scenario through its interleavings: all within the bounds, or many at random. */
import { seededRandom } from "@millrace/base";
import type { Bounds, Scenario } from "./api.ts";
import { Execution, KILL, KINDS, TIMEOUT } from "./execute.ts";
import { hashOf, mixA, mixB, StateCache } from "./hash.ts";
import type { Loaded } from "./load.ts";
import { encodeSchedule } from "./schedule.ts";
import { Violation, world } from "./world.ts";

export interface Limits {
  readonly preemptions: number;
  readonly timeouts: number;
  readonly steps: number;
  readonly states: number;
}

/**
 * Two preemptions find most bugs (loom and CHESS say the same); the others are far above what the
 * scenarios need.
 */
export const LIMITS: Limits = { preemptions: 2, timeouts: 0, steps: 2000, states: 3_000_000 };

export interface Options {
  readonly wraps: boolean;
  readonly usesCache?: boolean;
  readonly checksRaces?: boolean;
  /** Where the search stops even though it is not through; ms of `performance.now()`. */
  readonly endsAt?: number;
  /** Collects a hash for every end that is reached. */
  readonly ends?: Set<string>;
}

export interface Failure {
  readonly kind: string;
  readonly message: string;
  /** Replays it. */
  readonly schedule: string;
}

export interface Outcome {
  executions: number;
  states: number;
  failure: Failure | undefined;
  /** Whether everything within the bounds was seen. */
  isComplete: boolean;
}

export function limitsOf(scenario: Scenario, bounds?: Bounds): Limits {
  return { ...LIMITS, ...scenario.bounds, ...bounds };
}

/** Depth-first search with replay from the start. */
export function search(loaded: Loaded, scenario: Scenario, limits: Limits, options: Options): Outcome {
  begin(loaded);
  const cache = new StateCache();
  const outcome: Outcome = { executions: 0, states: 0, failure: undefined, isComplete: false };
  const settings = { ...limits, wraps: options.wraps, checksRaces: options.checksRaces ?? true };
  /** The choices of the execution, and what is left to try at each step. */
  const path: number[] = [];
  const open: number[][] = [];
  const sites: number[] = [];
  const hash = { a: 0, b: 0 };
  const withLast = Number.isFinite(limits.preemptions);
  for (;;) {
    const execution = new Execution(scenario, settings);
    outcome.executions += 1;
    let left = limits.preemptions;
    let depth = 0;
    for (; world.failure === undefined; depth += 1) {
      if (depth >= path.length) {
        if (options.usesCache !== false) {
          execution.hash(hash, withLast);
          if (!cache.visit(hash.a, hash.b, withLast ? left : 0)) break;
        }
        const choices: number[] = [];
        execution.choices(choices, left);
        const [first, ...others] = choices;
        if (first === undefined) {
          execution.finish();
          options.ends?.add(endOf(execution));
          break;
        }
        path.push(first);
        open.push(others);
        sites.push(UNKNOWN_SITE);
      }
      const choice = path[depth] as number;
      const site = siteOf(choice);
      if (sites[depth] === UNKNOWN_SITE) sites[depth] = site;
      else if (sites[depth] !== site) {
        world.failure = new Violation(
          "scenario",
          "the same schedule led elsewhere: something in it is not deterministic",
        );
        break;
      }
      if (execution.isPreemption(choice)) left -= 1;
      execution.step(choice);
    }
    outcome.states = cache.size;
    const { failure } = world;
    if (failure !== undefined) {
      outcome.failure = {
        kind: failure.kind,
        message: failure.message,
        schedule: encodeSchedule(path.slice(0, depth)),
      };
      return outcome;
    }
    if (cache.size > limits.states) {
      const message = `more than ${limits.states} states: the scenario is too large for its bounds`;
      outcome.failure = { kind: "bound", message, schedule: "" };
      return outcome;
    }
    while (open.length > 0 && open.at(-1)?.length === 0) {
      open.pop();
      path.pop();
      sites.pop();
    }
    if (open.length === 0) {
      outcome.isComplete = true;
      return outcome;
    }
    if (options.endsAt !== undefined && performance.now() > options.endsAt) return outcome;
    path[path.length - 1] = open.at(-1)?.shift() as number;
    sites[sites.length - 1] = UNKNOWN_SITE;
  }
}

const UNKNOWN_SITE = -1;

/** Before a step: what the thread stands before. */
function siteOf(choice: number): number {
  const thread = world.threads[Math.floor(choice / KINDS)];
  return choice % KINDS === KILL || thread === undefined ? 0 : thread.site;
}

/**
 * Executions with random priorities that change at random steps: probabilistic concurrency testing
 * (Burckhardt et al., 2010).
 */
export function randomWalk(
  loaded: Loaded,
  scenario: Scenario,
  limits: Limits,
  options: Options,
  seeds: { readonly first: number; readonly count: number; readonly changes: number },
): Outcome {
  begin(loaded);
  const outcome: Outcome = { executions: 0, states: 0, failure: undefined, isComplete: false };
  const settings = { ...limits, wraps: options.wraps, checksRaces: options.checksRaces ?? true };
  let longest = 64;
  for (let seed = seeds.first; seed < seeds.first + seeds.count; seed += 1) {
    const random = seededRandom(seed);
    const execution = new Execution(scenario, settings);
    const priorities = world.threads.map(() => random.below(1 << 20) + seeds.changes);
    const changesAt = Array.from({ length: seeds.changes }, () => random.below(longest));
    const killAt = world.killsLeft > 0 ? random.below(longest) : -1;
    const path: number[] = [];
    for (let step = 0; world.failure === undefined; step += 1) {
      const choices: number[] = [];
      execution.choices(choices, Infinity);
      if (choices.every((choice) => choice % KINDS === KILL)) {
        execution.finish();
        options.ends?.add(endOf(execution));
        break;
      }
      const change = changesAt.indexOf(step);
      if (change >= 0 && execution.last >= 0) priorities[execution.last] = change;
      const kills = choices.filter((choice) => choice % KINDS === KILL);
      const others = choices.filter((choice) => choice % KINDS !== KILL);
      const timeouts = others.filter((choice) => choice % KINDS >= TIMEOUT);
      let choice = others.reduce((best, each) =>
        priorityOf(each, priorities) > priorityOf(best, priorities) ? each : best,
      );
      if (kills.length > 0 && step >= killAt) choice = kills[random.below(kills.length)] as number;
      else if (timeouts.length > 0 && random.below(8) === 0) choice = timeouts[random.below(timeouts.length)] as number;
      path.push(choice);
      execution.step(choice);
    }
    longest = Math.max(longest, path.length);
    outcome.executions += 1;
    outcome.states += path.length;
    const { failure } = world;
    if (failure !== undefined) {
      outcome.failure = {
        kind: failure.kind,
        message: `seed ${seed}: ${failure.message}`,
        schedule: encodeSchedule(path),
      };
      return outcome;
    }
    if (options.endsAt !== undefined && performance.now() > options.endsAt) return outcome;
  }
  outcome.isComplete = true;
  return outcome;
}

/** A time-out comes after everything that can happen without one. */
function priorityOf(choice: number, priorities: readonly number[]): number {
  return (priorities[Math.floor(choice / KINDS)] as number) - (choice % KINDS >= TIMEOUT ? 1 << 21 : 0);
}

export function begin(loaded: Loaded): void {
  world.clear();
  world.states = loaded.states;
}

/** Contents of memory, and what every thread returned and logged. */
function endOf(execution: Execution): string {
  const text = JSON.stringify(execution.end(), (_, value: unknown) =>
    typeof value === "bigint" ? `${value}n` : value,
  );
  const hash = hashOf(text);
  return `${world.memoryA}:${world.memoryB}:${mixA(hash, 1)}:${mixB(hash, 2)}`;
}
