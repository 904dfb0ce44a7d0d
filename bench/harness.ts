/**
 * The parts of a benchmark, and how its figures are put together.
 *
 * A benchmark has subjects (things a user could pick) and cases (loads). A cell is one subject
 * under one case, measured in a process of its own. Every round measures all cells once, in
 * alternating order; a ratio is taken within a round, so that a machine that gets slower or faster
 * meanwhile falls out of it. Our own subject runs twice in each round: the ratio of these two,
 * which ought to be 1, is the noise beside which the other ratios must be read.
 */
export interface Measure {
  /** "records/s", "µs" … */
  readonly unit: string;
  /** The name of the figure, behind the case's words, if a case has several figures: "p99". */
  readonly what?: string;
  readonly value: number;
  readonly better: "more" | "less";
}

export interface BenchmarkCase {
  readonly id: string;
  /** The load in words: "small object, 512 in flight". */
  readonly words: string;
  /** Part of a --quick run. Where no case says so, all are. */
  readonly isQuick?: boolean;
}

export interface Subject {
  /** The library's own name. */
  readonly name: string;
  /** Whether this subject has that case; by default all. */
  readonly measures?: (caseId: string) => boolean;
  /**
   * Why it can't be measured on this computer and with this version of Node.js ("v24.1.0");
   * undefined when it can.
   */
  readonly unavailable?: ((node: string) => string | undefined) | undefined;
  /** Measures one case for about `ms` milliseconds. `directory` is empty and on a real disk. */
  readonly run: (caseId: string, ms: number, directory: string) => Promise<Measure[]>;
}

export interface Benchmark {
  readonly name: string;
  readonly cases: readonly BenchmarkCase[];
  /** The first is ours. */
  readonly subjects: readonly Subject[];
  /** Rounds and milliseconds per cell, for a whole run and for --quick (within 45 s). */
  readonly effort: { readonly full: Effort; readonly quick: Effort };
  /** A cell that runs longer is stuck. Default two minutes. */
  readonly cellLimitMs?: number;
}

export interface Effort {
  readonly rounds: number;
  readonly cellMs: number;
}

/** One figure: the median over all rounds, the lowest and the highest. */
export interface Figure {
  readonly median: number;
  readonly low: number;
  readonly high: number;
}

export interface Results {
  readonly name: string;
  readonly node: string;
  readonly cpu: string;
  readonly rounds: number;
  readonly subjects: readonly ({ readonly name: string; readonly case: string; readonly unit: string } & Figure)[];
  /** Above 1: `of` is the better one. Of and to the same: the noise. */
  readonly ratios: readonly ({ readonly case: string; readonly of: string; readonly to: string } & Figure)[];
  /** Subjects that were left out, and why. */
  readonly unavailable: readonly { readonly name: string; readonly why: string }[];
}

/** Marks the second run of our subject in a round. */
export const CONTROL = " (again)";

/** Cells in the order of a round: forth in even rounds, back in odd ones. */
export function cellsOfRound(benchmark: Benchmark, round: number): { subject: string; caseId: string }[] {
  const ours = benchmark.subjects[0] as Subject;
  const cells = benchmark.cases.flatMap(({ id }) => {
    const subjects = [...benchmark.subjects, { ...ours, name: ours.name + CONTROL }];
    const measuring = subjects.filter((subject) => subject.measures?.(id) ?? true);
    return measuring.map((subject) => ({ subject: subject.name, caseId: id }));
  });
  return round % 2 === 0 ? cells : cells.toReversed();
}

/** The part of a benchmark that a run measures, and the subjects that it can't. */
export function selectCases(
  benchmark: Benchmark,
  isQuick: boolean,
  pattern: string | undefined,
  node: string = process.version,
): { benchmark: Benchmark; unavailable: Results["unavailable"] } {
  const hasQuickCases = isQuick && benchmark.cases.some((each) => each.isQuick);
  const cases = benchmark.cases.filter(
    (each) =>
      (!hasQuickCases || each.isQuick) && (pattern === undefined || `${each.id} ${each.words}`.includes(pattern)),
  );
  const unavailable = benchmark.subjects.flatMap(({ name, unavailable: reason }) => {
    const why = reason?.(node);
    return why === undefined ? [] : [{ name, why }];
  });
  const subjects = benchmark.subjects.filter(({ name }) => unavailable.every((each) => each.name !== name));
  return { benchmark: { ...benchmark, cases, subjects }, unavailable };
}

/** `earlier` with what `later` has measured again. */
export function mergeResults(earlier: Results, later: Results): Results {
  const measured = new Set(later.subjects.map((subject) => subject.case));
  const kept = <T extends { readonly case: string }>(entries: readonly T[]): T[] =>
    entries.filter((entry) => !measured.has(entry.case));
  return {
    ...later,
    subjects: [...kept(earlier.subjects), ...later.subjects],
    ratios: [...kept(earlier.ratios), ...later.ratios],
  };
}

export type Measured = Map<string, Measure[][]>;

export function cellKey(subject: string, caseId: string): string {
  return `${subject}\n${caseId}`;
}

export function subjectOfKey(key: string): string {
  return key.slice(0, key.indexOf("\n"));
}

export function summarise(
  benchmark: Benchmark,
  measured: Measured,
  rounds: number,
  node: string,
  cpu: string,
  unavailable: Results["unavailable"] = [],
): Results {
  const subjects: Results["subjects"][number][] = [];
  const ratios: Results["ratios"][number][] = [];
  const ours = (benchmark.subjects[0] as Subject).name;
  for (const { id, words } of benchmark.cases) {
    const own = measured.get(cellKey(ours, id)) ?? [];
    for (const name of [...benchmark.subjects.map((subject) => subject.name), ours + CONTROL]) {
      const runs = measured.get(cellKey(name, id)) ?? [];
      const first = runs[0] ?? [];
      first.forEach(({ unit, what, better }, index) => {
        const label = what === undefined ? words : `${words}, ${what}`;
        const values = runs.map((run) => (run[index] as Measure).value);
        if (!name.endsWith(CONTROL)) subjects.push({ name, case: label, unit, ...figure(values) });
        if (name === ours) return;
        const pairs = values.map((value, round) => {
          const our = ((own[round] as Measure[])[index] as Measure).value;
          return better === "more" ? our / value : value / our;
        });
        ratios.push({ case: label, of: ours, to: name.replace(CONTROL, ""), ...figure(pairs) });
      });
    }
  }
  return { name: benchmark.name, node, cpu, rounds, subjects, ratios, unavailable };
}

function figure(values: readonly number[]): Figure {
  const sorted = values.toSorted((left, right) => left - right);
  const middle = sorted.length >> 1;
  const median =
    sorted.length % 2 === 1
      ? (sorted[middle] as number)
      : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
  return { median: short(median), low: short(sorted[0] as number), high: short(sorted.at(-1) as number) };
}

/** Four significant digits: more would be noise. */
function short(value: number): number {
  return Number(value.toPrecision(4));
}

/** `percent` of the values are at most this; sorts in place. */
export function percentile(values: Float64Array, percent: number): number {
  values.sort();
  return values[Math.min(values.length - 1, Math.floor((values.length * percent) / 100))] as number;
}

/** Factor by which a cell may take longer until every call in flight is over once. */
const TURN_MS_FACTOR = 20;

/**
 * Runs `operation` again and again with `inFlight` under way for `ms` milliseconds after a warm-up
 * of a fifth of that, and returns operations per second and the latencies of some of them in µs.
 */
export async function closedLoop(
  inFlight: number,
  ms: number,
  operation: (n: number) => Promise<unknown>,
): Promise<{ perSecond: number; latencies: Float64Array }> {
  const latencies: number[] = [];
  // Timing every operation would slow down the fast ones.
  const sampleEvery = inFlight === 1 ? 1 : 16;
  let isCounting = false;
  let isOver = false;
  let done = 0;
  let next = 0;
  const lane = async (): Promise<void> => {
    while (!isOver) {
      const n = next;
      next += 1;
      if (n % sampleEvery !== 0) {
        await operation(n);
        if (isCounting) done += 1;
        continue;
      }
      const startedAt = performance.now();
      await operation(n);
      if (isCounting) {
        done += 1;
        latencies.push((performance.now() - startedAt) * 1000);
      }
    }
  };
  const lanes = Array.from({ length: inFlight }, lane);
  await new Promise((resolve) => setTimeout(resolve, ms / 5));
  isCounting = true;
  const startedAt = performance.now();
  await new Promise((resolve) => setTimeout(resolve, ms));
  // Slow calls, many in flight: fewer than one turn of them would be chance, and none at all no
  // figure.
  while (done < inFlight && performance.now() - startedAt < ms * TURN_MS_FACTOR) {
    await new Promise((resolve) => setTimeout(resolve, ms / 4));
  }
  isCounting = false;
  const seconds = (performance.now() - startedAt) / 1000;
  isOver = true;
  await Promise.all(lanes);
  return { perSecond: done / seconds, latencies: Float64Array.from(latencies) };
}
