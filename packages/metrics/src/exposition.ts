/**
 * Metrics as plain values, and as the text that Prometheus scrapes: version 0.0.4 of its format.
 *
 * Source: prometheus.io/docs/instrumenting/exposition_formats.
 */
import type { Histogram } from "./histogram.ts";

/** A number of a metric, with its labels. */
export interface MetricSample {
  /** Of a histogram: what it is a part of. */
  readonly suffix?: "_bucket" | "_sum" | "_count";
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface MetricFamily {
  /** In base units, which are its last word: seconds, bytes. A counter's ends with `_total`. */
  readonly name: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly help: string;
  readonly samples: readonly MetricSample[];
}

/** The classic buckets of a histogram in shared memory. */
export function histogramSamples(
  histogram: Histogram,
  /** Upper bounds in the metric's unit, ascending, without infinity. */
  bounds: readonly number[],
  /** The histogram's units in one unit of the metric: 1e6 µs for a second. */
  scale: number,
): MetricSample[] {
  const counts = histogram.cumulative(bounds.map((bound) => bound * scale));
  // Read last: what is recorded meanwhile makes it no smaller than a bucket.
  const { sum, count } = histogram;
  const buckets = bounds.map((bound, index): MetricSample => {
    return { suffix: "_bucket", labels: { le: String(bound) }, value: counts[index] as number };
  });
  return [
    ...buckets,
    { suffix: "_bucket", labels: { le: "+Inf" }, value: count },
    { suffix: "_sum", labels: {}, value: sum / scale },
    { suffix: "_count", labels: {}, value: count },
  ];
}

export function prometheusText(families: Iterable<MetricFamily>): string {
  let text = "";
  for (const { name, type, help, samples } of families) {
    text += `# HELP ${name} ${escaped(help, /[\\\n]/g)}\n# TYPE ${name} ${type}\n`;
    for (const { suffix = "", labels, value } of samples) {
      text += `${name}${suffix}${labelText(labels)} ${numberText(value)}\n`;
    }
  }
  return text;
}

function labelText(labels: Readonly<Record<string, string>>): string {
  const parts = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value, /[\\"\n]/g)}"`);
  return parts.length === 0 ? "" : `{${parts.join(",")}}`;
}

function escaped(text: string, special: RegExp): string {
  return text.replaceAll(special, (character) => (character === "\n" ? "\\n" : `\\${character}`));
}

function numberText(value: number): string {
  if (value === Infinity) return "+Inf";
  return value === -Infinity ? "-Inf" : String(value);
}
