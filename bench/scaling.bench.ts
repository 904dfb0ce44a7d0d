/**
 * The cost of more machines and longer queues: computing tasks on 1 to 4 machines, a skewed mix on
 * two, and tasks queued at once, from a thousand to a million.
 */
import { availableParallelism } from "node:os";
import { seededRandom } from "@millrace/base";
import { type Benchmark, type BenchmarkCase, closedLoop, type Measure, percentile, type Subject } from "./harness.ts";
import { Scheduler } from "@millrace/scheduler";
import { compute } from "./fixtures/tasks.ts";
import type * as tasks from "./fixtures/tasks.ts";
import { type Call, fixture, ignore, millrace, type OpenPool, type Peer, peers } from "./peers.ts";

/** Some 20 µs of computing. */
const COMPUTE_ROUNDS = 10_000;
const IN_FLIGHT_PER_MACHINE = 64;

/**
 * 1 % of the tasks take a hundred times as long. Shuffled once and for all: every pool gets them in
 * this order.
 */
const SKEWED_TASKS = 4000;
const SHORT_US = 50;
const LONG_US = 5000;
const SKEWED_MACHINES = 2;
/** The first runs show what it costs to compile the pools' code, while all cores compute. */
const SKEWED_WARM_UP = 4;
const SKEWED_RUNS = 5;

const QUEUED: readonly number[] = [1e3, 1e4, 1e5, 1e6];
/** The peers need half a minute and some gigabytes for a million. */
const QUEUED_MAX_OF_PEERS = 1e5;
const WARM_UP_TASKS = 20_000;
const RESOLVED_PER_TURN = 1024;

async function machines(pool: OpenPool, count: number, ms: number): Promise<Measure[]> {
  const call = pool.bind("compute");
  const right = compute(COMPUTE_ROUNDS);
  const { perSecond } = await closedLoop(count * IN_FLIGHT_PER_MACHINE, ms, async () => {
    const result = await call(COMPUTE_ROUNDS);
    if (result !== right) throw new Error(`wrong result ${String(result)}`);
  });
  return [{ unit: "tasks/s", value: perSecond, better: "more" }];
}

function skewedTimes(): Float64Array {
  const times = new Float64Array(SKEWED_TASKS).fill(SHORT_US);
  times.fill(LONG_US, 0, SKEWED_TASKS / 100);
  const random = seededRandom(4);
  for (let last = times.length - 1; last > 0; last -= 1) {
    const other = random.below(last + 1);
    const time = times[last] as number;
    times[last] = times[other] as number;
    times[other] = time;
  }
  return times;
}

/** Everything is submitted at once; ideal is the sum of the times, divided by the machines. */
async function makespan(call: Call): Promise<Measure[]> {
  const times = skewedTimes();
  const idealMs = times.reduce((sum, us) => sum + us, 0) / 1000 / SKEWED_MACHINES;
  const runs: number[] = [];
  for (let run = 0; run < SKEWED_WARM_UP + SKEWED_RUNS; run += 1) {
    const startedAt = performance.now();
    const results = await Promise.all(Array.from(times, call));
    runs.push((performance.now() - startedAt) / idealMs);
    results.forEach((result, n) => {
      if (result !== (times[n] as number) + 1) throw new Error(`wrong result ${String(result)} of task ${n}`);
    });
  }
  return [
    { unit: "× ideal", value: percentile(Float64Array.from(runs.slice(SKEWED_WARM_UP)), 50), better: "less" },
    { unit: "× ideal", what: "the first run", value: runs[0] as number, better: "less" },
  ];
}

/** Numbers `0` to `count - 1` at once; resolves to what came back, in order. */
type Burst = (count: number) => Promise<readonly unknown[]>;

function calls(call: Call): Burst {
  return (count) => Promise.all(Array.from({ length: count }, (_, n) => call(n)));
}

/** Time from the first submission to the last result, per task. */
async function queued(burst: Burst, count: number, ms: number): Promise<Measure[]> {
  const run = async (length: number): Promise<number> => {
    const startedAt = performance.now();
    const results = await burst(length);
    const tookMs = performance.now() - startedAt;
    results.forEach((result, n) => {
      if (result !== n + 1) throw new Error(`wrong result ${String(result)} of task ${n}`);
    });
    return tookMs;
  };
  // Warm, at the same depth where that is short.
  const length = Math.min(count, WARM_UP_TASKS);
  for (let warmed = 0; warmed < WARM_UP_TASKS; warmed += length) await run(length);
  const times: number[] = [];
  const end = performance.now() + ms;
  do times.push(await run(count));
  while (performance.now() < end);
  return [{ unit: "ns/task", value: (percentile(Float64Array.from(times), 50) * 1e6) / count, better: "less" }];
}

/** A list with one promise instead of a promise for each number. */
const lists: Subject = {
  name: "millrace, runMany",
  measures: (caseId) => caseId.startsWith("queued/"),
  run: async (caseId, ms) => {
    const scheduler = await Scheduler.open<typeof tasks>({ handlers: fixture("tasks"), processors: 1, onHint: ignore });
    const burst: Burst = (count) => scheduler.runMany.number(Array.from({ length: count }, (_, n) => n));
    const measures = await queued(burst, Number(caseId.slice(7)), ms);
    await scheduler.close();
    return measures;
  },
};

/**
 * Promises that nobody works for, resolved some at a time: what a promise for each number costs by
 * itself at that depth.
 */
const promisesAlone: Subject = {
  name: "promises alone",
  measures: (caseId) => caseId.startsWith("queued/"),
  run: (caseId, ms) => queued(burstOfPromises, Number(caseId.slice(7)), ms),
};

const burstOfPromises: Burst = async (count) => {
  const resolves: ((value: number) => void)[] = [];
  const rejects: ((error: unknown) => void)[] = [];
  const all = Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<number>((resolve, reject) => {
          resolves.push(resolve);
          rejects.push(reject);
        }),
    ),
  );
  for (let n = 0; n < count; n += 1) {
    if (n % RESOLVED_PER_TURN === 0) await new Promise((resolve) => setImmediate(resolve));
    (resolves[n] as (value: number) => void)(n + 1);
  }
  return all;
};

function subjectOf(peer: Peer): Subject {
  return {
    name: peer.name,
    measures: (caseId) =>
      !caseId.startsWith("queued/") || peer === millrace || Number(caseId.slice(7)) <= QUEUED_MAX_OF_PEERS,
    run: async (caseId, ms) => {
      const [kind, count] = caseId.split("/") as [string, string];
      const threads = kind === "machines" ? Number(count) : kind === "skewed" ? SKEWED_MACHINES : 1;
      const pool = await peer.open(threads, kind === "skewed" ? "long" : "short");
      const measures = await measure(kind, Number(count), pool, ms);
      await pool.close();
      return measures;
    },
  };
}

function measure(kind: string, count: number, pool: OpenPool, ms: number): Promise<Measure[]> {
  if (kind === "machines") return machines(pool, count, ms);
  if (kind === "skewed") return makespan(pool.bind("hold"));
  return queued(calls(pool.bind("number")), count, ms);
}

const cases: readonly BenchmarkCase[] = [
  ...[1, 2, 3, 4].map((count) => ({
    id: `machines/${count}`,
    words: `computing 20 µs, ${count} machine${count === 1 ? "" : "s"} on ${availableParallelism()} cores`,
    isQuick: count === 2,
  })),
  {
    id: "skewed/2",
    words: `makespan of ${SKEWED_TASKS} tasks on ${SKEWED_MACHINES} machines, 1 % 100 times as long`,
    isQuick: true,
  },
  ...QUEUED.map((count) => ({
    id: `queued/${count}`,
    words: `${count.toLocaleString("en-US")} numbers at once`,
    isQuick: count === 1e4,
  })),
];

export const scaling: Benchmark = {
  name: "scaling",
  cases,
  subjects: [subjectOf(millrace), lists, promisesAlone, ...peers.map(subjectOf)],
  effort: { full: { rounds: 5, cellMs: 1000 }, quick: { rounds: 1, cellMs: 250 } },
};
