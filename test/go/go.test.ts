// Our channels, locks and contexts against Go's: the same small programs in both languages.
// outcomes.json has Go's results. Where Go is installed, the test compares them with Go itself, and
// `MILLRACE_GO_RECORD=1 npm test -- go/go` writes it anew.
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Cases, Differences } from "./cases.ts";
import { channelCases, channelDifferences } from "./channel-cases.ts";
import { contextCases, contextDifferences } from "./context-cases.ts";
import { locksCases, locksDifferences } from "./locks-cases.ts";
import { mutexCases, mutexDifferences } from "./mutex-cases.ts";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const sources = join(root, "test", "go");
const table = join(sources, "outcomes.json");

interface Outcomes {
  /** The version of Go that gave them. */
  readonly version: string;
  readonly outcomes: Record<string, string[]>;
}

const cases: Cases = { ...mutexCases, ...locksCases, ...channelCases, ...contextCases };
const differences: Differences = {
  ...mutexDifferences,
  ...locksDifferences,
  ...channelDifferences,
  ...contextDifferences,
};

/** Go's results now; undefined if it isn't installed. */
function outcomesOfGo(): Outcomes | undefined {
  try {
    execFileSync("go", ["version"], { stdio: "ignore" });
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw thrown;
  }
  const directory = join(root, ".build", "go");
  mkdirSync(directory, { recursive: true });
  const program = join(directory, "cases");
  const files = readdirSync(sources).filter((name) => name.endsWith(".go"));
  execFileSync("go", ["build", "-o", program, ...files], { cwd: sources, env: { ...process.env, GO111MODULE: "off" } });
  const outcomes: Record<string, string[]> = {};
  for (const line of execFileSync(program, { encoding: "utf8" }).trim().split("\n")) {
    const [name, ...words] = JSON.parse(line) as [string, ...string[]];
    outcomes[name] = words;
  }
  const { version, ...rest } = outcomes;
  return { version: String(version), outcomes: rest };
}

if (process.env.MILLRACE_GO_RECORD === "1") {
  writeFileSync(table, `${JSON.stringify(outcomesOfGo(), undefined, 2)}\n`);
}
const { version, outcomes } = JSON.parse(readFileSync(table, "utf8")) as Outcomes;

test(`the table of ${version} is what Go gives`, () => {
  const given = outcomesOfGo();
  if (given === undefined) console.log("# Go isn't installed: its outcomes were taken from the table");
  else {
    assert.equal(given.outcomes, outcomes);
    console.log(`# ${Object.keys(outcomes).length} outcomes of ${given.version} are those of the table`);
  }
});

for (const [name, run] of Object.entries(cases)) {
  const difference = differences[name];
  test(`${name}${difference === undefined ? "" : ` (not as in Go: ${difference.because})`}`, async () => {
    const expected = difference?.outcome ?? outcomes[name];
    assert.ok(expected, "the case is in the table");
    assert.equal((await run()).map(String), expected.map(String));
    if (difference !== undefined) assert.not.equal(expected.map(String), outcomes[name], "it still differs");
  });
}

test("every case of Go has one of ours", () => {
  assert.equal(Object.keys(cases).toSorted(), Object.keys(outcomes).toSorted());
});

test.run();
