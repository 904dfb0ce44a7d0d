/**
 * Runs scenarios by hand: `node .build/test/model/check.js [file …] [--only NAME] [--no-mutants] [--mutants] [--deep]
 * [--minutes N] [--replay SCHEDULE [--mutant N]]`. Files are names under scenarios/, such as `spsc-ring`; all without one.
 */
import { parseArgs } from "node:util";
import { scenarioFiles } from "./files.ts";
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
  },
});

const files = scenarioFiles(positionals);
/** Nothing was asked for that is there: no success. */
function foundNothing(): void {
  const what = [...positionals, ...(values.only === undefined ? [] : [`--only ${JSON.stringify(values.only)}`])];
  console.error(`no scenario matches ${what.join(" ")}`);
  process.exitCode = 2;
}
const total = { executions: 0, states: 0, mutants: 0, killed: 0, failures: 0 };

if (values.replay !== undefined) {
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
