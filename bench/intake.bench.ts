/**
 * Payments of seven fields, published, durable, handled by a handler that does nothing, and that
 * durable as well, with all that a payment team would ask for: order by account, one handling per
 * payment id, three priorities.
 *
 * Everything runs in one process on one computer, the servers beside it. Every queue syncs before
 * it says that a payment is stored, and each is set up as its documentation advises for many small
 * jobs. What they do differently:
 *
 *   millrace         a call and a promise for each payment; handlers on threads. Payments of one
 *                    account run in their order. An id is remembered for 24 hours or a million
 *                    payments, whichever is less; a duplicate follows the first one's outcome.
 *   BullMQ           addBulk, one worker for 100 jobs. No order by account (its groups are part of
 *                    BullMQ Pro). An id is refused as long as its completed job is kept: the same
 *                    24 hours or a million.
 *   pg-boss          insert, fetch and complete of 500 jobs at once, which spares it the pauses of
 *                    its own poller. No order by account. An id is refused as long as its job is
 *                    kept, 12 hours by default. Version 10, the last one for Node 20.
 *   graphile-worker  add_jobs, a local queue of 500 jobs and batched completion, as its page about
 *                    performance has it. A key is refused only while its job waits. It tells of no
 *                    durable completion, so its latency ends before that. Order by account takes a
 *                    queue per account, against which its documentation advises where there are
 *                    many: it is a subject of its own. Version 0.17, the last one for Node 20.
 *
 *   saturation   payments done per second with as many under way as suit the queue
 *   half         half of the rate at which it is saturated, evenly: latency of the end of a payment
 *   alone        one payment at a time: until it is durable
 *   others       see backlog.ts: what a backlog, a start and dead letters cost ours
 */
import { alone, backlogCases } from "./backlog.ts";
import { type Benchmark, type BenchmarkCase, type Measure, percentile, type Subject } from "./harness.ts";
import { LoadedQueue } from "./queue-load.ts";
import { millrace, peerQueues, type QueueKind } from "./queues.ts";

type LoadCase = "saturation" | "half" | "alone";

async function saturation(queue: LoadedQueue, ms: number): Promise<Measure[]> {
  return [{ unit: "payments/s", value: await queue.saturate(ms), better: "more" }];
}

/** The rate is this process's own: half of what it did just before. */
async function half(queue: LoadedQueue, ms: number): Promise<Measure[]> {
  const perSecond = (await queue.saturate(ms)) / 2;
  return queue.keepRate(perSecond, ms);
}

/** The first measure is what the peers have as well. */
async function aloneAtPeers(queue: LoadedQueue, ms: number): Promise<Measure[]> {
  await queue.settle(1);
  const until = performance.now() + ms;
  const latencies: number[] = [];
  while (performance.now() < until) latencies.push(await queue.publishAlone());
  const value = percentile(Float64Array.from(latencies), 50) * 1000;
  return [{ unit: "µs", what: "publish with a key p50", value, better: "less" }];
}

const loads = { saturation, half, alone: aloneAtPeers } as const;

function subjectOf(kind: QueueKind, cases: readonly string[]): Subject {
  return {
    name: kind.name,
    unavailable: kind.unavailable,
    measures: (caseId) => cases.includes(caseId),
    run: async (caseId, ms, directory) => {
      const queue = await LoadedQueue.open(kind, directory);
      const measures = await loads[caseId as LoadCase](queue, ms);
      await queue.close();
      return measures;
    },
  };
}

const ours: Subject = {
  name: millrace.name,
  run: (caseId, ms, directory) => {
    if (caseId === "alone") return alone(ms, directory);
    const own = backlogCases.find(({ id }) => id === caseId);
    return own === undefined ? subjectOf(millrace, [caseId]).run(caseId, ms, directory) : own.run(directory);
  },
};

const cases: readonly BenchmarkCase[] = [
  { id: "saturation", words: "as much as it takes", isQuick: true },
  { id: "half", words: "half of that rate", isQuick: true },
  { id: "alone", words: "one payment at a time", isQuick: true },
  ...backlogCases,
];

export const intake: Benchmark = {
  name: "intake",
  cases,
  subjects: [ours, ...peerQueues.map((kind) => subjectOf(kind, kind.isOrdered ? ["saturation"] : Object.keys(loads)))],
  effort: { full: { rounds: 5, cellMs: 4000 }, quick: { rounds: 1, cellMs: 1000 } },
  cellLimitMs: 15 * 60_000,
};
