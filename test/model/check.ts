/**
 * Runs scenarios by hand: `node .build/test/model/check.js [file …] [--only NAME] [--no-mutants]
 * [--mutants] [--deep] [--minutes N] [--replay SCHEDULE [--mutant N]]`. Files are names under
 * scenarios/, such as `spsc-ring`; all without one.
 *
 * `--mechanical [WORD …] [--again] [--seconds N] [--scenarios N] [--minutes N]` runs mutants made
 * by rule whose name contains a word and writes them into the table: those that are not in it, or
 * with `--again` all. `--seconds` and `--scenarios` limit each mutant, `--minutes` the whole run.
 * `--bounds` prints the bounds of each scenario.
 */
import { parseArgs } from "node:util";
import { limitsOf } from "./explore.ts";
import { scenarioFiles } from "./files.ts";
import { load } from "./load.ts";
import { runMechanical, writeExecuted } from "./mechanical-run.ts";
import { replayFile, runFile } from "./suite.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: "string" },
    "no-mutants": { type: "boolean", default: false },
    mutants: { type: "boolean", default: false },
    deep: { type: "boolean", default: false },
    minutes: { type: "string", default: "10" },
    replay: { type: "string" },
    mutant: { type: "string" },
    mechanical: { type: "boolean", default: false },
    again: { type: "boolean", default: false },
    seconds: { type: "string", default: "60" },
    scenarios: { type: "string", default: "16" },
    bounds: { type: "boolean", default: false },
  },
});

const files = scenarioFiles(values.mechanical ? [] : positionals);
/** Nothing was asked for that is there: no success. */
function foundNothing(): void {
  const what = [...positionals, ...(values.only === undefined ? [] : [`--only ${JSON.stringify(values.only)}`])];
  console.error(`no scenario matches ${what.join(" ")}`);
  process.exitCode = 2;
}

/** A row for each scenario: its preemptions, how many threads may die, and its threads. */
async function printBounds(file: string, url: string): Promise<void> {
  const { scenarios } = await load(url, { calls: "star", plain: "check" });
  for (const each of scenarios) {
    const { preemptions } = limitsOf(each);
    const deaths = (each.kill?.length ?? 0) > 0 ? (each.kills ?? 1) : 0;
    const columns = [each.random === undefined ? preemptions : "random", deaths, Object.keys(each.threads).length];
    console.log(`${columns.map((column) => String(column).padStart(8)).join("")}  ${file}: ${each.name}`);
  }
}
const total = { executions: 0, states: 0, mutants: 0, killed: 0, failures: 0 };

if (values.mechanical) {
  const wrong = await runMechanical({
    words: positionals,
    again: values.again,
    limitMs: Number(values.seconds) * 1000,
    scenariosMax: Number(values.scenarios),
    endsAt: performance.now() + Number(values.minutes) * 60_000,
    say: (line) => console.log(line),
  });
  for (const each of wrong) console.log(`UNEXPLAINED ${each}`);
  if (wrong.length > 0) process.exitCode = 1;
} else if (values.bounds) {
  for (const { name, url } of files) await printBounds(name, url);
} else if (values.replay !== undefined) {
  const mutant = values.mutant === undefined ? undefined : Number(values.mutant);
  let text: string | undefined;
  for (let index = 0; index < files.length && text === undefined; index += 1) {
    text = await replayFile((files[index] as { url: string }).url, values.only ?? "", values.replay, mutant);
  }
  if (text === undefined) foundNothing();
  else console.log(text);
} else {
  for (const { name, url } of files) {
    const result = await runFile(url, {
      isDeep: values.deep,
      ...(values.only === undefined ? {} : { only: values.only }),
      ...(values.deep ? { limitMs: Number(values.minutes) * 60_000 } : {}),
      skipMutants: values["no-mutants"],
      skipScenarios: values.mutants,
      say: (line) => console.log(`${name}: ${line}`),
    });
    for (const failure of result.failures) console.log(`FAIL ${name}: ${failure}\n`);
    // With the name of a scenario it is a part of the file, which would hide the rest.
    if (values.only === undefined && !values.mutants) {
      writeExecuted(
        [name],
        result.runs.map((run) => ({ ...run, file: name })),
      );
    }
    total.executions += result.executions;
    total.states += result.states;
    total.mutants += result.mutants;
    total.killed += result.killed;
    total.failures += result.failures.length;
  }
  console.log(
    `executions ${total.executions}, states ${total.states}, mutants killed ${total.killed}/${total.mutants}`,
  );
  if (total.failures > 0) process.exitCode = 1;
  else if (total.executions === 0) foundNothing();
}
