// Metrics of a real runtime: as text, judged by Prometheus' own tool, and in prom-client.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Counter, Registry } from "prom-client";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { METRICS, type MetricFamily, metricsText, type Millrace, open, registerMetrics } from "millrace";
import { prometheusText } from "@millrace/metrics";
import { rejectsWith, temporaryDirectory, throwsWith, until } from "../support.ts";
import { promtool, root, withPromtool } from "./support.ts";

interface Handlers {
  echo(value: unknown): unknown;
  dies(value: unknown): unknown;
  forever(value: unknown): unknown;
}

const handlers = new URL("../../../test/fixtures/ending-handlers.mjs", import.meta.url);

async function withMill(journal: object | undefined, body: (mill: Millrace<Handlers>) => Promise<void>): Promise<void> {
  const mill = await open<Handlers>({
    handlers,
    processors: 2,
    onMachineDeath: () => {},
    onFailure: () => {},
    ...(journal === undefined ? {} : { journal }),
  });
  try {
    await body(mill);
  } finally {
    await mill.terminate().catch(() => {});
  }
}

type Numbers = ReadonlyMap<string, number>;

/** `name{labels}` → value, read from the text by rules of its own. */
function numbersIn(text: string): Numbers {
  const numbers = new Map<string, number>();
  for (const line of text.split("\n").filter((each) => each !== "" && !each.startsWith("#"))) {
    const [, series, value] = /^(.*) (\S+)$/.exec(line) as unknown as [string, string, string];
    assert.not(numbers.has(series), `${series} twice`);
    numbers.set(series, value === "+Inf" ? Infinity : Number(value));
  }
  return numbers;
}

test("records, calls, deaths and refusals are counted as they happened", async () => {
  const journal = {
    directory: temporaryDirectory(),
    attemptsMax: 1,
    levels: { unfinished: { high: 50, low: 10 } },
    handlers: { forever: { concurrencyMax: 1 } },
  };
  await withMill(journal, async (mill) => {
    for (let n = 0; n < 100; n += 1) {
      await (
        await mill.publish.echo({ n }, { idempotencyKey: `key-${n % 90}` }).catch(() => mill.publish.echo({ n }))
      ).done;
    }
    await Promise.all(Array.from({ length: 50 }, (_, n) => mill.run.echo(n)));
    await rejectsWith(mill.run.dies(1), "ERR_MACHINE_DIED");
    await until(() => mill.stats().scheduler.threads === 2, "a new thread");
    const now = numbersIn(metricsText(mill));
    const { intake, scheduler } = mill.stats();
    assert.is(now.get('millrace_intake_records_total{result="stored"}'), intake?.stored);
    assert.ok((now.get('millrace_intake_records_total{result="stored"}') as number) >= 100);
    assert.is(now.get("millrace_intake_duplicates_total"), intake?.duplicates);
    assert.is(now.get('millrace_delivery_records_total{result="done"}'), intake?.done);
    assert.ok((now.get('millrace_tasks_completed_total{result="ok"}') as number) >= 50);
    assert.is(now.get('millrace_worker_deaths_total{reason="exit"}'), 1);
    assert.is(scheduler.restarts, 1);
    assert.is(now.get("millrace_worker_restarts_total"), 1);
    assert.is(now.get('millrace_health_status{group="ready"}'), 1);
    // One in 64 is timed, the first among them.
    assert.ok((now.get("millrace_intake_ack_seconds_count") as number) >= 2);
    assert.ok((now.get("millrace_log_fsync_seconds_count") as number) >= 100);
    assert.is(now.get("millrace_log_batch_records_count"), now.get("millrace_log_fsync_seconds_count"));
    assert.is(now.get("millrace_log_batch_records_sum"), now.get("millrace_log_records_total"));
    assert.ok((now.get("millrace_log_disk_free_bytes") as number) > 0);
  });
});

test("a full intake counts what it refuses, and each of a group", async () => {
  const journal = {
    directory: temporaryDirectory(),
    levels: { unfinished: { high: 4, low: 1 } },
    handlers: { forever: { concurrencyMax: 1 } },
  };
  await withMill(journal, async (mill) => {
    const notes = `${temporaryDirectory()}/notes`;
    let refused = 0;
    for (let n = 0; n < 20; n += 1) await mill.tryPublish.forever({ notes }).catch(() => (refused += 1));
    assert.ok(refused >= 10, `${refused}`);
    const group = [1, 2, 3].map(() => ({ handler: "forever" as const, payload: { notes } }));
    await rejectsWith(mill.publishMany(group as never, { whenFull: "reject" }), "ERR_INTAKE_FULL");
    const now = numbersIn(metricsText(mill));
    assert.is(now.get('millrace_intake_records_total{result="rejected"}'), refused + 3);
    assert.is(now.get("millrace_backpressure_active"), 1);
    assert.is(now.get('millrace_intake_level{level="reject"}'), 1);
    assert.is(now.get('millrace_health_status{group="ready"}'), 0);
    assert.is(now.get('millrace_health_status{group="live"}'), 1);
    assert.is(now.get('millrace_health_problem{code="LEVEL_REJECT"}'), 1);
  });
});

test("counters never fall, and buckets ascend up to the count", async () => {
  await withMill({ directory: temporaryDirectory() }, async (mill) => {
    let before: Numbers = new Map();
    for (let round = 0; round < 20; round += 1) {
      const published = Array.from({ length: 50 }, (_, n) =>
        mill.publish.echo(n, { idempotencyKey: `${round % 3}-${n}` }),
      );
      await Promise.allSettled(published.slice(0, 25));
      const text = metricsText(mill);
      const now = numbersIn(text);
      for (const [series, value] of now) {
        const isRising = /_total(?:\{|$)|_count$|_sum$|_bucket/.test(series);
        assert.ok(
          !isRising || value >= (before.get(series) ?? 0),
          `${series} fell from ${before.get(series)} to ${value}`,
        );
      }
      for (const { name } of METRICS.filter(({ type }) => type === "histogram")) {
        const buckets = [...now].filter(([series]) => series.startsWith(`${name}_bucket`)).map(([, value]) => value);
        assert.is(buckets.length > 10, true, name);
        assert.equal(
          buckets,
          buckets.toSorted((a, b) => a - b),
        );
        assert.is(buckets.at(-1), now.get(`${name}_count`));
      }
      before = now;
      await Promise.allSettled(published);
    }
  });
});

withPromtool("promtool finds nothing to say, with a journal and without", async () => {
  for (const journal of [{ directory: temporaryDirectory() }, undefined]) {
    await withMill(journal, async (mill) => {
      await mill.run.echo(1);
      const { isContent, text } = promtool(["check", "metrics"], metricsText(mill));
      assert.ok(isContent, text);
      assert.is(text, "");
    });
  }
});

const hostile: MetricFamily = {
  name: "millrace_test_bytes",
  type: "gauge",
  help: 'a "quoted" back\\slash\nand a second line',
  samples: [
    { labels: { path: 'C:\\dir "x"\nnext' }, value: Infinity },
    { labels: { path: "}{=,#" }, value: -0.5e-7 },
  ],
};

test("labels and helps are escaped", () => {
  assert.is(
    prometheusText([hostile]),
    [
      '# HELP millrace_test_bytes a "quoted" back\\\\slash\\nand a second line',
      "# TYPE millrace_test_bytes gauge",
      'millrace_test_bytes{path="C:\\\\dir \\"x\\"\\nnext"} +Inf',
      'millrace_test_bytes{path="}{=,#"} -5e-8',
      "",
    ].join("\n"),
  );
});

withPromtool("promtool reads what is escaped", () => {
  const { isContent, text } = promtool(["check", "metrics"], prometheusText([hostile]));
  assert.ok(isContent, text);
});

test("each metric has a help, a type, a base unit in its name, and few labels", async () => {
  const names = METRICS.map(({ name }) => name);
  assert.is(new Set(names).size, names.length);
  for (const { name, type, help, labels } of METRICS) {
    assert.match(name, /^millrace_[a-z_]+$/);
    assert.ok(help.endsWith(".") || help.endsWith("}"), `${name}: ${help}`);
    assert.is(name.endsWith("_total"), type === "counter", name);
    assert.not.match(name, /_(?:ms|us|microseconds|kb|mb|percent)(?:_|$)/);
    assert.ok(labels.length <= 2, name);
  }
  await withMill({ directory: temporaryDirectory() }, async (mill) => {
    await until(() => mill.metrics().length === METRICS.length, "all of them are told");
    for (const { name, samples } of mill.metrics()) {
      const { labels } = METRICS.find((each) => each.name === name) as (typeof METRICS)[number];
      for (const sample of samples) {
        for (const label of Object.keys(sample.labels)) assert.ok(labels.includes(label), `${name} has ${label}`);
      }
    }
  });
});

test("the table of metrics in docs/operate.md is what the code says", async () => {
  const { operatePage } = (await import(join(root, "scripts/metrics-table.mjs"))) as { operatePage: () => string };
  const page = readFileSync(join(root, "docs/operate.md"), "utf8");
  assert.is(page, operatePage());
  for (const { name } of METRICS) assert.ok(page.includes(`| \`${name}\` |`), name);
});

test("prom-client scrapes the same numbers, as text, OpenMetrics and JSON", async () => {
  await withMill({ directory: temporaryDirectory() }, async (mill) => {
    await (
      await mill.publish.echo(1)
    ).done;
    const registry = new Registry();
    registry.setDefaultLabels({ service: 'a"b' });
    const own = new Counter({ name: "own_total", help: "of the user", registers: [registry] });
    own.inc(3);
    const unregister = registerMetrics(mill, registry);
    const text = await registry.metrics();
    const numbers = numbersIn(text);
    assert.is(numbers.get('own_total{service="a\\"b"}'), 3);
    assert.is(numbers.get('millrace_delivery_records_total{result="done",service="a\\"b"}'), 1);
    assert.is((numbers.get('millrace_log_fsync_seconds_bucket{le="+Inf",service="a\\"b"}') as number) >= 1, true);
    for (const { name, type } of METRICS) assert.ok(text.includes(`# TYPE ${name} ${type}\n`), name);
    const json = (await registry.getMetricsAsJSON()) as { readonly name: string }[];
    assert.is(json.length, METRICS.length + 1);
    registry.resetMetrics();
    assert.is(numbersIn(await registry.metrics()).get('millrace_dlq_records{service="a\\"b"}'), 0);
    unregister();
    unregister();
    assert.equal(Object.keys(numbersIn(await registry.metrics())).length, 0);
    assert.not.match(await registry.metrics(), /millrace/);

    const modern = new Registry();
    modern.setContentType(Registry.OPENMETRICS_CONTENT_TYPE as never);
    registerMetrics(mill, modern);
    for (let scrape = 0; scrape < 2; scrape += 1) {
      const openMetrics = await modern.metrics();
      assert.match(
        openMetrics,
        /# TYPE millrace_delivery_records counter\nmillrace_delivery_records_total\{result="done"\} 1\n/,
      );
      assert.match(openMetrics, /millrace_log_fsync_seconds_bucket\{le="\+Inf"\} \d/);
      assert.match(openMetrics, /# EOF\n$/);
    }
  });
});

test("two runtimes share a registry when their labels differ; mistakes add nothing", async () => {
  await withMill(undefined, async (first) => {
    await withMill(undefined, async (second) => {
      const registry = new Registry();
      const leave = registerMetrics(first, registry, { labels: { mill: "orders" } });
      registerMetrics(second, registry, { labels: { mill: "mails" } });
      await second.run.echo(1);
      const series = 'millrace_tasks_completed_total{mill="mails",result="ok"}';
      assert.is(numbersIn(await registry.metrics()).get(series), 1);
      assert.is(numbersIn(await registry.metrics()).get(series.replace("mails", "orders")), 0);
      throwsWith(() => registerMetrics(first, registry, { labels: { mill: "mails" } }), "ERR_INVALID_OPTION");
      leave();
      const rest = numbersIn(await registry.metrics());
      assert.ok(rest.has(series) && !rest.has(series.replace("mails", "orders")));
      for (const labels of [{ worker: "1" }, { le: "1" }, { "a-b": "1" }, { __name: "1" }, { n: 1 }]) {
        throwsWith(() => registerMetrics(first, new Registry(), { labels } as never), "ERR_INVALID_OPTION");
      }
      throwsWith(() => registerMetrics(first, new Registry(), { label: {} } as never), "ERR_INVALID_OPTION");
      const taken = new Registry();
      new Counter({ name: "millrace_dlq_added_total", help: "of somebody else", registers: [taken] }).inc();
      throwsWith(() => registerMetrics(first, taken), "ERR_INVALID_OPTION");
      assert.is(taken.getMetricsAsArray().length, 1);
    });
  });
});

test("a scrape costs milliseconds of work, with many threads and after the end", async () => {
  const mill = await open<Handlers>({ handlers, processors: 8, journal: { directory: temporaryDirectory() } });
  await mill.run.echo(1);
  metricsText(mill);
  const before = process.cpuUsage();
  const scrapes = 50;
  for (let n = 0; n < scrapes; n += 1) metricsText(mill);
  const { user, system } = process.cpuUsage(before);
  console.log(`    ${((user + system) / 1000 / scrapes).toFixed(2)} ms of processor time for a scrape`);
  // The whole process: its threads sleep.
  assert.ok(user + system < scrapes * 50_000, `${user + system} µs for ${scrapes}`);
  await mill.close();
  assert.is(numbersIn(metricsText(mill)).get('millrace_health_status{group="ready"}'), 0);
});

test.run();
