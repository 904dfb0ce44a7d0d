/** Options of the pool and of a call, filled as tinypool fills them. */
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import type { ResourceLimits } from "node:worker_threads";
import type { AbortSignalAny, TransferList } from "@millrace/thread-pool";
import type { TinypoolChannel } from "./protocol.ts";
import { type TaskQueue, WaitingTasks } from "./task.ts";

export interface Options {
  /** The module with the tasks: a path or a URL. */
  filename?: string | URL | null;
  /** Where tasks run. Default: `"worker_threads"`. */
  runtime?: "worker_threads" | "child_process";
  /** The export that is called. Default: `"default"`. */
  name?: string;
  /** Workers that stay; below 1 it is a part of the parallelism. Default: half of that. */
  minThreads?: number;
  /** Below 1 it is a part of the available parallelism. Default: all of that. */
  maxThreads?: number;
  /** Milliseconds after which an idle worker above `minThreads` ends. Default: 0. */
  idleTimeout?: number;
  /** Milliseconds that a worker may take to end; then its task rejects. Default: no limit. */
  terminateTimeout?: number;
  /** Tasks that may wait; `"auto"` is `maxThreads` squared. Default: Infinity. */
  maxQueue?: number | "auto";
  /** Tasks that share a worker. Default: 1. */
  concurrentTasksPerWorker?: number;
  /** Whether an idle thread blocks in `Atomics.wait`. Default: true. */
  useAtomics?: boolean;
  resourceLimits?: ResourceLimits;
  /** Bytes of heap after which a worker is replaced when its task is over. */
  maxMemoryLimitBeforeRecycle?: number;
  argv?: string[];
  execArgv?: string[];
  env?: Record<string, string>;
  workerData?: any;
  taskQueue?: TaskQueue;
  trackUnmanagedFds?: boolean;
  /** Whether each task gets a new worker. Default: false. */
  isolateWorkers?: boolean;
  /** The export that is called before a worker ends. */
  teardown?: string;
  /** How values go to child processes. Default: `"json"`. */
  serialization?: "json" | "advanced";
}

export interface FilledOptions extends Options {
  filename: string | null;
  name: string;
  runtime: NonNullable<Options["runtime"]>;
  minThreads: number;
  maxThreads: number;
  idleTimeout: number;
  maxQueue: number;
  concurrentTasksPerWorker: number;
  useAtomics: boolean;
  taskQueue: TaskQueue;
}

export interface RunOptions {
  transferList?: TransferList;
  channel?: TinypoolChannel;
  filename?: string | URL | null;
  signal?: AbortSignalAny | null;
  name?: string | null;
  runtime?: Options["runtime"];
}

/** Own members alone: what sits in a prototype is nobody's option. */
export function withNullPrototype<T extends object>(source: T): T {
  return Object.assign(Object.create(null) as T, source);
}

export function pathOf(filename: string | URL): string {
  const text = String(filename);
  return text.startsWith("file:") ? fileURLToPath(text) : text;
}

/** A part of the available parallelism, or a count. */
function countOf(given: number | undefined): number | undefined {
  if (given === undefined || given <= 0 || given >= 1) return given;
  return Math.max(1, Math.floor(given * availableParallelism()));
}

/** Throws a RangeError when `minThreads` is larger than `maxThreads`. */
export function fillOptions(options: Options): FilledOptions {
  const parallelism = availableParallelism();
  const [least, most] = [countOf(options.minThreads), countOf(options.maxThreads)];
  if (least !== undefined && most !== undefined && least > most) {
    throw new RangeError("options.minThreads and options.maxThreads must not conflict");
  }
  const min = least ?? Math.max(parallelism / 2, 1);
  const max = most ?? parallelism;
  const minThreads = most === undefined ? min : Math.min(min, max);
  const maxThreads = least === undefined ? max : Math.max(min, max);
  const { filename, maxQueue = Infinity } = options;
  return Object.assign(withNullPrototype(options), {
    filename: filename ? pathOf(filename) : null,
    name: options.name ?? "default",
    runtime: options.runtime ?? ("worker_threads" as const),
    minThreads,
    maxThreads,
    idleTimeout: options.idleTimeout ?? 0,
    maxQueue: maxQueue === "auto" ? maxThreads ** 2 : maxQueue,
    concurrentTasksPerWorker: options.concurrentTasksPerWorker ?? 1,
    useAtomics: options.useAtomics ?? true,
    taskQueue: options.taskQueue ?? new WaitingTasks(),
    trackUnmanagedFds: options.trackUnmanagedFds ?? true,
  });
}
