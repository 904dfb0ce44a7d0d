// Metrics of a real runtime, collected by the real SDK of OpenTelemetry.
import { PrometheusSerializer } from "@opentelemetry/exporter-prometheus";
import {
  AggregationTemporality,
  type CollectionResult,
  DataPointType,
  InMemoryMetricExporter,
  MeterProvider,
  type MetricData,
  PeriodicExportingMetricReader,
} from "@opentelemetry/sdk-metrics";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { METRICS, type MetricFamily, type Millrace, observedName, observeMetrics, open } from "millrace";
import { temporaryDirectory, throwsWith } from "../support.ts";

const handlers = new URL("../../../test/fixtures/ending-handlers.mjs", import.meta.url);

interface Handlers {
  echo(value: unknown): unknown;
}

async function withMill(body: (mill: Millrace<Handlers>) => Promise<void>): Promise<void> {
  const mill = await open<Handlers>({ handlers, processors: 1, journal: { directory: temporaryDirectory() } });
  try {
    for (let n = 0; n < 130; n += 1) await mill.publish.echo({ n });
    await mill.drain();
    await body(mill);
  } finally {
    await mill.terminate();
  }
}

/** A provider whose reader collects when it is asked. */
function collecting(): { readonly provider: MeterProvider; readonly collect: () => Promise<CollectionResult> } {
  const reader = new PeriodicExportingMetricReader({
    exporter: new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE),
    exportIntervalMillis: 1_000_000,
  });
  return { provider: new MeterProvider({ readers: [reader] }), collect: () => reader.collect() };
}

function byName({ resourceMetrics, errors }: CollectionResult): Map<string, MetricData> {
  assert.equal(errors, []);
  const metrics = resourceMetrics.scopeMetrics.flatMap((scope) => scope.metrics);
  return new Map(metrics.map((metric) => [metric.descriptor.name, metric]));
}

/** A number that nothing changes while nobody calls. */
const STILL = /^millrace_(intake_records|log_records|tasks_completed|delivery|dlq|intake_ack|intake_level|build)/;

function samplesOf(family: MetricFamily): { part: string; key: string; value: number }[] {
  return family.samples.map(({ suffix = "", labels, value }) => {
    const sorted = Object.entries(labels).toSorted(([a], [b]) => (a < b ? -1 : 1));
    return { part: suffix, key: JSON.stringify(sorted), value };
  });
}

test("the SDK collects what mill.metrics() says, number for number", async () => {
  await withMill(async (mill) => {
    const { provider, collect } = collecting();
    observeMetrics(mill, provider.getMeter("millrace"));
    const collected = byName(await collect());
    let compared = 0;
    for (const family of mill.metrics().filter(({ name }) => STILL.test(name))) {
      const { name, unit } = observedName(family);
      for (const { part, key, value } of samplesOf(family)) {
        const metric = collected.get(`${name}${part.replace("_", ".")}`);
        assert.ok(metric, `${name}${part}`);
        assert.is(metric.descriptor.unit, part === "" || part === "_sum" ? unit : "");
        const points = metric.dataPoints.filter(({ attributes }) => {
          return JSON.stringify(Object.entries(attributes).toSorted(([a], [b]) => (a < b ? -1 : 1))) === key;
        });
        assert.equal(
          points.map((point) => point.value),
          [value],
          `${name}${part} ${key}`,
        );
        compared += 1;
      }
    }
    assert.ok(compared > 30, `${compared} numbers`);
    await provider.shutdown();
  });
});

test("counters are sums that only grow, gauges are gauges, seconds have their unit", async () => {
  await withMill(async (mill) => {
    const { provider, collect } = collecting();
    observeMetrics(mill, provider.getMeter("millrace"));
    const collected = byName(await collect());
    const records = collected.get("millrace.intake_records") as MetricData;
    assert.is(records.dataPointType, DataPointType.SUM);
    assert.ok("isMonotonic" in records && records.isMonotonic);
    const free = collected.get("millrace.log_disk_free");
    assert.is(free?.descriptor.unit, "By");
    assert.is(free?.dataPointType, DataPointType.GAUGE);
    assert.is(collected.get("millrace.log_fsync.sum")?.descriptor.unit, "s");
    await provider.shutdown();
  });
});

test("an exporter for Prometheus gives the names of /metrics back, but for units", async () => {
  await withMill(async (mill) => {
    const { provider, collect } = collecting();
    observeMetrics(mill, provider.getMeter("millrace"));
    const { resourceMetrics } = await collect();
    const text = new PrometheusSerializer().serialize(resourceMetrics);
    const families = new Set([...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name));
    const told = new Set(mill.metrics().flatMap(({ name, samples }) => (samples.length > 0 ? [name] : [])));
    for (const { name, type } of METRICS) {
      if (type === "histogram" || !told.has(name)) continue;
      // The exporter of this SDK adds no units; that of the collector does.
      const plain = name.replace(/_(seconds|bytes)(?=_total$|$)/, "");
      assert.ok(families.has(plain), `${plain} among ${[...families].join(" ")}`);
    }
    await provider.shutdown();
  });
});

test("a runtime without a journal tells what it has", async () => {
  const mill = await open<Handlers>({ handlers, processors: 1 });
  try {
    const { provider, collect } = collecting();
    observeMetrics(mill, provider.getMeter("millrace"));
    const collected = byName(await collect());
    assert.ok(collected.has("millrace.tasks_completed"));
    assert.not(collected.get("millrace.intake_records")?.dataPoints.length);
    await provider.shutdown();
  } finally {
    await mill.close();
  }
});

test("two runtimes differ by their attributes", async () => {
  await withMill(async (mill) => {
    await withMill(async (other) => {
      const { provider, collect } = collecting();
      const meter = provider.getMeter("millrace");
      observeMetrics(mill, meter, { attributes: { shard: "a" } });
      observeMetrics(other, meter, { attributes: { shard: "b" } });
      const shards = async (): Promise<unknown[]> => {
        const points = byName(await collect()).get("millrace.processors")?.dataPoints ?? [];
        return points.map(({ attributes }) => attributes.shard as string).toSorted((a, b) => (a < b ? -1 : 1));
      };
      assert.equal(await shards(), ["a", "b"]);
      await provider.shutdown();
    });
  });
});

test("a runtime that was taken out is asked no more", async () => {
  let asked = 0;
  const mill = { metrics: () => ((asked += 1), []) };
  const { provider, collect } = collecting();
  const end = observeMetrics(mill, provider.getMeter("millrace"));
  await collect();
  assert.is(asked, 1, "once for each collection");
  end();
  await collect();
  assert.is(asked, 1);
  await provider.shutdown();
});

test("wrong arguments are refused", () => {
  const mill = { metrics: () => [] };
  const { provider } = collecting();
  const meter = provider.getMeter("millrace");
  throwsWith(() => observeMetrics(mill, {} as never), "ERR_INVALID_OPTION");
  throwsWith(() => observeMetrics(mill, undefined as never), "ERR_INVALID_OPTION");
  for (const attributes of [{ worker: "1" }, { a: 1 }, null, { "": "a" }]) {
    throwsWith(() => observeMetrics(mill, meter, { attributes } as never), "ERR_INVALID_OPTION");
  }
  throwsWith(() => observeMetrics(mill, meter, { attribute: {} } as never), "ERR_INVALID_OPTION");
});

test("each metric has a name of its own in OpenTelemetry", () => {
  const names = METRICS.map((metric) => observedName(metric).name);
  assert.is(new Set(names).size, METRICS.length);
  for (const name of names) assert.match(name, /^millrace\.[a-z][a-z_]*$/);
});

test.run();
