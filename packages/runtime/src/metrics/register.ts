/**
 * The metrics of a runtime in the user's own registry, of `prom-client` or `@prometheus-io/client`.
 * Neither is imported: a registry asks each of its metrics for its numbers at a scrape, and any
 * object that answers will do.
 *
 * Rejected: metrics of that package, set by a timer or at each event. The numbers are in shared
 * memory already, and an event would cost more in JavaScript than the work that it counts.
 */
import { baseError, custom, optional, resolveOptions, type Rules, setImmediate } from "@millrace/base";
import type { MetricFamily, MetricSample } from "@millrace/metrics";
import { type Measured, METRICS } from "./metrics.ts";

/** The part of a registry that is used. */
export interface MetricRegistry {
  registerMetric(metric: never): void;
  getSingleMetric(name: string): unknown;
  removeSingleMetric(name: string): void;
}

export interface RegisterMetricsOptions {
  /**
   * Added to each number. Several runtimes in one registry need labels that differ. Default none.
   */
  readonly labels?: Readonly<Record<string, string>>;
}

/** Recognised also when another copy of this package has made it. */
const COLLECTOR: unique symbol = Symbol.for("millrace.metrics.collector");
const LABEL_NAME = /^(?!__)[a-zA-Z_][a-zA-Z0-9_]*$/;
const OWN_LABELS: ReadonlySet<string> = new Set(METRICS.flatMap(({ labels }) => labels));

const rules = {
  labels: optional(
    custom(
      `an object of texts whose names aren't ${[...OWN_LABELS].toSorted().join(", ")}`,
      (value): value is Readonly<Record<string, string>> =>
        typeof value === "object" &&
        value !== null &&
        Object.entries(value).every(
          ([name, text]) => LABEL_NAME.test(name) && !OWN_LABELS.has(name) && typeof text === "string",
        ),
    ),
  ),
} satisfies Rules;

/** One runtime in a registry. All its metrics are read in one go, once for each scrape. */
class Source {
  readonly mill: Measured;
  readonly labels: Readonly<Record<string, string>>;
  readonly id: string;
  #families: ReadonlyMap<string, MetricFamily> | undefined;

  constructor(mill: Measured, labels: Readonly<Record<string, string>>) {
    this.mill = mill;
    this.labels = labels;
    this.id = JSON.stringify(Object.entries(labels).toSorted(([a], [b]) => (a < b ? -1 : 1)));
  }

  samples(name: string): readonly MetricSample[] {
    if (this.#families === undefined) {
      this.#families = new Map(this.mill.metrics().map((family) => [family.name, family]));
      // A registry asks all of its metrics in one turn of the event loop.
      setImmediate(() => (this.#families = undefined));
    }
    return this.#families.get(name)?.samples ?? [];
  }
}

/** A metric as a registry takes it. */
class Collector {
  readonly [COLLECTOR] = true;
  /** A registry that writes OpenMetrics takes the end of a counter's name away. */
  name: string;
  readonly help: string;
  readonly type: MetricFamily["type"];
  readonly aggregator = "sum";
  readonly sources: Source[] = [];
  readonly #name: string;

  constructor({
    name,
    help,
    type,
  }: {
    readonly name: string;
    readonly help: string;
    readonly type: MetricFamily["type"];
  }) {
    this.name = name;
    this.#name = name;
    this.help = help;
    this.type = type;
  }

  async get(): Promise<object> {
    const { name, help, type, aggregator } = this;
    const values = this.sources.flatMap((source) =>
      source.samples(this.#name).map(({ suffix, labels, value }) => {
        const all = { ...source.labels, ...labels };
        return { value, labels: all, ...(suffix === undefined ? {} : { metricName: `${name}${suffix}` }) };
      }),
    );
    return { name, help, type, aggregator, values };
  }

  /** The numbers are those of shared memory. */
  reset(): void {}
}

/**
 * Adds the metrics of `mill` to a registry, which reads them when it is scraped; returns what takes
 * them out again. Throws `ERR_INVALID_OPTION`, and then nothing was added, when the registry has a
 * metric of the same name that isn't ours, or a runtime with the same labels.
 */
export function registerMetrics(
  mill: Measured,
  registry: MetricRegistry,
  options: RegisterMetricsOptions = {},
): () => void {
  const { labels = {} } = resolveOptions("registerMetrics", rules, options);
  const source = new Source(mill, { ...labels });
  const found = METRICS.map(({ name }) => registry.getSingleMetric(name) as Partial<Collector> | undefined);
  for (const [index, metric] of found.entries()) {
    if (metric === undefined) continue;
    if (metric[COLLECTOR] !== true) throw refused("registry", `has another metric ${METRICS[index]?.name}`);
    if (metric.sources?.some(({ id }) => id === source.id) === true) {
      throw refused("labels", `has a runtime with the labels ${source.id}`);
    }
  }
  const collectors = METRICS.map((definition, index) => {
    const collector = (found[index] as Collector | undefined) ?? new Collector(definition);
    if (found[index] === undefined) registry.registerMetric(collector as never);
    collector.sources.push(source);
    return collector;
  });
  return () => {
    for (const [index, { sources }] of collectors.entries()) {
      const place = sources.indexOf(source);
      if (place < 0) continue;
      sources.splice(place, 1);
      if (sources.length === 0) registry.removeSingleMetric((METRICS[index] as { readonly name: string }).name);
    }
  };
}

function refused(name: string, why: string): Error {
  return baseError("ERR_INVALID_OPTION", `registerMetrics: the registry ${why}`, {
    details: { owner: "registerMetrics", name },
  });
}
