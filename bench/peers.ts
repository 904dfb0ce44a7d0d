/**
 * Pools that a user could pick, behind one interface: ours, and the peers.
 *
 * A task function is bound once, so that none of them pays for a look-up by name that its users
 * don't have to write.
 */
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { Piscina } from "piscina";
import { FixedThreadPool } from "poolifier";
import { Tinypool } from "tinypool";
import workerpool from "workerpool";
import { Pool } from "@millrace/pool";
import { Scheduler } from "@millrace/scheduler";
import type * as tasks from "./fixtures/tasks.ts";

export type TaskName = keyof typeof tasks;
export type Call = (argument: unknown) => Promise<unknown>;

export interface OpenPool {
  /** Calls of one task function. */
  readonly bind: (name: TaskName) => Call;
  readonly close: () => Promise<unknown>;
}

export interface Peer {
  readonly name: string;
  /** `tasks`: what it will run. Pools with a setting for it get the one that suits. */
  readonly open: (threads: number, tasks: "short" | "long") => Promise<OpenPool>;
}

export const fixture = (name: string): URL => new URL(`./fixtures/${name}.js`, import.meta.url);

/** On a machine that does other things as well a task may seem to run for long: no news here. */
export const ignore = (): void => {};

export const millrace: Peer = {
  name: "millrace",
  open: async (threads) => {
    const scheduler = await Scheduler.open<typeof tasks>({
      handlers: fixture("tasks"),
      processors: threads,
      onHint: ignore,
    });
    return { bind: (name) => scheduler.run[name] as Call, close: () => scheduler.close() };
  },
};

/** The same scheduler behind piscina's interface. */
export const millracePool: Peer = {
  name: "millrace, as Pool",
  open: async (threads) => {
    const pool = new Pool({ filename: fixture("tasks").href, maxThreads: threads, concurrentTasksPerWorker: 1024 });
    return {
      bind: (name) => {
        const options = { name };
        return (argument) => pool.run(argument, options) as Promise<unknown>;
      },
      close: () => pool.destroy(),
    };
  },
};

function piscina(concurrentTasksPerWorker: number): Peer["open"] {
  return async (threads) => {
    const pool = new Piscina({
      filename: fixture("tasks").href,
      minThreads: threads,
      maxThreads: threads,
      concurrentTasksPerWorker,
    });
    return {
      bind: (name) => {
        const options = { name };
        return (argument) => pool.run(argument, options) as Promise<unknown>;
      },
      close: () => pool.destroy(),
    };
  };
}

async function openTinypool(threads: number): Promise<OpenPool> {
  const pool = new Tinypool({ filename: fixture("tasks").href, minThreads: threads, maxThreads: threads });
  return {
    bind: (name) => {
      const options = { name };
      return (argument) => pool.run(argument, options) as Promise<unknown>;
    },
    close: () => pool.destroy(),
  };
}

async function openWorkerpool(threads: number): Promise<OpenPool> {
  const pool = workerpool.pool(fileURLToPath(fixture("workerpool-tasks")), {
    minWorkers: threads,
    maxWorkers: threads,
    workerType: "thread",
  });
  return {
    bind: (name) => (argument) => pool.exec(name, [argument]) as unknown as Promise<unknown>,
    close: () => pool.terminate() as unknown as Promise<unknown>,
  };
}

/**
 * Tasks per worker beyond which poolifier queues on the main thread: long tasks can be stolen only
 * from there.
 */
const POOLIFIER_CONCURRENCY = { short: 64, long: 1 } as const;

async function openPoolifier(threads: number, length: "short" | "long"): Promise<OpenPool> {
  const pool = new FixedThreadPool(threads, fileURLToPath(fixture("poolifier-tasks")), {
    enableTasksQueue: true,
    tasksQueueOptions: {
      concurrency: POOLIFIER_CONCURRENCY[length],
      taskStealing: true,
      tasksStealingOnBackPressure: true,
    },
  });
  return { bind: (name) => (argument) => pool.execute(argument, name), close: () => pool.destroy() };
}

/**
 * Worker threads in turn, a promise per message. No crash handling, no balancing: less than this is
 * no pool.
 */
async function openRaw(threads: number): Promise<OpenPool> {
  const workers = Array.from({ length: threads }, () => new Worker(fixture("raw-worker")));
  const resolves = new Map<number, (value: unknown) => void>();
  for (const worker of workers) {
    worker.on("message", ({ id, value }: { id: number; value: unknown }) => {
      const resolve = resolves.get(id) as (value: unknown) => void;
      resolves.delete(id);
      resolve(value);
    });
  }
  let next = 0;
  return {
    bind: (name) => (argument) =>
      new Promise((resolve) => {
        const id = next;
        next += 1;
        resolves.set(id, resolve);
        (workers[id % threads] as Worker).postMessage({ id, name, argument });
      }),
    close: () => Promise.all(workers.map((worker) => worker.terminate())),
  };
}

export const peers: readonly Peer[] = [
  { name: "piscina", open: piscina(1) },
  { name: "piscina, 64 tasks per worker", open: piscina(64) },
  { name: "tinypool", open: openTinypool },
  { name: "workerpool", open: openWorkerpool },
  { name: "poolifier, stealing", open: openPoolifier },
  { name: "postMessage", open: openRaw },
];
