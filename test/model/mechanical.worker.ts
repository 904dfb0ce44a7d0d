// Runs one mutant after another through the scenarios that it is given: there is one world per
// thread.
import { basename } from "node:path";
import { parentPort } from "node:worker_threads";
import { Forms, hunt } from "./hunt.ts";
import type { Job, JobResult } from "./mechanical-run.ts";

async function run({ mutant, candidates, limitMs }: Job): Promise<JobResult> {
  const files = new Map<string, Forms>();
  const able = candidates.map(({ url, name, hasDeaths }) => {
    const forms = files.get(url) ?? new Forms(url, [mutant]);
    files.set(url, forms);
    return { forms, scenario: { name, kill: hasDeaths ? ["some"] : [] } };
  });
  const found = await hunt(able, limitMs);
  const searched = `${found.executions} executions`;
  if (found.isBroken) return { killedBy: undefined, outcome: `broken: ${found.message}`, isBroken: true };
  if (found.by === undefined) {
    const how = `survived ${searched} of ${candidates.length} scenarios${found.isComplete ? "" : ", not complete (time)"}`;
    return { killedBy: undefined, outcome: how, isBroken: false };
  }
  const killedBy = `${basename(found.by.forms.url, ".js")}: ${found.by.scenario.name}`;
  return { killedBy, outcome: `killed by "${killedBy}" (${found.kind}, ${searched})`, isBroken: false };
}

parentPort?.on("message", (job: Job) => {
  void run(job)
    .catch((thrown: unknown): JobResult => ({
      killedBy: undefined,
      outcome: `broken: ${String(thrown)}`,
      isBroken: true,
    }))
    .then((result) => parentPort?.postMessage(result));
});
