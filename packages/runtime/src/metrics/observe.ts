/**
 * The metrics of a runtime as observable instruments of OpenTelemetry. The user hands in a meter:
 * `@opentelemetry/api` isn't imported. The numbers are read when the user's reader collects.
 *
 * OpenTelemetry has no observable histogram. Each of ours becomes three counters: `NAME.count`,
 * `NAME.sum` and `NAME.bucket` with the attribute `le`.
 *
 * Rejected: histograms of OpenTelemetry that are recorded into at each event. The numbers are in
 * shared memory already, and most events happen on threads that have no SDK.
 */
import { baseError, custom, optional, resolveOptions, type Rules } from "@millrace/base";
import type { MetricFamily } from "@millrace/metrics";
import type { MetricDescription } from "./definition.ts";
import { type Measured, METRICS } from "./metrics.ts";

/** The part of a meter that is used: `metrics.getMeter("NAME")` of `@opentelemetry/api`. */
export interface ObservingMeter {
  createObservableCounter(name: string, options: ObservedInstrument): object;
  createObservableGauge(name: string, options: ObservedInstrument): object;
  addBatchObservableCallback(callback: (result: MetricObserver) => void, instruments: object[]): void;
  removeBatchObservableCallback(callback: (result: MetricObserver) => void, instruments: object[]): void;
}

/** The options with which an instrument is made. */
export interface ObservedInstrument {
  readonly description: string;
  readonly unit: string;
}

/** The observer that a meter gives to a callback. */
export interface MetricObserver {
  observe(instrument: object, value: number, attributes: Readonly<Record<string, string>>): void;
}

export interface ObserveMetricsOptions {
  /** Added to each number. Several runtimes with one meter need attributes that differ. */
  readonly attributes?: Readonly<Record<string, string>>;
}

const OWN: ReadonlySet<string> = new Set(METRICS.flatMap(({ labels }) => labels));

const rules = {
  attributes: optional(
    custom(
      `an object of texts whose names aren't ${[...OWN].toSorted().join(", ")}`,
      (value): value is Readonly<Record<string, string>> =>
        typeof value === "object" &&
        value !== null &&
        Object.entries(value).every(([name, text]) => name !== "" && !OWN.has(name) && typeof text === "string"),
    ),
  ),
} satisfies Rules;

/** UCUM, by the last word of a name. */
const UNITS: Readonly<Record<string, string>> = { seconds: "s", bytes: "By" };

/** A metric by its name in OpenTelemetry, and its unit in UCUM; empty for a number of things. */
export interface ObservedName {
  readonly name: string;
  readonly unit: string;
}

/**
 * `millrace_log_fsync_seconds` is `millrace.log_fsync` in "s": a name of OpenTelemetry has neither
 * unit nor `_total`. Exporters for Prometheus put `_total` back, and some the unit.
 */
export function observedName({ name, type }: Pick<MetricDescription, "name" | "type">): ObservedName {
  const plain = name.replace(/^millrace_/, "millrace.");
  const counted = type === "counter" ? plain.replace(/_total$/, "") : plain;
  const [, stem, word] = /^(.*)_(seconds|bytes)$/.exec(counted) ?? [];
  if (stem === undefined || word === undefined) return { name: counted, unit: "" };
  return { name: stem, unit: UNITS[word] as string };
}

/** The instruments of one metric; those of a histogram, by the part that a sample belongs to. */
type Instruments = Readonly<Record<"" | "_bucket" | "_sum" | "_count", object>>;

function instrumentsOf(meter: ObservingMeter, description: MetricDescription): Instruments {
  const { type, help } = description;
  const { name, unit } = observedName(description);
  const of = { description: help, unit };
  if (type !== "histogram") {
    const single = type === "counter" ? meter.createObservableCounter(name, of) : meter.createObservableGauge(name, of);
    return { "": single, _bucket: single, _sum: single, _count: single };
  }
  const count = { description: help, unit: "" };
  const counted = meter.createObservableCounter(`${name}.count`, count);
  return {
    "": counted,
    _bucket: meter.createObservableCounter(`${name}.bucket`, count),
    _sum: meter.createObservableCounter(`${name}.sum`, of),
    _count: counted,
  };
}

/**
 * Lets `meter` tell the metrics of `mill` whenever they are collected; returns what ends that.
 * Throws `ERR_INVALID_OPTION`.
 */
export function observeMetrics(mill: Measured, meter: ObservingMeter, options: ObserveMetricsOptions = {}): () => void {
  const { attributes = {} } = resolveOptions("observeMetrics", rules, options);
  if (typeof meter?.addBatchObservableCallback !== "function") {
    throw baseError("ERR_INVALID_OPTION", "observeMetrics: the meter must be one of @opentelemetry/api", {
      details: { owner: "observeMetrics", name: "meter" },
    });
  }
  const own = { ...attributes };
  const instruments = new Map(METRICS.map((metric) => [metric.name, instrumentsOf(meter, metric)]));
  const observe = (result: MetricObserver): void => {
    for (const family of mill.metrics()) observeFamily(result, instruments.get(family.name), family, own);
  };
  const all = [...new Set([...instruments.values()].flatMap((parts) => Object.values(parts)))];
  meter.addBatchObservableCallback(observe, all);
  return () => meter.removeBatchObservableCallback(observe, all);
}

function observeFamily(
  result: MetricObserver,
  instruments: Instruments | undefined,
  { samples }: MetricFamily,
  own: Readonly<Record<string, string>>,
): void {
  if (instruments === undefined) return;
  for (const { suffix = "", labels, value } of samples) {
    // An unknown value is infinite; exporters take no such number.
    if (Number.isFinite(value)) result.observe(instruments[suffix], value, { ...own, ...labels });
  }
}
