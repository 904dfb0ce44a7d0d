/**
 * How long one call takes: one at a time, back to back and after a pause; and under a steady load
 * of short tasks, of which 1 % take a hundred times as long.
 *
 * The load is open loop: calls are due at random times (exponential gaps), whether or not earlier
 * ones are over, and latency counts from when a call was due. The generator turns the event loop
 * between calls; what it was late by itself is part of every subject's figure.
 */
import { seededRandom } from "@millrace/base";
import { Scheduler } from "@millrace/scheduler";
import { type Benchmark, type BenchmarkCase, type Measure, percentile, type Subject } from "./harness.ts";
import { type Call, ignore, millrace, type OpenPool, type Peer, peers } from "./peers.ts";
import type * as tasks from "./fixtures/tasks.ts";

const PAUSE_MS = 2;

/**
 * 1 % of 5 ms among tasks of 50 µs: 99.5 µs on average. 4000 a second keep two machines busy to 20
 * %.
 */
const SHORT_US = 50;
const LONG_US = 5000;
const RATE_PER_SECOND = 4000;
const MACHINES = 2;

/** Longer than any pause between calls back to back, so that neither side goes to sleep. */
const SPIN_MICROSECONDS = 200;

function figures(latenciesUs: readonly number[]): Measure[] {
  const sorted = Float64Array.from(latenciesUs);
  return [50, 99].map((percent) => ({
    unit: "µs",
    what: `p${percent}`,
    value: percentile(sorted, percent),
    better: "less" as const,
  }));
}

/**
 * How a number is sent, and the answer, which is the next one, read. No function around the call:
 * it would be part of every figure.
 */
interface Form {
  readonly argument: (n: number) => unknown;
  readonly answer: (result: unknown) => number;
}

const AS_NUMBER: Form = { argument: (n) => n, answer: (result) => result as number };
const AS_OBJECT: Form = { argument: (n) => ({ a: n }), answer: (result) => (result as { a: number }).a };

async function oneAtATime(call: Call, ms: number, pauseMs: number, form: Form): Promise<Measure[]> {
  const latencies: number[] = [];
  const warmUntil = performance.now() + ms / 3;
  const end = warmUntil + ms;
  for (let n = 0; ; n += 1) {
    if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs));
    const startedAt = performance.now();
    if (startedAt > end) return figures(latencies);
    const answer = form.answer(await call(form.argument(n)));
    if (answer !== n + 1) throw new Error(`wrong answer ${answer} to ${n}`);
    if (startedAt > warmUntil) latencies.push((performance.now() - startedAt) * 1000);
  }
}

async function underLoad(call: Call, ms: number): Promise<Measure[]> {
  await Promise.all(Array.from({ length: MACHINES * 8 }, () => call(SHORT_US)));
  const random = seededRandom(7);
  const latencies: number[] = [];
  const calls: Promise<void>[] = [];
  let due = performance.now();
  const end = due + ms;
  const one = async (us: number, dueAt: number): Promise<void> => {
    if ((await call(us)) !== us + 1) throw new Error(`wrong result for ${us}`);
    if (us === SHORT_US) latencies.push((performance.now() - dueAt) * 1000);
  };
  while (due < end) {
    while (due <= performance.now() && due < end) {
      calls.push(one(random.below(100) === 0 ? LONG_US : SHORT_US, due));
      due += (-Math.log(1 - random.fraction()) * 1000) / RATE_PER_SECOND;
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
  await Promise.all(calls);
  return figures(latencies);
}

function subjectOf(peer: Peer): Subject {
  return {
    name: peer.name,
    run: async (caseId, ms) => {
      const pool = await peer.open(caseId === "load" ? MACHINES : 1, caseId === "load" ? "long" : "short");
      const measures = await measure(caseId, pool, ms);
      await pool.close();
      return measures;
    },
  };
}

function measure(caseId: string, pool: OpenPool, ms: number): Promise<Measure[]> {
  if (caseId === "load") return underLoad(pool.bind("hold"), ms);
  if (caseId === "number") return oneAtATime(pool.bind("number"), ms, 0, AS_NUMBER);
  return oneAtATime(pool.bind("object"), ms, caseId === "paused" ? PAUSE_MS : 0, AS_OBJECT);
}

/** Both sides poll: for services that give cores to latency. */
const spinning: Peer = {
  name: "millrace, spinning",
  open: async (threads) => {
    const scheduler = await Scheduler.open<typeof tasks>({
      handlers: new URL("./fixtures/tasks.js", import.meta.url),
      processors: threads,
      onHint: ignore,
      spinMicroseconds: SPIN_MICROSECONDS,
    });
    return { bind: (name) => scheduler.run[name] as Call, close: () => scheduler.close() };
  },
};

const cases: readonly BenchmarkCase[] = [
  { id: "number", words: "number, one at a time", isQuick: true },
  { id: "back-to-back", words: "small object, one at a time", isQuick: true },
  { id: "paused", words: `small object, one at a time, ${PAUSE_MS} ms apart`, isQuick: true },
  {
    id: "load",
    words: `short tasks among 1 % 100 times as long, ${RATE_PER_SECOND}/s on ${MACHINES} machines`,
    isQuick: true,
  },
];

export const latency: Benchmark = {
  name: "latency",
  cases,
  subjects: [millrace, spinning, ...peers].map(subjectOf),
  effort: { full: { rounds: 7, cellMs: 2000 }, quick: { rounds: 1, cellMs: 400 } },
};
