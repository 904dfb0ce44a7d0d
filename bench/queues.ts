/**
 * Job queues that a user could pick, behind one interface, each set up as its documentation advises
 * for many small jobs. intake.bench.ts says what each of them does differently.
 */
import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { Queue as BullQueue, Worker as BullWorker } from "bullmq";
import { Logger, makeWorkerUtils, run as runGraphile } from "graphile-worker";
import { Redis } from "ioredis";
import PgBoss from "pg-boss";
import { open } from "millrace";
import { numberOf, type Payment, type Priority, priorityOf } from "./payments.ts";
import { postgresUnavailable, startPostgres } from "./postgres.ts";
import { redisUnavailable, startRedis } from "./redis.ts";

/** A queue calls this when the payment with this number is handled, and its end is durable. */
export type OnDone = (n: number) => void;

export interface Queue {
  /** Resolves when all of these are durable. */
  readonly publish: (payments: readonly Payment[]) => Promise<unknown>;
  /** Resolves when every payment that was published is handled, and that durable. */
  readonly settled: () => Promise<void>;
  readonly close: () => Promise<void>;
}

export interface QueueKind {
  readonly name: string;
  /** Payments in one call of `publish`, and such calls under way at once. */
  readonly batch: number;
  readonly calls: number;
  /** Payments published and not done: more of them only wait. */
  readonly outstandingMax: number;
  /** Whether it is only there to show what order by account costs. */
  readonly isOrdered?: boolean;
  readonly unavailable?: () => string | undefined;
  /** `directory` is empty. */
  readonly open: (directory: string, onDone: OnDone) => Promise<Queue>;
}

const settle = new URL("./fixtures/payment-handlers.js", import.meta.url);

/** Counts what is done, for the queues that can't be asked. */
class Count {
  done = 0;
  published = 0;
  readonly #onDone: OnDone;

  constructor(onDone: OnDone) {
    this.#onDone = onDone;
  }

  readonly add = (payment: Payment): void => {
    this.done += 1;
    this.#onDone(numberOf(payment));
  };

  readonly settled = async (): Promise<void> => {
    while (this.done < this.published) await sleep(1);
  };
}

export const millrace: QueueKind = {
  name: "millrace",
  batch: 256,
  calls: 32,
  outstandingMax: 16_384,
  open: async (directory, onDone) => {
    const mill = await open<{ settle: (payment: Payment) => void }>({ handlers: settle, journal: { directory } });
    const publish = async (payment: Payment): Promise<void> => {
      const n = numberOf(payment);
      const terms = { key: payment.account, idempotencyKey: payment.id, priority: priorityOf(n) };
      const { done } = await mill.publish.settle(payment, terms);
      void done.then(() => onDone(n));
    };
    return {
      publish: (payments) => Promise.all(payments.map(publish)),
      settled: async () => void (await mill.drain()),
      close: () => mill.close(),
    };
  },
};

/** Completed jobs that BullMQ keeps: as long as it does, their ids are refused. */
const KEPT = { age: 86_400, count: 1_000_000 };
const BULL_PRIORITIES: Readonly<Record<Priority, number>> = { high: 1, normal: 2, low: 3 };
const BULL_CONCURRENCY = 100;

const bullMq: QueueKind = {
  name: "BullMQ, appendfsync always",
  batch: 256,
  calls: 4,
  outstandingMax: 4096,
  unavailable: redisUnavailable,
  open: async (directory, onDone) => {
    const server = await startRedis(directory);
    const connect = (): Redis => new Redis(server.path, { maxRetriesPerRequest: null });
    const connections = [connect(), connect()] as const;
    const queue = new BullQueue<Payment>("payments", { connection: connections[0] });
    const count = new Count(onDone);
    const worker = new BullWorker<Payment>("payments", () => Promise.resolve(), {
      connection: connections[1],
      concurrency: BULL_CONCURRENCY,
      removeOnComplete: KEPT,
    });
    worker.on("completed", ({ data }) => count.add(data));
    worker.on("error", fail);
    await worker.waitUntilReady();
    return {
      publish: async (payments) => {
        count.published += payments.length;
        const jobs = payments.map((data) => ({
          name: "settle",
          data,
          opts: { jobId: data.id, priority: BULL_PRIORITIES[priorityOf(numberOf(data))] },
        }));
        const [first] = jobs;
        if (jobs.length === 1 && first !== undefined) await queue.add(first.name, first.data, first.opts);
        else await queue.addBulk(jobs);
      },
      settled: count.settled,
      close: async () => {
        await worker.close();
        await queue.close();
        for (const connection of connections) connection.disconnect();
        await server.close();
      },
    };
  },
};

/** Jobs that one fetch takes, and fetches under way at once. */
const BOSS_BATCH = 500;
const BOSS_FETCHES = 2;
const BOSS_PRIORITIES: Readonly<Record<Priority, number>> = { high: 2, normal: 1, low: 0 };
/** How long a worker that found nothing waits. */
const IDLE_MS = 2;

/** pg-boss wants a UUID: the same one for the same payment. */
function uuidOf(id: string): string {
  const hex = createHash("md5").update(id).digest("hex");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

const pgBoss: QueueKind = {
  name: "pg-boss",
  batch: 500,
  calls: 2,
  outstandingMax: 4096,
  unavailable: postgresUnavailable,
  open: async (directory, onDone) => {
    const server = await startPostgres(directory);
    let isOpen = true;
    const boss = new PgBoss({ ...server.connection, max: 8 });
    // At its end it leaves connections to the server, which closes them.
    boss.on("error", (error) => isOpen && fail(error));
    await boss.start();
    await boss.createQueue("payments");
    const count = new Count(onDone);
    const work = async (): Promise<void> => {
      while (isOpen) {
        const jobs = await boss.fetch<Payment>("payments", { batchSize: BOSS_BATCH, priority: true });
        if (jobs.length === 0) {
          await sleep(IDLE_MS);
          continue;
        }
        const ids = jobs.map(({ id }) => id);
        await boss.complete("payments", ids);
        for (const { data } of jobs) count.add(data);
      }
    };
    const workers = Array.from({ length: BOSS_FETCHES }, work);
    return {
      publish: async (payments) => {
        count.published += payments.length;
        await boss.insert(
          payments.map((data) => ({
            id: uuidOf(data.id),
            name: "payments",
            data,
            priority: BOSS_PRIORITIES[priorityOf(numberOf(data))],
          })),
        );
      },
      settled: count.settled,
      close: async () => {
        isOpen = false;
        await Promise.all(workers);
        await boss.stop({ graceful: false });
        await server.close();
      },
    };
  },
};

/** The settings of its page about performance: 24 jobs at once and 500 fetched. */
const GRAPHILE = { concurrentJobs: 24, maxPoolSize: 25, localQueue: { size: 500 }, completeJobBatchDelay: 0 };
const GRAPHILE_PRIORITIES: Readonly<Record<Priority, number>> = { high: -1, normal: 0, low: 1 };

function graphile(name: string, isOrdered: boolean): QueueKind {
  return {
    name,
    isOrdered,
    batch: 500,
    calls: 2,
    outstandingMax: 4096,
    unavailable: postgresUnavailable,
    open: async (directory, onDone) => {
      const server = await startPostgres(directory);
      const { connectionString } = server;
      const logger = new Logger(() => () => {});
      const utils = await makeWorkerUtils({ connectionString, logger });
      await utils.migrate();
      const count = new Count(onDone);
      const preset = { worker: { connectionString, logger, failJobBatchDelay: 0, ...GRAPHILE } };
      const runner = await runGraphile({ preset, taskList: { settle: () => {} }, noHandleSignals: true });
      runner.events.on("job:complete", ({ job }) => count.add(job.payload as Payment));
      return {
        publish: async (payments) => {
          count.published += payments.length;
          await utils.addJobs(
            payments.map((payload) => ({
              identifier: "settle",
              payload,
              jobKey: payload.id,
              priority: GRAPHILE_PRIORITIES[priorityOf(numberOf(payload))],
              ...(isOrdered ? { queueName: payload.account } : undefined),
            })),
          );
        },
        // The event comes before the job's row is deleted.
        settled: async () => {
          await count.settled();
          while (await hasJobs(utils)) await sleep(1);
        },
        close: async () => {
          await runner.stop();
          await utils.release();
          await server.close();
        },
      };
    },
  };
}

async function hasJobs(utils: Awaited<ReturnType<typeof makeWorkerUtils>>): Promise<boolean> {
  const { rows } = await utils.withPgClient((client) => client.query("select 1 from graphile_worker.jobs limit 1"));
  return rows.length > 0;
}

/** An error that a peer only emits would leave a figure of what still worked. */
function fail(error: unknown): never {
  throw error;
}

export const peerQueues: readonly QueueKind[] = [
  bullMq,
  pgBoss,
  graphile("graphile-worker", false),
  graphile("graphile-worker, a queue per account", true),
];
