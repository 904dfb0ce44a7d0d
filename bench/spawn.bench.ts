/**
 * Tasks that spawn tasks and join them, beside Go's goroutines with a wait group: a million empty
 * ones from one task, and fork-join Fibonacci, which is sequential below a cut. Two machines,
 * GOMAXPROCS 2.
 *
 * Go is measured when `go` is installed; its program (bench/go/spawn) checks its results in the
 * same way. No pool of the peers lets a task submit tasks to the pool that it runs in.
 */
import { spawnSync } from "node:child_process";
import { Scheduler } from "@millrace/scheduler";
import { runGo } from "./go-program.ts";
import type { Benchmark, BenchmarkCase, Measure, Subject } from "./harness.ts";
import { ignore } from "./peers.ts";
import type * as tasks from "./fixtures/spawn-tasks.ts";

const MACHINES = 2;
const EMPTY_TASKS = 1_000_000;
const FIB = { n: 32, cut: 14 };
const FIB_32 = 2_178_309;

const cases: readonly BenchmarkCase[] = [
  { id: "empty", words: `${EMPTY_TASKS.toLocaleString("en-US")} empty tasks from one task, joined` },
  { id: "fib", words: `fork-join fib(${FIB.n}), sequential below ${FIB.cut}` },
];

/** Of results that are `(n & 1023) + 1`. */
function sumOfLeaves(): number {
  let sum = 0;
  for (let n = 0; n < EMPTY_TASKS; n += 1) sum += (n & 1023) + 1;
  return sum;
}

function check(caseId: string, result: unknown): void {
  const right = caseId === "empty" ? sumOfLeaves() : FIB_32;
  if (result !== right) throw new Error(`wrong result ${String(result)} of ${caseId}, not ${right}`);
}

/** `ns` of one whole run. */
function measures(caseId: string, ns: number): Measure[] {
  if (caseId === "empty") return [{ unit: "ns/task", value: ns / EMPTY_TASKS, better: "less" }];
  return [{ unit: "ms", value: ns / 1e6, better: "less" }];
}

async function millrace(caseId: string, ms: number): Promise<Measure[]> {
  const scheduler = await Scheduler.open<typeof tasks>({
    handlers: new URL("./fixtures/spawn-tasks.js", import.meta.url),
    processors: MACHINES,
    // One task that runs for a second is what is asked for here.
    onHint: ignore,
  });
  const once = async (): Promise<number> => {
    const startedAt = performance.now();
    const result = await (caseId === "empty" ? scheduler.run.spawnMany(EMPTY_TASKS) : scheduler.run.parallelFib(FIB));
    const took = performance.now() - startedAt;
    check(caseId, result);
    return took;
  };
  // As the Go program: once to warm up, then at least three times.
  await once();
  const times: number[] = [];
  const end = performance.now() + ms;
  while (times.length < 3 || performance.now() < end) times.push(await once());
  await scheduler.close();
  times.sort((left, right) => left - right);
  return measures(caseId, (times[times.length >> 1] as number) * 1e6);
}

async function go(caseId: string, ms: number): Promise<Measure[]> {
  const parameters = caseId === "empty" ? ["spawn", EMPTY_TASKS] : ["fib", FIB.n, FIB.cut];
  const answer = runGo("spawn", [...parameters, MACHINES, ms].map(String));
  if (answer === undefined) return [];
  const { ns, result } = answer as { ns: number; result: number };
  check(caseId, result);
  return measures(caseId, caseId === "empty" ? ns * EMPTY_TASKS : ns);
}

function goVersion(): string | undefined {
  const { stdout, status } = spawnSync("go", ["version"], { encoding: "utf8" });
  return status === 0 ? /go(\d+\.\d+)/.exec(stdout)?.[1] : undefined;
}

const installed = goVersion();
const subjects: readonly Subject[] = [
  { name: "millrace", run: millrace },
  {
    name: installed === undefined ? "Go" : `Go ${installed}`,
    unavailable: () => (installed === undefined ? "go is not installed" : undefined),
    run: go,
  },
];

export const spawn: Benchmark = {
  name: "spawn",
  cases,
  subjects,
  effort: { full: { rounds: 7, cellMs: 2000 }, quick: { rounds: 2, cellMs: 600 } },
};
