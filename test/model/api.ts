/**
 * The functions with which a scenario is written. See docs/checker.md; an example is
 * scenarios/spsc-ring.ts.
 *
 *   export const scenarios = [
 *     scenario({
 *       name: "…",
 *       setUp: () => ({ … }),                       // alone; makes shared memory, and starts its counters near the wrap
 *       threads: {
 *         producer(shared, log) { … },              // production code, as each thread would write it
 *         consumer(shared, log) { log.push(…); return … },
 *       },
 *       check(shared, end) { assert.equal(end.logs.consumer, [1, 2]); },
 *     }),
 *   ];
 *   export const mutants = [{ file: "shared-memory/spsc-ring", from: "…", to: "…" }];
 *
 * Rules for the functions of a scenario:
 * - nothing but shared memory is shared: each thread makes its own objects over it. A thread puts
 *   its findings into its own `log`, or returns them; never into a variable that another thread
 *   reads.
 * - an assertion may stand anywhere; its error fails the scenario.
 * - a plain counter in shared memory inside a critical section also checks mutual exclusion, by
 *   way of the race check.
 * - no time, no randomness, no native callback with atomics in it (`forEach`, `map`): use loops.
 */
import type { Edit } from "./modules.ts";

export interface End {
  /** The results of the threads' functions; undefined for a thread that died or is blocked. */
  readonly results: Readonly<Record<string, unknown>>;
  /** The entries that each thread wrote into its log, up to its death if it died. */
  readonly logs: Readonly<Record<string, readonly unknown[]>>;
  readonly died: readonly string[];
  readonly blocked: readonly string[];
}

/**
 * Plain accesses that need no order, and why. Both must be true of one side: the module, and a
 * piece of the compiled line.
 */
export interface Race {
  readonly file: string;
  readonly line: string;
  readonly reason: string;
}

export interface Bounds {
  /**
   * How often a thread may be interrupted although it could go on; Infinity for all interleavings.
   * Default 2.
   */
  readonly preemptions?: number;
  /**
   * Number of waits and timers that may run out of time. Default 0: a wait that only a time-out
   * would end counts as a deadlock.
   */
  readonly timeouts?: number;
  /** Steps of one execution, after which it counts as a livelock. Default 2000. */
  readonly steps?: number;
  /**
   * States; more than these fail the run, so that a bound is never missed in silence. Default 3
   * million.
   */
  readonly states?: number;
}

export type ThreadFunction<S> = (shared: S, log: unknown[]) => unknown;

export interface Scenario<S = unknown> {
  readonly name: string;
  setUp(): S;
  readonly threads: Readonly<Record<string, ThreadFunction<S>>>;
  /** When no thread can go on. */
  check?(shared: S, end: End): void;
  /**
   * Threads that may be left waiting at the end, such as a worker that parks. Any other waiting
   * thread is a deadlock.
   */
  readonly mayBlock?: readonly string[];
  /**
   * Threads of which one dies at any step, at most `kills` in one execution (default 1). Plain
   * accesses are steps, too.
   */
  readonly kill?: readonly string[];
  readonly kills?: number;
  /** The thread that is the main thread to the code (`isMainThread`). Default: none. */
  readonly main?: string;
  readonly bounds?: Bounds;
  /**
   * Time that each look at the clock takes, ms, for code that looks around for a while. Default 0:
   * time stands still.
   */
  readonly tickMs?: number;
  /**
   * When no thread can go on, the first blocking wait runs out of time, as often as that happens.
   * Only for code that polls by design: elsewhere it would hide a lost wake-up.
   */
  readonly timePasses?: boolean;
  /** Larger bounds for `check:deep`. Default: one preemption more. */
  readonly deep?: Bounds;
  readonly races?: readonly Race[];
  /**
   * Instead of a search: `executions` runs with random priorities (PCT), each with `changes`
   * changes of priority.
   */
  readonly random?: { readonly executions: number; readonly changes: number };
}

/** A single edit of production code that some scenario of the same file must catch. */
export interface Mutant extends Edit {
  /** The promise that the mutant breaks, in a few words. */
  readonly breaks: string;
  /** Only scenarios whose name contains this are run, where all of them would take long. */
  readonly by?: string;
}

export interface ScenarioFile {
  readonly scenarios: readonly Scenario[];
  readonly mutants?: readonly Mutant[];
}

/**
 * Where counters of 32 bits start, so that they wrap in a scenario: JavaScript's bit operations
 * make them signed.
 */
export const NEAR_WRAP: number = 2 ** 31 - 2;

/** Gives a scenario its types. */
export function scenario<S>(definition: Scenario<S>): Scenario {
  return definition as unknown as Scenario;
}

export { join, pause } from "./runtime.ts";
