/** Looks for a scenario that notices an edit of production code. */
import type { Scenario } from "./api.ts";
import { type Limits, limitsOf, type Options, type Outcome, randomWalk, search } from "./explore.ts";
import { load, type Loaded } from "./load.ts";
import type { Edit } from "./modules.ts";
import type { Form } from "./rewrite.ts";

export function formOf(scenario: Pick<Scenario, "kill">, calls: Form["calls"]): Form {
  return { calls, plain: (scenario.kill?.length ?? 0) > 0 ? "yield" : "check" };
}

const key = (form: Form): string => `${form.calls} ${form.plain}`;

/** A scenario file with edits, loaded once per form. */
export class Forms {
  readonly url: string;
  readonly #edits: readonly Edit[];
  readonly #loaded = new Map<string, Promise<Loaded>>();

  constructor(url: string, edits: readonly Edit[] = []) {
    this.url = url;
    this.#edits = edits;
  }

  async find(name: string, form: Form): Promise<{ loaded: Loaded; scenario: Scenario }> {
    let loading = this.#loaded.get(key(form));
    if (loading === undefined) {
      loading = load(this.url, form, this.#edits);
      this.#loaded.set(key(form), loading);
    }
    const loaded = await loading;
    return { loaded, scenario: loaded.scenarios.find((each) => each.name === name) as Scenario };
  }
}

/** Searches the scenario, or walks through it at random when it is one for that. */
export function explore(loaded: Loaded, scenario: Scenario, limits: Limits, options: Options, times = 1): Outcome {
  if (scenario.random === undefined) return search(loaded, scenario, limits, options);
  const { executions, changes } = scenario.random;
  return randomWalk(loaded, scenario, limits, options, { first: 1, count: Math.ceil(executions * times), changes });
}

/** A scenario that may notice the edit with which its file is loaded. */
export interface Candidate {
  readonly forms: Forms;
  readonly scenario: Pick<Scenario, "name" | "kill">;
}

export interface Hunt {
  executions: number;
  states: number;
  /** The scenario that noticed the edit. */
  by: Candidate | undefined;
  /** The kind of fault that it noticed. */
  kind: string;
  message: string;
  /** The edit makes code that can't run, which says nothing about the scenario. */
  isBroken: boolean;
  /** Whether every scenario was searched to its bounds. */
  isComplete: boolean;
}

/**
 * A hunt allows 0, 1, … up to this many preemptions in turn, and then all that a scenario allows.
 */
const STEPS_OF_PREEMPTIONS = 4;

/**
 * Tries few preemptions first in all scenarios, as most mutants fall at once. `limitMs` is for the
 * whole of it.
 */
export async function hunt(candidates: readonly Candidate[], limitMs = Infinity): Promise<Hunt> {
  const found: Hunt = {
    executions: 0,
    states: 0,
    by: undefined,
    kind: "",
    message: "",
    isBroken: false,
    isComplete: true,
  };
  const endsAt = performance.now() + limitMs;
  for (let preemptions = 0; preemptions <= STEPS_OF_PREEMPTIONS; preemptions += 1) {
    for (const candidate of candidates) {
      const { loaded, scenario } = await candidate.forms.find(
        candidate.scenario.name,
        formOf(candidate.scenario, "star"),
      );
      const limits = limitsOf(scenario);
      if (preemptions > limits.preemptions || (scenario.random !== undefined && preemptions > 0)) continue;
      const isLast = preemptions === STEPS_OF_PREEMPTIONS;
      const bounded = { ...limits, preemptions: isLast ? limits.preemptions : preemptions };
      const outcome = explore(loaded, scenario, bounded, { wraps: false, endsAt });
      found.executions += outcome.executions;
      found.states += outcome.states;
      const { failure } = outcome;
      if (failure === undefined) {
        if (!outcome.isComplete) found.isComplete = false;
        continue;
      }
      found.kind = failure.kind;
      found.message = failure.message;
      found.isBroken = isBroken(failure);
      if (!found.isBroken) found.by = candidate;
      return found;
    }
  }
  return found;
}

function isBroken({ kind, message }: { readonly kind: string; readonly message: string }): boolean {
  return (
    /^(ReferenceError|SyntaxError|TypeError: Assignment to constant)/.test(message) ||
    /unsupported|bound|scenario/.test(kind)
  );
}
