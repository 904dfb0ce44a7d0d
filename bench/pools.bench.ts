/**
 * Calls to one worker thread beside the main thread: throughput by size of the argument and by
 * calls in flight, and async handlers that await a timer.
 *
 * Values go both ways except Buffers, which go in while a number comes back. Every result is
 * checked.
 */
import { Scheduler } from "@millrace/scheduler";
import { type Benchmark, type BenchmarkCase, closedLoop, type Measure, type Subject } from "./harness.ts";
import { type Call, ignore, millrace, millracePool, type Peer, peers, type TaskName } from "./peers.ts";
import type * as tasks from "./fixtures/tasks.ts";

interface Load {
  readonly task: TaskName;
  readonly argument: (n: number) => unknown;
  readonly isRight: (result: unknown, n: number) => boolean;
}

/** Bytes of buffers that take turns. */
const BUFFERS_BYTES: number = 256 * 2 ** 20;

function buffers(sizeBytes: number): Load {
  // Several, because a list may carry the same buffer once. A pool that detached or altered one
  // would be found out at its next turn.
  const count = Math.min(4096, BUFFERS_BYTES / sizeBytes);
  const all = Array.from({ length: count }, () => Buffer.alloc(sizeBytes, 7));
  return {
    task: "bytes",
    argument: (n) => all[n % count],
    isRight: (result) => result === sizeBytes + 7,
  };
}

const TIMER_MS = 1;

const loads: Readonly<Record<string, { readonly words: string; readonly make: () => Load }>> = {
  number: {
    words: "number",
    make: () => ({ task: "number", argument: (n) => n, isRight: (result, n) => result === n + 1 }),
  },
  object: {
    words: "small object",
    make: () => ({
      task: "object",
      argument: (n) => ({ a: n }),
      isRight: (result, n) => (result as { a: number }).a === n + 1,
    }),
  },
  "1k": { words: "1 KiB Buffer", make: () => buffers(2 ** 10) },
  "64k": { words: "64 KiB Buffer", make: () => buffers(2 ** 16) },
  "1m": { words: "1 MiB Buffer", make: () => buffers(2 ** 20) },
  timer: {
    words: `async handler that awaits a timer of ${TIMER_MS} ms`,
    make: () => ({ task: "timer", argument: () => TIMER_MS, isRight: (result) => result === TIMER_MS + 1 }),
  },
};

/**
 * All loads with all numbers in flight, but at most 256 MiB of arguments at once: 1 MiB × 512 would
 * measure the memory.
 */
const IN_FLIGHT: Readonly<Record<string, readonly number[]>> = {
  number: [1, 64, 512, 4096],
  object: [1, 64, 512, 4096],
  "1k": [1, 64, 512, 4096],
  "64k": [1, 64, 512, 4096],
  "1m": [1, 64],
  timer: [512],
};

const QUICK: ReadonlySet<string> = new Set(["number/512", "object/1", "object/512"]);

function caseOf(load: string, inFlight: number): BenchmarkCase {
  const id = `${load}/${inFlight}`;
  const words = `${loads[load]?.words}, ${inFlight === 1 ? "one at a time" : `${inFlight} in flight`}`;
  return { id, words, isQuick: QUICK.has(id) };
}

async function throughput(call: Call, load: Load, inFlight: number, ms: number): Promise<Measure[]> {
  const { perSecond } = await closedLoop(inFlight, ms, async (n) => {
    const result = await call(load.argument(n));
    if (!load.isRight(result, n)) throw new Error(`wrong result ${String(result)} for call ${n}`);
  });
  return [{ unit: "calls/s", value: perSecond, better: "more" }];
}

function subjectOf(peer: Peer): Subject {
  return {
    name: peer.name,
    run: async (caseId, ms) => {
      const [name, inFlight] = caseId.split("/") as [string, string];
      const load = (loads[name] as { make: () => Load }).make();
      const pool = await peer.open(1, "short");
      const measures = await throughput(pool.bind(load.task), load, Number(inFlight), ms);
      await pool.close();
      return measures;
    },
  };
}

/**
 * Not a call at a time but a list: as many values as are otherwise in flight, one list after the
 * other. `runMany` makes a task of each value, `parallelMap` a few tasks that are split further
 * while a processor is idle.
 */
function inLists(form: "runMany" | "parallelMap"): Subject {
  return {
    name: `millrace, ${form}`,
    measures: (caseId) => !caseId.endsWith("/1"),
    run: async (caseId, ms) => {
      const [name, inFlight] = caseId.split("/") as [string, string];
      const load = (loads[name] as { make: () => Load }).make();
      const scheduler = await Scheduler.open<typeof tasks>({
        handlers: new URL("./fixtures/tasks.js", import.meta.url),
        processors: 1,
        onHint: ignore,
      });
      const call = scheduler[form][load.task] as (items: readonly unknown[]) => Promise<unknown[]>;
      const size = Number(inFlight);
      const { perSecond } = await closedLoop(1, ms, async (batch) => {
        // By loops: `Array.from` with a function takes longer than the calls.
        const values = new Array<unknown>(size);
        for (let n = 0; n < size; n += 1) values[n] = load.argument(batch + n);
        const results = await call(values);
        for (let n = 0; n < size; n += 1) {
          const result = results[n];
          if (!load.isRight(result, batch + n)) throw new Error(`wrong result ${String(result)} for call ${batch + n}`);
        }
        if (results.length !== size) throw new Error(`${results.length} results of ${size} calls`);
      });
      await scheduler.close();
      return [{ unit: "calls/s", value: perSecond * size, better: "more" }];
    },
  };
}

export const pools: Benchmark = {
  name: "pools",
  cases: Object.entries(IN_FLIGHT).flatMap(([load, numbers]) => numbers.map((inFlight) => caseOf(load, inFlight))),
  subjects: [
    subjectOf(millrace),
    inLists("runMany"),
    inLists("parallelMap"),
    ...[millracePool, ...peers].map(subjectOf),
  ],
  effort: { full: { rounds: 5, cellMs: 1000 }, quick: { rounds: 1, cellMs: 400 } },
};
