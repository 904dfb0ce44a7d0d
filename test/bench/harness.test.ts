// The benchmarks are a project of their own: their compiled harness is loaded as a user's run
// would.
import { test } from "uvu";
import * as assert from "uvu/assert";

interface Case {
  readonly id: string;
  readonly words: string;
  readonly isQuick?: boolean;
}

interface Measure {
  readonly unit: string;
  readonly value: number;
  readonly better: "more" | "less";
}

interface Results {
  readonly node: string;
  readonly subjects: { name: string; case: string; median: number; low: number; high: number }[];
  readonly ratios: { case: string; of: string; to: string; median: number }[];
}

interface Harness {
  readonly CONTROL: string;
  readonly cellKey: (subject: string, caseId: string) => string;
  readonly cellsOfRound: (benchmark: object, round: number) => { subject: string; caseId: string }[];
  readonly selectCases: (
    benchmark: object,
    isQuick: boolean,
    pattern: string | undefined,
  ) => { benchmark: { cases: Case[]; subjects: { name: string }[] }; unavailable: { name: string; why: string }[] };
  readonly summarise: (
    benchmark: object,
    measured: Map<string, Measure[][]>,
    rounds: number,
    node: string,
    cpu: string,
  ) => Results;
  readonly mergeResults: (earlier: Results, later: Results) => Results;
}

const harness = (await import(new URL("../../bench/harness.js", import.meta.url).href)) as Harness;
const { CONTROL, cellKey, cellsOfRound, mergeResults, selectCases, summarise } = harness;

const benchmark = {
  name: "sample",
  cases: [
    { id: "small/1", words: "small, one at a time", isQuick: true },
    { id: "large/1", words: "large, one at a time" },
  ],
  subjects: [
    { name: "ours" },
    { name: "peer", measures: (id: string) => id.startsWith("small") },
    { name: "absent", unavailable: () => "not installed" },
  ],
};

test("every round measures every subject and ours twice, in alternating order", () => {
  const { benchmark: selected } = selectCases(benchmark, false, undefined);
  const forth = cellsOfRound(selected, 0).map(({ subject, caseId }) => `${subject} ${caseId}`);
  assert.equal(forth, [
    "ours small/1",
    "peer small/1",
    `ours${CONTROL} small/1`,
    "ours large/1",
    `ours${CONTROL} large/1`,
  ]);
  assert.equal(
    cellsOfRound(selected, 1).map(({ subject, caseId }) => `${subject} ${caseId}`),
    forth.toReversed(),
  );
});

test("a quick run has the quick cases, a pattern picks, an absent subject is named", () => {
  assert.equal(
    selectCases(benchmark, true, undefined).benchmark.cases.map(({ id }) => id),
    ["small/1"],
  );
  assert.equal(
    selectCases(benchmark, false, "large, one").benchmark.cases.map(({ id }) => id),
    ["large/1"],
  );
  const { benchmark: selected, unavailable } = selectCases(benchmark, false, undefined);
  assert.equal(unavailable, [{ name: "absent", why: "not installed" }]);
  assert.equal(
    selected.subjects.map(({ name }) => name),
    ["ours", "peer"],
  );
});

function results(node: string, ours: number[], again: number[], peer: number[]): Results {
  const runs = (values: number[]): Measure[][] => values.map((value) => [{ unit: "calls/s", value, better: "more" }]);
  const small = { ...benchmark, cases: benchmark.cases.slice(0, 1), subjects: benchmark.subjects.slice(0, 2) };
  const measured = new Map([
    [cellKey("ours", "small/1"), runs(ours)],
    [cellKey(`ours${CONTROL}`, "small/1"), runs(again)],
    [cellKey("peer", "small/1"), runs(peer)],
  ]);
  return summarise(small, measured, ours.length, node, "cpu");
}

test("a ratio is taken within a round, and the noise is ours against itself", () => {
  const { ratios, subjects } = results("v1.0.0", [100, 200, 400], [100, 100, 800], [50, 50, 50]);
  const toPeer = ratios.find(({ to }) => to === "peer");
  assert.is(toPeer?.median, 4);
  assert.is(ratios.find(({ of, to }) => of === to)?.median, 1);
  const { median, low, high } = subjects[0] as Results["subjects"][number];
  assert.equal({ median, low, high }, { median: 200, low: 100, high: 400 });
});

test("what is measured again takes the place of the earlier figures, the rest stays", () => {
  const earlier = results("v1.0.0", [100], [100], [50]);
  earlier.subjects.push({ name: "ours", case: "kept", median: 1, low: 1, high: 1 });
  const merged = mergeResults(earlier, results("v1.0.1", [300], [300], [50]));
  assert.equal(
    merged.subjects.map(({ name, case: label, median }) => `${name} ${label} ${median}`),
    ["ours kept 1", "ours small, one at a time 300", "peer small, one at a time 50"],
  );
  assert.is(merged.ratios.length, 2);
  assert.is(merged.node, "v1.0.1");
});

test.run();
