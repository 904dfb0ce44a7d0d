/** Options of the pool and of a call: checked with the texts of piscina, and filled. */
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import type { ResourceLimits, SHARE_ENV } from "node:worker_threads";
import { type AbortSignalAny, isTaskQueue, type TransferList } from "@millrace/thread-pool";
import type { PiscinaLoadBalancer } from "./balancer.ts";
import { FixedQueue, type TaskQueue } from "./task.ts";

export type EnvSpecifier = NodeJS.Dict<string> | typeof SHARE_ENV;

export interface Options {
  /** The module with the tasks: a path or a `file:` URL. */
  filename?: string | null;
  /** The export that is called. Default: `"default"`. */
  name?: string;
  /** Threads that stay. Default: half of the available parallelism, at least 1. */
  minThreads?: number;
  /** Default: one and a half times the available parallelism. */
  maxThreads?: number;
  /** Milliseconds after which an idle thread above `minThreads` ends. Default: 0. */
  idleTimeout?: number;
  /** Tasks that may wait; `"auto"` is `maxThreads` squared. Default: Infinity. */
  maxQueue?: number | "auto";
  /** Tasks that share a thread. Default: 1. */
  concurrentTasksPerWorker?: number;
  /** How an idle thread waits. Default: `"sync"`, blocked in `Atomics.wait`. */
  atomics?: "sync" | "async" | "disabled";
  /** As in piscina 4: false is `atomics: "disabled"`. */
  useAtomics?: boolean;
  resourceLimits?: ResourceLimits;
  argv?: string[];
  execArgv?: string[];
  env?: EnvSpecifier;
  workerData?: unknown;
  /** Default: a `FixedQueue`. */
  taskQueue?: TaskQueue;
  /** Added to the niceness of the threads; they alone are slowed down on Linux. Default: 0. */
  niceIncrement?: number;
  /** Default: true. */
  trackUnmanagedFds?: boolean;
  /** Milliseconds that `close()` waits for tasks. Default: 30,000. */
  closeTimeout?: number;
  /** Whether `histogram` and `utilization` are kept. Default: true. */
  recordTiming?: boolean;
  /** Whether a task that the balancer declines stays at the head of the queue. Default: false. */
  stricterFIFO?: boolean;
  /** Default: the idle thread, else the least busy one. */
  loadBalancer?: PiscinaLoadBalancer;
  /** Whether each thread keeps a histogram for the balancer. Default: false. */
  workerHistogram?: boolean;
}

export interface FilledOptions extends Options {
  filename: string | null;
  name: string;
  minThreads: number;
  maxThreads: number;
  idleTimeout: number;
  maxQueue: number;
  concurrentTasksPerWorker: number;
  atomics: "sync" | "async" | "disabled";
  taskQueue: TaskQueue;
  niceIncrement: number;
  trackUnmanagedFds: boolean;
  closeTimeout: number;
  recordTiming: boolean;
  stricterFIFO: boolean;
  workerHistogram: boolean;
}

export interface RunOptions {
  transferList?: TransferList;
  filename?: string | null;
  signal?: AbortSignalAny | null;
  name?: string | null;
}

export interface CloseOptions {
  /** Rejects the tasks that haven't begun. */
  force?: boolean;
}

const parallelism = availableParallelism();

const DEFAULTS = {
  filename: null,
  name: "default",
  minThreads: Math.max(Math.floor(parallelism / 2), 1),
  maxThreads: parallelism * 1.5,
  idleTimeout: 0,
  maxQueue: Infinity,
  concurrentTasksPerWorker: 1,
  atomics: "sync",
  niceIncrement: 0,
  trackUnmanagedFds: true,
  closeTimeout: 30_000,
  recordTiming: true,
  stricterFIFO: false,
  workerHistogram: false,
} as const satisfies Partial<FilledOptions>;

const isNumberFrom =
  (least: number) =>
  (value: unknown): boolean =>
    typeof value === "number" && value >= least;
const isString = (value: unknown): boolean => value === null || typeof value === "string";
const isBoolean = (value: unknown): boolean => typeof value === "boolean";
const isAny = (): boolean => true;

/** Each option with what it must be; undefined is always allowed. */
const RULES: Readonly<Record<string, readonly [(value: unknown) => boolean, string]>> = {
  filename: [isString, "options.filename must be a string or null"],
  name: [isString, "options.name must be a string or null"],
  minThreads: [isNumberFrom(0), "options.minThreads must be a non-negative integer"],
  maxThreads: [isNumberFrom(1), "options.maxThreads must be a positive integer"],
  idleTimeout: [isNumberFrom(0), "options.idleTimeout must be a non-negative integer"],
  maxQueue: [(value) => value === "auto" || isNumberFrom(0)(value), "options.maxQueue must be a non-negative integer"],
  concurrentTasksPerWorker: [isNumberFrom(1), "options.concurrentTasksPerWorker must be a positive integer"],
  atomics: [
    (value) => value === null || ["sync", "async", "disabled"].includes(value as string),
    "options.atomics should be a value of sync, sync or disabled.",
  ],
  resourceLimits: [(value) => typeof value === "object" && value !== null, "options.resourceLimits must be an object"],
  taskQueue: [isTaskQueue, "options.taskQueue must be a TaskQueue object"],
  niceIncrement: [
    (value) => isNumberFrom(process.platform === "win32" ? -Infinity : 0)(value),
    "options.niceIncrement must be a non-negative integer on Unix systems",
  ],
  trackUnmanagedFds: [isBoolean, "options.trackUnmanagedFds must be a boolean value"],
  closeTimeout: [isNumberFrom(0), "options.closeTimeout must be a non-negative integer"],
  loadBalancer: [
    (value) => typeof value === "function" && value.length >= 1,
    "options.loadBalancer must be a function with at least two args",
  ],
  workerHistogram: [isBoolean, "options.workerHistogram must be a boolean"],
  stricterFIFO: [isBoolean, "options.stricterFIFO must be a boolean"],
  // Not checked by piscina.
  useAtomics: [isAny, ""],
  argv: [isAny, ""],
  execArgv: [isAny, ""],
  env: [isAny, ""],
  workerData: [isAny, ""],
  recordTiming: [isAny, ""],
  // Options of the event emitter.
  captureRejections: [isAny, ""],
  triggerAsyncId: [isAny, ""],
  requireManualDestroy: [isAny, ""],
};

const warned = new Set<string>();

/** A program that was written for another version goes on; somebody should know, once. */
function warnOfUnknown(name: string): void {
  if (warned.has(name)) return;
  warned.add(name);
  process.emitWarning(`@millrace/piscina ignores the option "${name}", which it doesn't know`, {
    code: "MILLRACE_PISCINA_OPTION",
  });
}

/** Own members alone: whatever sits in a prototype, `Object.prototype` too, is nobody's option. */
export function ownMembers<T extends object>(given: T | null | undefined): T {
  return Object.assign(Object.create(null) as T, given);
}

/** Throws when an option is wrong. `options` has own members alone. */
export function checkOptions(options: Options): void {
  for (const [name, value] of Object.entries(options)) {
    const rule = Object.hasOwn(RULES, name) ? RULES[name] : undefined;
    if (rule === undefined) warnOfUnknown(name);
    else if (value !== undefined && !rule[0](value)) throw new TypeError(rule[1]);
  }
  const { minThreads, maxThreads } = options;
  if (minThreads !== undefined && maxThreads !== undefined && minThreads > maxThreads) {
    throw new RangeError("options.minThreads and options.maxThreads must not conflict");
  }
}

export const pathOf = (filename: string): string => (filename.startsWith("file:") ? fileURLToPath(filename) : filename);

/** All options, with their defaults; of the threads' two limits, the one that was given wins. */
export function fillOptions(options: Options): FilledOptions {
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Options;
  const filled = ownMembers({ ...DEFAULTS, ...given }) as FilledOptions;
  filled.filename = options.filename ? pathOf(options.filename) : null;
  filled.name ??= DEFAULTS.name;
  filled.atomics ??= DEFAULTS.atomics;
  if (options.useAtomics === false && options.atomics === undefined) filled.atomics = "disabled";
  filled.taskQueue = options.taskQueue ?? new FixedQueue();
  if (options.maxThreads !== undefined) filled.minThreads = Math.min(filled.minThreads, filled.maxThreads);
  if (options.minThreads !== undefined) filled.maxThreads = Math.max(filled.minThreads, filled.maxThreads);
  filled.maxQueue = options.maxQueue === "auto" ? filled.maxThreads ** 2 : (options.maxQueue ?? DEFAULTS.maxQueue);
  return filled;
}

/** The fault in the options of a call; undefined without one. */
export function faultOfRunOptions({ transferList, filename, name, signal }: RunOptions): string | undefined {
  if (transferList !== undefined && !Array.isArray(transferList)) return "transferList argument must be an Array";
  if (filename != null && typeof filename !== "string") return "filename argument must be a string";
  if (name != null && typeof name !== "string") return "name argument must be a string";
  if (signal != null && typeof signal !== "object") return "signal argument must be an object";
  return undefined;
}
