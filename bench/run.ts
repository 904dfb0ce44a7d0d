/**
 * `npm run bench -- NAME`: measures, prints, and writes bench/results/NAME.nodeMAJOR.json.
 *
 *   --quick        few rounds and cases, within 45 s; writes nothing
 *   --json         the results as JSON on stdout
 *   --node PATH    measures with another Node.js binary
 *   --rounds N     so many rounds instead of the benchmark's own number
 *   --case TEXT    only cases whose id or words contain it; takes their place in the file, the other cases stay
 *
 * Progress on stderr always.
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { benchmarks } from "./benchmarks.ts";
import {
  type Benchmark,
  cellKey,
  cellsOfRound,
  CONTROL,
  type Measure,
  type Measured,
  mergeResults,
  type Results,
  selectCases,
  type Subject,
  subjectOfKey,
  summarise,
} from "./harness.ts";

/** Beside the sources, because /tmp may be memory and a durable write to memory proves nothing. */
const root = fileURLToPath(new URL("../..", import.meta.url));
const workDirectory = join(root, ".build", "bench-work");

/**
 * Longer than a cell takes, where its benchmark doesn't say otherwise: a stuck one ends the run.
 */
const CELL_LIMIT_MS = 120_000;

interface RunOptions {
  readonly quick: boolean;
  readonly json: boolean;
  /** The binary that runs the cells. */
  readonly node: string;
  readonly case: string | undefined;
  readonly rounds: number | undefined;
}

function measureCell(
  node: string,
  { name: benchmark, cellLimitMs = CELL_LIMIT_MS }: Benchmark,
  subject: string,
  caseId: string,
  ms: number,
): Promise<Measure[]> {
  mkdirSync(workDirectory, { recursive: true });
  const directory = mkdtempSync(join(workDirectory, "cell-"));
  const entry = fileURLToPath(new URL("./cell.js", import.meta.url));
  return new Promise((resolve, reject) => {
    const child = spawn(node, [entry, benchmark, subject, caseId, String(ms), directory], {
      stdio: ["ignore", "pipe", "inherit"],
      timeout: cellLimitMs,
      killSignal: "SIGKILL",
    });
    let output = "";
    child.stdout.on("data", (chunk) => (output += String(chunk)));
    child.on("close", (code, signal) => {
      rmSync(directory, { recursive: true, force: true });
      if (code === 0) resolve(JSON.parse(output) as Measure[]);
      else reject(new Error(`${benchmark}, ${subject}, ${caseId}: ${signal ?? `exit code ${code}`}`));
    });
  });
}

async function measure(whole: Benchmark, options: RunOptions): Promise<Results> {
  const node = versionOf(options.node);
  const { benchmark, unavailable } = selectCases(whole, options.quick, options.case, node);
  for (const { name, why } of unavailable) process.stderr.write(`without ${name}: ${why}\n`);
  const { cellMs, ...effort } = options.quick ? benchmark.effort.quick : benchmark.effort.full;
  const rounds = options.rounds ?? effort.rounds;
  const measured: Measured = new Map();
  const failed = new Map<string, string>();
  const ownName = (benchmark.subjects[0] as Subject).name;
  for (let round = 0; round < rounds; round += 1) {
    for (const { subject, caseId } of cellsOfRound(benchmark, round)) {
      process.stderr.write(`\r\x1b[2Kround ${round + 1}/${rounds}: ${subject}, ${caseId}`);
      const key = cellKey(subject, caseId);
      if (failed.has(key)) continue;
      try {
        const measures = await measureCell(options.node, benchmark, subject.replace(CONTROL, ""), caseId, cellMs);
        measured.set(key, [...(measured.get(key) ?? []), measures]);
      } catch (thrown) {
        // A peer's failure is told and leaves its figure out; ours ends the run.
        if (subject.replace(CONTROL, "").startsWith(ownName)) throw thrown;
        failed.set(key, `${caseId}: ${(thrown as Error).message}`);
        measured.delete(key);
      }
    }
  }
  process.stderr.write("\r\x1b[2K");
  const missing = [...failed].map(([key, why]) => ({ name: subjectOfKey(key), why }));
  for (const { name, why } of missing) process.stderr.write(`without ${name} in a case: ${why}\n`);
  return summarise(benchmark, measured, rounds, node, cpus()[0]?.model ?? "unknown", [...unavailable, ...missing]);
}

/** "v24.1.0". Throws when `node` is no Node.js. */
function versionOf(node: string): string {
  const { stdout, error } = spawnSync(node, ["--version"], { encoding: "utf8" });
  if (error !== undefined || !/^v\d+\./.test(stdout)) throw new Error(`${node} is no Node.js binary`, { cause: error });
  return stdout.trim();
}

function print(results: Results): void {
  console.log(`${results.name}: Node ${results.node}, ${results.cpu}, ${results.rounds} rounds, median (low … high)\n`);
  for (const label of new Set(results.subjects.map((subject) => subject.case))) {
    console.log(label);
    for (const { name, unit, median, low, high } of results.subjects.filter((subject) => subject.case === label)) {
      const ratio = results.ratios.find((entry) => entry.case === label && entry.to === name && entry.to !== entry.of);
      const text =
        ratio === undefined ? "" : `   ${ratio.of} is ${ratio.median}× (${ratio.low} … ${ratio.high}) as good`;
      console.log(
        `  ${name.padEnd(32)} ${number(median).padStart(12)} ${unit.padEnd(10)} (${number(low)} … ${number(high)})${text}`,
      );
    }
    const noise = results.ratios.find((entry) => entry.case === label && entry.of === entry.to);
    if (noise !== undefined)
      console.log(`  noise: ${noise.of} against itself ${noise.median}× (${noise.low} … ${noise.high})`);
    console.log();
  }
}

function number(value: number): string {
  return value.toLocaleString("en-US", { maximumSignificantDigits: 4 });
}

function write(results: Results, isPart: boolean): void {
  const directory = join(root, "bench", "results");
  const major = /^v(\d+)/.exec(results.node)?.[1];
  const file = join(directory, `${results.name}.node${major}.json`);
  const merged =
    isPart && existsSync(file) ? mergeResults(JSON.parse(readFileSync(file, "utf8")) as Results, results) : results;
  mkdirSync(directory, { recursive: true });
  writeFileSync(file, `${JSON.stringify(merged, undefined, 2)}\n`);
}

async function main(benchmark: Benchmark, options: RunOptions): Promise<void> {
  const results = await measure(benchmark, options);
  rmSync(workDirectory, { recursive: true, force: true });
  if (!options.quick) write(results, options.case !== undefined);
  if (options.json) console.log(JSON.stringify(results, undefined, 2));
  else print(results);
}

function usage(problem: string): void {
  if (problem !== "") console.error(problem);
  const names = benchmarks.map((each) => each.name).join("|");
  console.error(`usage: npm run bench -- ${names} [--quick] [--json] [--node PATH] [--case TEXT] [--rounds N]`);
  process.exitCode = 2;
}

function parse(): { benchmark: Benchmark; options: RunOptions } | string {
  try {
    const { positionals, values } = parseArgs({
      allowPositionals: true,
      options: {
        quick: { type: "boolean", default: false },
        json: { type: "boolean", default: false },
        node: { type: "string", default: process.execPath },
        case: { type: "string" },
        rounds: { type: "string" },
      },
    });
    const rounds = values.rounds === undefined ? undefined : Number(values.rounds);
    if (rounds !== undefined && !(Number.isInteger(rounds) && rounds >= 1)) return "--rounds takes a number from 1";
    const benchmark = benchmarks.find((each) => each.name === positionals[0]);
    if (benchmark === undefined || positionals.length > 1) return "";
    const options: RunOptions = { ...values, case: values.case, rounds };
    versionOf(options.node);
    if (selectCases(benchmark, options.quick, options.case).benchmark.cases.length === 0)
      return `no case of ${benchmark.name} contains "${options.case}"`;
    return { benchmark, options };
  } catch (thrown) {
    return (thrown as Error).message;
  }
}

const parsed = parse();
if (typeof parsed === "string") usage(parsed);
else await main(parsed.benchmark, parsed.options);
