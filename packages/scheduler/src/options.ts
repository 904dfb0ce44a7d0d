/** The options of a scheduler and of a call: their rules, and their resolved form. */
import { availableParallelism } from "node:os";
import type { ResourceLimits } from "node:worker_threads";
import {
  abortSignal,
  baseError,
  callback,
  custom,
  integer,
  list,
  oneOf,
  optional,
  optionsObject,
  powerOfTwo,
  type Resolved,
  resolveOptions,
  type Rule,
  type Rules,
  text,
} from "@millrace/base";
import { type CallOptions, PLAIN_CALL } from "./calls/call-options.ts";
import { PROCESSORS_MAX } from "./shared/layout.ts";
import type { RunManyOptions, RunOptions } from "./run-types.ts";
import { PRIORITY } from "./shared/priorities.ts";
import type { MachineDeath } from "./supervisor/supervisor.ts";
import { ATTEMPTS_MAX, taskPolicy } from "./shared/task-table.ts";
import { BYTES, ITEMS } from "./shared/values.ts";

export interface SchedulerOptions {
  /**
   * The module whose exported functions are the handlers: a URL (`data:` as well), or a path. Each
   * worker thread loads it once, calls an export named `initialize` before the first task, and one
   * named `teardown` after the last: at `close()`, not when it is ended otherwise.
   * TypeScript where Node can run it (22.18, 23.6 and later).
   */
  readonly handlers: URL | string;
  /** Number of tasks that run at the same time. Default: the available parallelism. */
  readonly processors?: number;
  /**
   * Worker threads at most: one per processor, and spares for those that wait in a handler.
   * Default: processors + 4.
   */
  readonly machinesMax?: number;
  /** Calls under way at once, a power of two; more wait on the heap. Default 4096. */
  readonly tasksMax?: number;
  /**
   * Tasks of the handlers of one thread that other threads may run at once, a power of two; more
   * wait on the heap. Default 1024.
   */
  readonly nestedTasksMax?: number;
  /**
   * Async handlers pending at once on one worker thread, without those that wait for what they have
   * submitted. Default 1024.
   */
  readonly asyncTasksPerMachine?: number;
  /**
   * Bytes of arguments that calls from one thread have under way, and of results that it hasn't
   * read, per worker thread. Calls and results beyond wait. Default 1 GiB, taken up as needed and
   * given back within ten seconds.
   */
  readonly arenaBytesMax?: number;
  /**
   * How long to poll for outcomes before the calling thread's event loop may sleep. Default 50 µs.
   */
  readonly pollMicroseconds?: number;
  /**
   * How long an idle worker thread, and the calling thread after a call, look for work without a
   * pause. A lone call then takes a few µs; the look costs a core and holds up the event loop of
   * the calling thread. Default 0.
   */
  readonly spinMicroseconds?: number;
  /**
   * How long a worker thread may take to load the handlers' module and to run its `initialize`.
   * `open()` then rejects with `ERR_HANDLER_MODULE`. Calls that wait because no thread can be
   * started in the place of a dead one reject after this time with the reason. Default 30 s.
   */
  readonly startTimeoutMs?: number;
  /**
   * How long a worker thread may take to end at `close()`, with the module's `teardown`. The thread
   * is ended then, and `close()` rejects with `ERR_TEARDOWN_FAILED` if it has a `teardown`. Default
   * 5 s.
   */
  readonly teardownTimeoutMs?: number;
  /** Limits of each worker thread, as in node:worker_threads. */
  readonly resourceLimits?: ResourceLimits;
  /**
   * Records per thread that the trace keeps, a power of two; 0 (default) records nothing. See
   * `trace()`.
   */
  readonly trace?: number;
  /**
   * Numbers, in this thread's `ThreadTable`, of other threads that will submit tasks (see
   * `submitterHandle`). Default none.
   */
  readonly guests?: readonly number[];
  /** A module that exports `TaskHooks`, for the headers that guests attach to tasks. */
  readonly headerReader?: URL;
  /** Answers what handlers of tasks with headers ask: `StageHost.ask`. */
  readonly onAsk?: (value: unknown) => Promise<unknown>;
  /** Called when a worker thread has died. The runtime replaces the thread. */
  readonly onMachineDeath?: (death: MachineDeath) => void;
  /**
   * Called with a sentence about what slows the runtime down, once per handler. Default: a process
   * warning.
   */
  readonly onHint?: (text: string) => void;
}

/** Threads that may wait in handlers at the same time, by default. */
const SPARES = 4;
const MACHINES_MAX = 128;
/** As far as setTimeout goes. */
const TIMEOUT_MS_MAX: number = 2 ** 31 - 1;

/**
 * Powers of two, so that positions in rings are masks. The default of 4096 is what a benchmark with
 * 4096 calls needs at once.
 */
const rules = {
  handlers: custom("a URL or a path", isModule),
  processors: integer(1, PROCESSORS_MAX, () => Math.min(availableParallelism(), PROCESSORS_MAX)),
  machinesMax: optional(integer(1, MACHINES_MAX, 1)),
  tasksMax: powerOfTwo(2, 2 ** 16, 4096),
  nestedTasksMax: powerOfTwo(2, 2 ** 14, 1024),
  asyncTasksPerMachine: integer(1, 2 ** 16, 1024),
  arenaBytesMax: integer(4096, 2 ** 30, 2 ** 30),
  pollMicroseconds: integer(0, 1_000_000, 50),
  spinMicroseconds: integer(0, 1_000_000, 0),
  startTimeoutMs: integer(1, TIMEOUT_MS_MAX, 30_000),
  teardownTimeoutMs: integer(1, TIMEOUT_MS_MAX, 5000),
  resourceLimits: optional(optionsObject<ResourceLimits>()),
  trace: custom(
    "0 or a power of two up to 1048576",
    (value): value is number =>
      Number.isInteger(value) &&
      (value === 0 || (Number.isInteger(Math.log2(value as number)) && (value as number) <= 2 ** 20)),
    () => 0,
  ),
  guests: custom(
    "a list of thread numbers",
    (value): value is number[] => Array.isArray(value),
    () => [],
  ),
  headerReader: optional(custom("a URL", isUrl)),
  onAsk: optional(callback<(value: unknown) => Promise<unknown>>()),
  onMachineDeath: optional(callback<(death: MachineDeath) => void>()),
  onHint: optional(callback<(text: string) => void>()),
} satisfies Rules;

function isModule(value: unknown): value is URL | string {
  return isUrl(value) || (typeof value === "string" && value.length > 0);
}

/** Also one of another realm: test runners give their tests globals of their own. */
function isUrl(value: unknown): value is URL {
  return Object.prototype.toString.call(value) === "[object URL]";
}

const { guests: _guests, headerReader: _headerReader, onAsk: _onAsk, ...userRules } = rules;

/**
 * For an owner whose user gives a scheduler's options together with `others`: checks them all, but
 * for those that only the owner may set. Throws `ERR_INVALID_OPTION`.
 */
export function resolveWithScheduler<R extends Rules>(
  owner: string,
  others: R,
  given: SchedulerOptions,
): Resolved<R> & SchedulerOptions {
  const options = resolveOptions(owner, { ...userRules, ...others }, given) as Resolved<R> & SchedulerOptions;
  checkResourceLimits(`${owner}({ resourceLimits })`, options.resourceLimits);
  return options;
}

/**
 * With less than 4 MB of heap a thread takes the process with it instead of failing to start (V8 of
 * Node 24).
 */
const resourceLimitRules = {
  maxYoungGenerationSizeMb: optional(megabytes(1)),
  maxOldGenerationSizeMb: optional(megabytes(4)),
  codeRangeSizeMb: optional(megabytes(1)),
  stackSizeMb: optional(megabytes(1)),
} satisfies Rules;

/** As node:worker_threads takes them, fractions included. */
function megabytes(min: number): Rule<number> {
  return custom(
    `a number from ${min} to ${2 ** 20}`,
    (value): value is number => typeof value === "number" && value >= min && value <= 2 ** 20,
  );
}

/** Throws `ERR_INVALID_OPTION`: Node ignores what it doesn't know. */
export function checkResourceLimits(owner: string, limits: ResourceLimits | undefined): void {
  if (limits !== undefined) resolveOptions(owner, resourceLimitRules, limits);
}

/** Every option with its value; `machinesMax` at least `processors`. */
export type ResolvedSchedulerOptions = {
  readonly [Name in keyof SchedulerOptions]-?: Name extends
    | "resourceLimits"
    | "headerReader"
    | "onAsk"
    | "onMachineDeath"
    | "onHint"
    ? SchedulerOptions[Name] | undefined
    : NonNullable<SchedulerOptions[Name]>;
};

/** Throws `ERR_INVALID_OPTION`. */
export function schedulerOptions(given: SchedulerOptions): ResolvedSchedulerOptions {
  const options = resolveOptions("Scheduler.open", rules, given);
  checkResourceLimits("Scheduler.open({ resourceLimits })", options.resourceLimits);
  const machinesMax = Math.max(options.machinesMax ?? options.processors + SPARES, options.processors);
  return { ...options, machinesMax };
}

const manyRules = {
  priority: oneOf(["high", "normal", "low"], "normal"),
  retry: oneOf(["none", "crash", "error"], "none"),
  attemptsMax: integer(2, ATTEMPTS_MAX, 3),
} satisfies Rules;

const reduceRules = { ...manyRules, map: optional(text()) } satisfies Rules;

const runRules = {
  ...manyRules,
  signal: optional(abortSignal()),
  timeoutMs: optional(integer(1, TIMEOUT_MS_MAX, 1)),
  runTimeoutMs: optional(integer(1, TIMEOUT_MS_MAX, 1)),
  transferList: optional(list<object>()),
} satisfies Rules;

export function runOptions(name: string, given: RunOptions): CallOptions {
  const options = resolveOptions(`run.${name}`, runRules, given);
  const { signal, timeoutMs, runTimeoutMs, transferList, retry } = options;
  if (transferList !== undefined && transferList.length > 0 && retry !== "none") {
    throw baseError(
      "ERR_INVALID_OPTION",
      `run.${name}: what is transferred is gone at the next attempt; leave out "retry"`,
      {
        details: { owner: `run.${name}`, name: "transferList", allowed: 'a list, with retry "none"' },
      },
    );
  }
  const isLimited = signal !== undefined || timeoutMs !== undefined || runTimeoutMs !== undefined;
  return {
    ...callOptions(options, BYTES),
    limits: isLimited ? { signal, timeoutMs, runTimeoutMs } : undefined,
    transferList,
    policy: policyOf(options, isLimited),
  };
}

export function manyOptions(owner: string, given: RunManyOptions | undefined, kind: number): CallOptions {
  if (given === undefined) return kind === BYTES ? PLAIN_CALL : { ...PLAIN_CALL, kind };
  return callOptions(resolveOptions(owner, manyRules, given), kind);
}

/** Options of a reduction: the handler that is applied first, and the call. */
export function reduceOptions(
  owner: string,
  given: (RunManyOptions & { readonly map?: string }) | undefined,
): { readonly map: string | undefined; readonly call: CallOptions } {
  const { map, ...rest } = resolveOptions(owner, reduceRules, given);
  return { map, call: callOptions(rest, ITEMS) };
}

function callOptions(options: Resolved<typeof manyRules>, kind: number): CallOptions {
  return {
    priority: PRIORITY[options.priority],
    policy: policyOf(options, false),
    limits: undefined,
    transferList: undefined,
    kind,
  };
}

function policyOf({ retry, attemptsMax }: Resolved<typeof manyRules>, isTimed: boolean): number {
  return taskPolicy(retry !== "none", retry === "error", attemptsMax, isTimed);
}
