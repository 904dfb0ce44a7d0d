/**
 * What more machines and longer queues cost: computing tasks on 1 to 4 machines, a skewed mix on two, and tasks queued at once, from
 * a thousand to a million.
 */
import { availableParallelism } from "node:os";
import { seededRandom } from "@millrace/base";
import { type Benchmark, type BenchmarkCase, closedLoop, type Measure, type Subject } from "./harness.ts";
import { compute } from "./fixtures/tasks.ts";
import { type Call, millrace, type OpenPool, type Peer, peers } from "./peers.ts";

/** Some 20 µs of computing. */
const COMPUTE_ROUNDS = 10_000;
const IN_FLIGHT_PER_MACHINE = 64;

/** 1 % of the tasks take a hundred times as long. Shuffled once and for all: every pool gets them in this order. */
const SKEWED_TASKS = 4000;
const SHORT_US = 50;
const LONG_US = 5000;
const SKEWED_MACHINES = 2;

const QUEUED: readonly number[] = [1e3, 1e4, 1e5, 1e6];
/** The peers need half a minute and some gigabytes for a million. */
const QUEUED_MAX_OF_PEERS = 1e5;

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
  // Every thread has seen a task of its own before.
  await Promise.all(Array.from({ length: SKEWED_MACHINES * 4 }, () => call(LONG_US)));
  const idealMs = times.reduce((sum, us) => sum + us, 0) / 1000 / SKEWED_MACHINES;
  const startedAt = performance.now();
  const results = await Promise.all(Array.from(times, call));
  const tookMs = performance.now() - startedAt;
  results.forEach((result, n) => {
    if (result !== (times[n] as number) + 1) throw new Error(`wrong result ${String(result)} of task ${n}`);
  });
  return [{ unit: "× ideal", value: tookMs / idealMs, better: "less" }];
}

/** Time from the first submission to the last result, per task. */
async function queued(call: Call, count: number, ms: number): Promise<Measure[]> {
  const burst = async (): Promise<number> => {
    const startedAt = performance.now();
    const results = await Promise.all(Array.from({ length: count }, (_, n) => call(n)));
    const tookMs = performance.now() - startedAt;
    results.forEach((result, n) => {
      if (result !== n + 1) throw new Error(`wrong result ${String(result)} of task ${n}`);
    });
    return tookMs;
  };
  // Warm, at the same depth where that is short.
  for (let warmed = 0; warmed < 20_000; warmed += Math.min(count, 20_000))
    await (count > 20_000 ? warmUp(call) : burst());
  const times: number[] = [];
  const end = performance.now() + ms;
  do times.push(await burst());
  while (performance.now() < end);
  times.sort((left, right) => left - right);
  return [{ unit: "ns/task", value: ((times[times.length >> 1] as number) * 1e6) / count, better: "less" }];
}

async function warmUp(call: Call): Promise<void> {
  await Promise.all(Array.from({ length: 20_000 }, (_, n) => call(n)));
}

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
  return queued(pool.bind("number"), count, ms);
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
  subjects: [millrace, ...peers].map(subjectOf),
  effort: { full: { rounds: 5, cellMs: 1000 }, quick: { rounds: 1, cellMs: 250 } },
};
