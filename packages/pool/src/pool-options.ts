/**
 * The options of `Pool`: those of piscina that mean something over the scheduler. Another option of
 * piscina is refused, with the reason in place of the allowed values, unless its value asks for
 * what the scheduler does anyway.
 */
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import type { ResourceLimits } from "node:worker_threads";
import {
  boolean,
  custom,
  integer,
  list,
  optional,
  optionsObject,
  resolveOptions,
  type Resolved,
  type Rule,
  type Rules,
} from "@millrace/base";
import { poolError } from "./errors.ts";

export interface PoolOptions {
  /**
   * The module with the task functions: a path, or a file URL. Optional if every run() names one.
   */
  readonly filename?: string | null;
  /** The export that is called. Default "default". */
  readonly name?: string;
  /** At most `maxThreads`, and without effect: all of those start at once and stay. */
  readonly minThreads?: number;
  /** Default: the available parallelism. */
  readonly maxThreads?: number;
  /** Tasks that may wait; "auto" is `maxThreads` squared. Default: no limit. */
  readonly maxQueue?: number | "auto";
  /** Async tasks that may be pending on one thread. Default 1. */
  readonly concurrentTasksPerWorker?: number;
  /** How long `close()` waits, in ms. Default 30,000. */
  readonly closeTimeout?: number;
  /** Without it there are no `histogram` and no `utilization`. Default true. */
  readonly recordTiming?: boolean;
  /** Of each thread, as for `new Worker()`. */
  readonly resourceLimits?: ResourceLimits;

  /** Only Infinity: threads stay until the pool is closed. */
  readonly idleTimeout?: number;
  /** Only "sync": idle threads block in Atomics.wait. */
  readonly atomics?: "sync";
  readonly niceIncrement?: 0;
  readonly trackUnmanagedFds?: true;
  readonly stricterFIFO?: false;
  readonly workerHistogram?: false;
}

/** As the scheduler: a limit because every pair of threads has rings. */
const THREADS_MAX = 64;

function only<const T>(value: T, reason: string): Rule<T> {
  return custom(
    `${String(value)} or left out (${reason})`,
    (given): given is T => given === value,
    () => value,
  );
}

function refused(reason: string): Rule<undefined> {
  return optional(custom<undefined>(`left out (${reason})`, (given): given is undefined => given === undefined));
}

const rules = {
  filename: custom("a text or null", isTextOrNull, () => null),
  name: custom(
    "a text",
    (value): value is string => typeof value === "string",
    () => "default",
  ),
  minThreads: optional(integer(0, THREADS_MAX, 0)),
  maxThreads: optional(integer(1, THREADS_MAX, 1)),
  maxQueue: custom('a number from 0, Infinity, or "auto"', isQueueLimit, () => Infinity),
  concurrentTasksPerWorker: integer(1, 2 ** 16, 1),
  closeTimeout: integer(0, 2 ** 31 - 1, 30_000),
  recordTiming: boolean(true),
  idleTimeout: only(Infinity, "threads stay until the pool is closed"),
  atomics: only("sync", "idle threads block in Atomics.wait"),
  niceIncrement: only(0, "all threads have the priority of the process"),
  trackUnmanagedFds: only(true, "Node's default"),
  stricterFIFO: only(false, "tasks are started in the order of the calls by each thread, and may be stolen by another"),
  workerHistogram: only(false, "see `histogram`"),
  taskQueue: refused("the order is the scheduler's; use its priorities through open() of the package millrace"),
  loadBalancer: refused("idle threads steal"),
  resourceLimits: optional(optionsObject<ResourceLimits>()),
  argv: refused("threads have those of the process"),
  execArgv: refused("threads have those of the process"),
  env: refused("threads share the environment of the process"),
  workerData: refused("pass what tasks need in the task"),
} satisfies Rules;

export interface ResolvedPoolOptions {
  readonly filename: string | null;
  readonly name: string;
  readonly minThreads: number;
  readonly maxThreads: number;
  readonly maxQueue: number;
  readonly concurrentTasksPerWorker: number;
  readonly closeTimeout: number;
  readonly recordTiming: boolean;
  readonly resourceLimits: ResourceLimits | undefined;
}

/** Throws `ERR_INVALID_OPTION`. */
export function resolvePoolOptions(given: PoolOptions): ResolvedPoolOptions {
  const options: Resolved<typeof rules> = resolveOptions("Pool", rules, given);
  const { minThreads = 0 } = options;
  const maxThreads = options.maxThreads ?? Math.max(Math.min(availableParallelism(), THREADS_MAX), minThreads);
  // Refuses more than the threads that there are.
  resolveOptions("Pool", { minThreads: integer(0, maxThreads, 0) }, { minThreads });
  return {
    filename: options.filename === null ? null : pathOf(options.filename),
    name: options.name,
    minThreads,
    maxThreads,
    maxQueue: options.maxQueue === "auto" ? maxThreads ** 2 : options.maxQueue,
    concurrentTasksPerWorker: options.concurrentTasksPerWorker,
    closeTimeout: options.closeTimeout,
    recordTiming: options.recordTiming,
    resourceLimits: options.resourceLimits,
  };
}

/** Options of one task; null stands for "left out", as in piscina. */
export interface PoolRunOptions {
  /** Moved to the thread instead of copied. */
  readonly transferList?: readonly object[];
  /** Another module than the pool's. */
  readonly filename?: string | null;
  /** Another export than the pool's. */
  readonly name?: string | null;
  /** Rejects with an AbortError. A task that has begun goes on, and what comes of it is dropped. */
  readonly signal?: AbortSignal | null;
}

const runRules = {
  transferList: optional(list<object>()),
  filename: custom("a text or null", isTextOrNull, () => null),
  name: custom("a text or null", isTextOrNull, () => null),
  signal: custom(
    "an AbortSignal or null",
    (value): value is AbortSignal | null => value === null || value instanceof AbortSignal,
    () => null,
  ),
} satisfies Rules;

export interface ResolvedPoolRunOptions {
  readonly transferList: readonly object[] | undefined;
  readonly filename: string | null;
  readonly name: string | null;
  readonly signal: AbortSignal | null;
}

export function resolvePoolRunOptions(given: PoolRunOptions): ResolvedPoolRunOptions {
  return resolveOptions("Pool.run", runRules, given);
}

export function pathOf(filename: string): string {
  return filename.startsWith("file:") ? fileURLToPath(filename) : filename;
}

export function unsupported(what: string, instead: string): Error {
  return poolError("ERR_POOL_UNSUPPORTED", `${what} isn't supported: ${instead}`, { details: { what } });
}

function isTextOrNull(value: unknown): value is string | null {
  return value === null || typeof value === "string";
}

function isQueueLimit(value: unknown): value is number | "auto" {
  return value === "auto" || (typeof value === "number" && value >= 0);
}
