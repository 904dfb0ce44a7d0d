/**
 * `npm run bench:against -- DIRECTORY NAME…`: our subject of these benchmarks here, beside the one
 * of another checkout that is built, such as a clone of the commit before a change.
 *
 *   --case REGEX   only cases whose id matches
 *   --rounds N     default 5
 *   --ms N         per cell; default 1000. What goes on while a journal opens counts in a short one
 *
 * Each cell runs in a process of its own, in alternating order. Prints for each figure the median
 * of the ratios of the rounds, with the lowest and the highest: above 1 this checkout is the better
 * one. The second ratio is this checkout to itself: the noise.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import type { Measure } from "./harness.ts";

/** What a checkout measures of its own subject: the ids of the cases of each benchmark. */
type Cases = Readonly<Record<string, { readonly subject: string; readonly ids: readonly string[] }>>;

interface Side {
  readonly root: string;
  readonly cases: Cases;
}

const CELL_LIMIT_MS = 120_000;

function refuse(text: string): never {
  console.error(text);
  process.exit(2);
}

/** Asks a process of that checkout: code of two checkouts doesn't run in one. */
const LIST = `
  const { benchmarks } = await import(process.argv[1]);
  const own = ({ cases, subjects: [ours] }) => ({
    subject: ours.name,
    ids: cases.map(({ id }) => id).filter((id) => ours.measures?.(id) ?? true),
  });
  const all = Object.fromEntries(benchmarks.map((each) => [each.name, own(each)]));
  process.stdout.write(JSON.stringify(all), () => process.exit());
`;

function sideOf(root: string): Side {
  const file = join(root, ".build", "bench", "benchmarks.js");
  if (!existsSync(file)) refuse(`there is no ${file}: build that checkout first (npm run build)`);
  const args = ["--input-type=module", "--eval", LIST, pathToFileURL(file).href];
  const { status, signal, stdout } = spawnSync(process.execPath, args, {
    encoding: "utf8",
    timeout: CELL_LIMIT_MS,
    stdio: ["ignore", "pipe", "inherit"],
  });
  if (status !== 0) throw new Error(`${root}, its benchmarks: ${signal ?? `exit code ${status}`}`);
  return { root, cases: JSON.parse(stdout) as Cases };
}

function benchmarkOf({ root, cases }: Side, name: string): Cases[string] {
  const found = cases[name];
  if (found !== undefined) return found;
  return refuse(`${root} has no benchmark ${name}; there are ${Object.keys(cases).join(", ")}`);
}

/** Measures a cell of our own subject; the results by their words. */
function measure(side: Side, name: string, caseId: string, ms: number): Map<string, Measure> {
  const { subject } = benchmarkOf(side, name);
  const work = join(side.root, ".build", "bench-work");
  mkdirSync(work, { recursive: true });
  const directory = mkdtempSync(join(work, "against-"));
  const entry = join(side.root, ".build", "bench", "cell.js");
  const { status, signal, stdout } = spawnSync(
    process.execPath,
    [entry, name, subject, caseId, String(ms), directory],
    { encoding: "utf8", timeout: CELL_LIMIT_MS, stdio: ["ignore", "pipe", "inherit"] },
  );
  rmSync(directory, { recursive: true, force: true });
  if (status !== 0) throw new Error(`${side.root}, ${name}, ${caseId}: ${signal ?? `exit code ${status}`}`);
  return new Map((JSON.parse(stdout) as Measure[]).map((each) => [`${each.what ?? ""} ${each.unit}`.trim(), each]));
}

/** The factor by which `of` is better than `to`. */
function ratio(of: Measure, to: Measure): number {
  return of.better === "more" ? of.value / to.value : to.value / of.value;
}

/** Median, lowest and highest. */
function spread(ratios: readonly number[]): string {
  const sorted = ratios.toSorted((left, right) => left - right);
  const [low, median, high] = [0, sorted.length >> 1, sorted.length - 1].map((at) => (sorted[at] as number).toFixed(2));
  return `${median} (${low}–${high})`;
}

function compare(here: Side, there: Side, name: string, caseId: string, rounds: number, ms: number): void {
  const ratios = new Map<string, { readonly change: number[]; readonly noise: number[] }>();
  for (let round = 0; round < rounds; round += 1) {
    const cells: Map<string, Measure>[] = [];
    const order = [there, here, here].map((side, place) => ({ side, place }));
    for (const { side, place } of round % 2 === 0 ? order : order.toReversed()) {
      cells[place] = measure(side, name, caseId, ms);
    }
    const [other, own, again] = cells as [Map<string, Measure>, Map<string, Measure>, Map<string, Measure>];
    for (const [what, measured] of own) {
      const [before, same] = [other.get(what), again.get(what)];
      if (before === undefined || same === undefined) continue;
      const kept = ratios.get(what) ?? { change: [], noise: [] };
      kept.change.push(ratio(measured, before));
      kept.noise.push(ratio(measured, same));
      ratios.set(what, kept);
    }
  }
  for (const [what, { change, noise }] of ratios) {
    console.log(`${`${name} ${caseId}, ${what}`.padEnd(44)} ${spread(change).padEnd(20)} noise ${spread(noise)}`);
  }
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { case: { type: "string" }, rounds: { type: "string" }, ms: { type: "string" } },
});
const [directory, ...names] = positionals;
const rounds = Number(values.rounds ?? 5);
const ms = Number(values.ms ?? 1000);
if (directory === undefined || names.length === 0 || !(rounds >= 1) || !(ms >= 1)) {
  refuse("usage: npm run bench:against -- DIRECTORY NAME… [--case REGEX] [--rounds N] [--ms N]");
}
const here = sideOf(fileURLToPath(new URL("../..", import.meta.url)));
const there = sideOf(resolve(directory));
const wanted = new RegExp(values.case ?? "");
for (const name of names) {
  const [own, other] = [benchmarkOf(here, name), benchmarkOf(there, name)];
  const shared = own.ids.filter((id) => wanted.test(id) && other.ids.includes(id));
  if (shared.length === 0) refuse(`${name}: the checkouts share no case that matches ${wanted}`);
  for (const id of shared) compare(here, there, name, id, rounds, ms);
}
