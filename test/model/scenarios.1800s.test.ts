// Every scenario to its stated bound, and every mutant; see docs/checker.md. A worker per core takes files until none is left.
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { scenarioFiles } from "./files.ts";
import type { SuiteResult } from "./suite.ts";

const isDeep = process.env["MILLRACE_MODEL_DEEP"] === "1";
const limitMs = Number(process.env["MILLRACE_MODEL_MINUTES"] ?? 30) * 60_000;
const queue = scenarioFiles();
const total: SuiteResult = { executions: 0, states: 0, mutants: 0, killed: 0, failures: [] };

interface Report {
  readonly lines: readonly string[];
  readonly result: SuiteResult;
}

async function lane(): Promise<void> {
  for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
    const { name, url } = file;
    const started = performance.now();
    const worker = new Worker(new URL("./suite.worker.js", import.meta.url), {
      workerData: { url, isDeep, limitMs },
      resourceLimits: { maxOldGenerationSizeMb: 4096 },
    });
    const { lines, result } = await new Promise<Report>((resolve, reject) => {
      worker.once("message", resolve);
      worker.once("error", reject);
      worker.once("exit", (code) => reject(new Error(`${name}: the worker ended with code ${code}`)));
    });
    await worker.terminate();
    if (isDeep) for (const line of lines) console.log(`# ${name}: ${line}`);
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    console.log(`# ${name}: ${result.executions} executions, ${result.killed}/${result.mutants} mutants, ${seconds} s`);
    for (const failure of result.failures) console.log(failure);
    total.executions += result.executions;
    total.states += result.states;
    total.mutants += result.mutants;
    total.killed += result.killed;
    total.failures.push(...result.failures.map((failure) => `${name}: ${failure.split("\n")[0]}`));
  }
}

test("all scenarios hold in every interleaving within their bounds, and every mutant is caught", async () => {
  await Promise.all(Array.from({ length: Math.min(availableParallelism(), 4) }, lane));
  const { executions, states, killed, mutants } = total;
  console.log(`# executions ${executions}, states ${states}, mutants killed ${killed}/${mutants}`);
  assert.equal(total.failures, []);
  assert.is(killed, mutants);
  assert.ok(executions > 0);
});

test.run();
