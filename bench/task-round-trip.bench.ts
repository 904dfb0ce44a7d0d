/**
 * One call of a trivial handler on a worker thread and back, with a small object both ways; one
 * worker thread each.
 */
import { fileURLToPath } from "node:url";
import { FixedThreadPool } from "poolifier";
import { Piscina } from "piscina";
import { Tinypool } from "tinypool";
import workerpool from "workerpool";
import { Scheduler } from "@millrace/scheduler";
import { type Benchmark, closedLoop, type Measure, percentile } from "./harness.ts";
import type * as handlers from "./fixtures/handlers.ts";

const fixture = (name: string): URL => new URL(`./fixtures/${name}.js`, import.meta.url);

async function measured(
  caseId: string,
  ms: number,
  call: (argument: { a: number }) => Promise<{ a: number }>,
): Promise<Measure[]> {
  await call({ a: 1 });
  const { perSecond, latencies } = await closedLoop(Number(caseId), ms, async (n) => {
    const { a } = await call({ a: n });
    if (a !== n + 1) throw new Error(`wrong result ${a} for ${n}`);
  });
  const throughput: Measure = { unit: "calls/s", value: perSecond, better: "more" };
  if (caseId !== "1") return [throughput];
  return [throughput, { unit: "µs", what: "p50", value: percentile(latencies, 50), better: "less" }];
}

async function millrace(caseId: string, ms: number): Promise<Measure[]> {
  const scheduler = await Scheduler.open<typeof handlers>({ handlers: fixture("handlers"), processors: 1 });
  const result = await measured(caseId, ms, (argument) => scheduler.run.increment(argument));
  await scheduler.close();
  return result;
}

function piscina(concurrentTasksPerWorker: number) {
  return async (caseId: string, ms: number): Promise<Measure[]> => {
    const pool = new Piscina({
      filename: fixture("handlers").href,
      name: "increment",
      minThreads: 1,
      maxThreads: 1,
      concurrentTasksPerWorker,
    });
    const result = await measured(caseId, ms, (argument) => pool.run(argument) as Promise<{ a: number }>);
    await pool.destroy();
    return result;
  };
}

async function tinypool(caseId: string, ms: number): Promise<Measure[]> {
  const pool = new Tinypool({ filename: fixture("handlers").href, name: "increment", minThreads: 1, maxThreads: 1 });
  const result = await measured(caseId, ms, (argument) => pool.run(argument) as Promise<{ a: number }>);
  await pool.destroy();
  return result;
}

async function workerpoolPool(caseId: string, ms: number): Promise<Measure[]> {
  const pool = workerpool.pool(fileURLToPath(fixture("workerpool-worker")), { maxWorkers: 1, workerType: "thread" });
  const result = await measured(
    caseId,
    ms,
    (argument) => pool.exec("increment", [argument]) as unknown as Promise<{ a: number }>,
  );
  await pool.terminate();
  return result;
}

async function poolifier(caseId: string, ms: number): Promise<Measure[]> {
  const pool = new FixedThreadPool<{ a: number }, { a: number }>(1, fileURLToPath(fixture("poolifier-worker")));
  const result = await measured(caseId, ms, (argument) => pool.execute(argument));
  await pool.destroy();
  return result;
}

export const taskRoundTrip: Benchmark = {
  name: "task-round-trip",
  cases: [
    { id: "1", words: "small object, one at a time" },
    { id: "512", words: "small object, 512 in flight" },
  ],
  subjects: [
    { name: "millrace", run: millrace },
    { name: "piscina", run: piscina(1) },
    { name: "piscina, 64 tasks per worker", run: piscina(64) },
    { name: "tinypool", run: tinypool },
    { name: "workerpool", run: workerpoolPool },
    { name: "poolifier", run: poolifier },
  ],
  effort: { full: { rounds: 7, cellMs: 1500 }, quick: { rounds: 2, cellMs: 700 } },
};
