/** The definition of a metric, and how its numbers are read. */
import { type Histogram, histogramSamples, type MetricFamily, type MetricSample } from "@millrace/metrics";
import type { MetricsSnapshot } from "./snapshot.ts";

/** The numbers of one metric: one without labels, several, or none when nothing is known. */
type MetricReader = (snapshot: MetricsSnapshot) => number | undefined | Iterable<MetricSample>;

export interface MetricDescription {
  readonly name: string;
  readonly type: MetricFamily["type"];
  /** For people; `docs/operate.md` shows it too. */
  readonly help: string;
  readonly labels: readonly string[];
}

export interface MetricDefinition extends MetricDescription {
  readonly read: MetricReader;
}

/** 50 µs to 10 s in steps of 1, 2.5, 5. */
const SECONDS: readonly number[] = [
  0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
];
const RECORDS: readonly number[] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000];
const MICROSECONDS = 1e6;

type Labels = readonly string[];

export function counter(name: string, help: string, read: MetricReader, labels: Labels = []): MetricDefinition {
  return { name, type: "counter", help, labels, read };
}

export function gauge(name: string, help: string, read: MetricReader, labels: Labels = []): MetricDefinition {
  return { name, type: "gauge", help, labels, read };
}

/** Of a histogram in µs. */
export function seconds(
  name: string,
  help: string,
  read: (snapshot: MetricsSnapshot) => Histogram | undefined,
): MetricDefinition {
  return histogram(name, help, read, SECONDS, MICROSECONDS);
}

export function records(
  name: string,
  help: string,
  read: (snapshot: MetricsSnapshot) => Histogram | undefined,
): MetricDefinition {
  return histogram(name, help, read, RECORDS, 1);
}

function histogram(
  name: string,
  help: string,
  read: (snapshot: MetricsSnapshot) => Histogram | undefined,
  bounds: readonly number[],
  scale: number,
): MetricDefinition {
  const samples: MetricReader = (snapshot) => {
    const native = read(snapshot);
    return native && histogramSamples(native, bounds, scale);
  };
  return { name, type: "histogram", help, labels: ["le"], read: samples };
}

/** A sample for each entry, under the label `label`. */
export function by(label: string, values: Readonly<Record<string, number>>): MetricSample[] {
  return Object.entries(values).map(([name, value]) => ({ labels: { [label]: name }, value }));
}

/** A sample of 1 for `value`, of 0 for the others. */
export function stateSet(label: string, states: readonly string[], value: string): MetricSample[] {
  return states.map((state) => ({ labels: { [label]: state }, value: state === value ? 1 : 0 }));
}

/** Undefined where nothing is known: the metric is left out. */
export function familyOf(definition: MetricDefinition, snapshot: MetricsSnapshot): MetricFamily | undefined {
  const { name, type, help, read } = definition;
  const numbers = read(snapshot);
  if (numbers === undefined) return undefined;
  const samples = typeof numbers === "number" ? [{ labels: {}, value: numbers }] : [...numbers];
  return { name, type, help, samples };
}
