// The alert rules and the dashboard in ops/: every alert is made to fire, and names only metrics
// that are there.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { METRICS } from "millrace";
import { parse, stringify } from "yaml";
import { temporaryDirectory } from "../support.ts";
import { promtool, root, withPromtool } from "./support.ts";

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly labels: { readonly severity: string };
  readonly annotations: Readonly<Record<string, string>>;
}

const rulesFile = join(root, "ops/alerts.yml");
const [group] = (parse(readFileSync(rulesFile, "utf8")) as { groups: { rules: Rule[] }[] }).groups;
const rules = group?.rules as Rule[];

/** Series of a minute's step that make an alert fire, and the same ones when all is well. */
interface Case {
  readonly bad: Readonly<Record<string, string>>;
  readonly good: Readonly<Record<string, string>>;
}

const constant = (series: string, bad: number, good: number): Case => ({
  bad: { [series]: `${bad}+0x60` },
  good: { [series]: `${good}+0x60` },
});

/** A histogram all of whose values lie in the bucket up to `le`. */
function slow(name: string, le: string): Record<string, string> {
  return {
    [`${name}_bucket{le="${le}"}`]: "0+60x60",
    [`${name}_bucket{le="0.01"}`]: "0+0x60",
    [`${name}_bucket{le="+Inf"}`]: "0+60x60",
  };
}

function fast(name: string, le: string): Record<string, string> {
  return { ...slow(name, le), [`${name}_bucket{le="0.01"}`]: "0+60x60" };
}

const cases: Readonly<Record<string, Case>> = {
  MillraceNotReady: constant('millrace_health_status{group="ready"}', 0, 1),
  MillraceNeedsRestart: constant('millrace_health_status{group="live"}', 0, 1),
  MillraceSyncFailed: constant("millrace_log_fsync_errors_total", 1, 0),
  MillraceDiskStuck: constant("millrace_log_fsync_running_seconds", 11, 9),
  MillraceDiskFillsUp: constant("millrace_log_disk_free_bytes", 2 ** 30 - 1, 2 ** 30),
  MillraceJournalDamaged: constant("millrace_log_damaged_places", 1, 0),
  MillraceRejects: {
    bad: { 'millrace_intake_records_total{result="rejected"}': "0+1x60" },
    good: { 'millrace_intake_records_total{result="rejected"}': "7+0x60" },
  },
  // Time begins at 0 there: 60 is a minute after it, and 0 stands for "none waits".
  MillraceBacklogOld: constant("millrace_log_oldest_unprocessed_timestamp_seconds", 60, 0),
  MillraceSyncSlow: {
    bad: slow("millrace_log_fsync_seconds", "0.25"),
    good: fast("millrace_log_fsync_seconds", "0.25"),
  },
  MillraceAckSlow: {
    bad: slow("millrace_intake_ack_seconds", "2.5"),
    good: fast("millrace_intake_ack_seconds", "2.5"),
  },
  MillraceDeadLetters: { bad: { millrace_dlq_added_total: "0+1x60" }, good: { millrace_dlq_added_total: "5+0x60" } },
  MillraceDeadLettersFull: constant("millrace_dlq_waiting_records", 1, 0),
  MillraceHandlerMissing: constant('millrace_delivery_waiting_records{state="unroutable"}', 3, 0),
  MillraceHandlerFails: {
    bad: {
      'millrace_delivery_records_total{result="retried"}': "0+60x60",
      millrace_delivery_attempts_total: "0+100x60",
    },
    good: {
      'millrace_delivery_records_total{result="retried"}': "0+40x60",
      millrace_delivery_attempts_total: "0+100x60",
    },
  },
  MillraceWorkersDie: {
    bad: { 'millrace_worker_deaths_total{reason="exit"}': "0+1x60" },
    good: { 'millrace_worker_deaths_total{reason="exit"}': "4+0x60" },
  },
  MillraceEventLoopBlocked: constant("millrace_event_loop_delay_seconds", 1.5, 0.5),
  MillraceSchedulerFault: {
    bad: { 'millrace_sched_faults_total{kind="swept"}': "0+0x30 1+0x30" },
    good: {
      'millrace_sched_faults_total{kind="swept"}': "1+0x60",
      'millrace_sched_faults_total{kind="rescue"}': "0+1x60",
    },
  },
};

const withInstance = (series: string): string =>
  series.includes("{") ? series.replace("{", '{instance="one",') : `${series}{instance="one"}`;

/** The alerts that fire at `minutes` with these series, and no others. */
function testOf(series: Readonly<Record<string, string>>, minutes: number, fires: readonly string[]): object {
  return {
    interval: "1m",
    input_series: Object.entries(series).map(([name, values]) => ({ series: withInstance(name), values })),
    promql_expr_test: [
      {
        expr: 'count by (alertname) (ALERTS{alertstate="firing"})',
        eval_time: `${minutes}m`,
        exp_samples: fires.map((alertname) => ({ labels: `{alertname="${alertname}"}`, value: 1 })),
      },
    ],
  };
}

function check(tests: readonly object[]): { readonly isContent: boolean; readonly text: string } {
  const file = join(temporaryDirectory(), "test.yml");
  writeFileSync(file, stringify({ rule_files: [rulesFile], evaluation_interval: "1m", tests }));
  return promtool(["test", "rules", file]);
}

test("each alert has a case, a severity, and says what to do", () => {
  assert.equal(Object.keys(cases).toSorted(), rules.map(({ alert }) => alert).toSorted());
  for (const { alert, labels, annotations } of rules) {
    assert.ok(["page", "ticket"].includes(labels.severity), alert);
    assert.equal(Object.keys(annotations).toSorted(), ["action", "summary"], alert);
  }
});

withPromtool("promtool accepts the rules", () => {
  const { isContent, text } = promtool(["check", "rules", rulesFile]);
  assert.ok(isContent, text);
});

withPromtool("each alert fires alone, and is silent when all is well", () => {
  const tests = Object.entries(cases).flatMap(([alert, { bad, good }]) => [
    testOf(bad, 45, [alert]),
    testOf(good, 45, []),
  ]);
  const { isContent, text } = check(tests);
  assert.ok(isContent, text);
});

withPromtool("a test of an alert can fail", () => {
  const { bad } = cases.MillraceNotReady as Case;
  assert.not(check([testOf(bad, 45, [])]).isContent);
  assert.not(check([testOf(bad, 1, ["MillraceNotReady"])]).isContent);
});

/** The metrics that an expression names. */
function namedIn(expression: string): string[] {
  return [...expression.matchAll(/\bmillrace_[a-z_]+/g)].map(([name]) => name);
}

/** As a scrape has them. */
const series = new Map(
  METRICS.flatMap(({ name, type, labels }) =>
    (type === "histogram" ? ["_bucket", "_sum", "_count"] : [""]).map(
      (suffix) => [`${name}${suffix}`, labels] as const,
    ),
  ),
);

/** Labels of a scrape's target, and those that Grafana and expressions add. */
const TARGET_LABELS: ReadonlySet<string> = new Set(["instance", "job"]);

function mustExist(expression: string, where: string): void {
  assert.ok(namedIn(expression).length > 0, `${where} names a metric`);
  for (const name of namedIn(expression)) assert.ok(series.has(name), `${where}: there is no ${name}`);
  for (const [, name, selector] of expression.matchAll(/\b(millrace_[a-z_]+)\{([^}]*)\}/g)) {
    for (const [, label] of (selector as string).matchAll(/(\w+)(?:=~|!=|!~|=)/g)) {
      const isThere = series.get(name as string)?.includes(label as string) === true;
      assert.ok(isThere || TARGET_LABELS.has(label as string), `${where}: ${name} has no label ${label}`);
    }
  }
}

test("alerts and dashboard name metrics and labels that are there", () => {
  for (const { alert, expr } of rules) mustExist(expr, alert);
  const { panels, templating, uid } = JSON.parse(readFileSync(join(root, "ops/dashboard.json"), "utf8")) as {
    readonly uid: string;
    readonly templating: { readonly list: readonly { readonly query: string }[] };
    readonly panels: readonly {
      readonly id: number;
      readonly title: string;
      readonly type: string;
      readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
      readonly targets?: readonly { readonly expr: string; readonly refId: string }[];
    }[];
  };
  assert.is(uid, "millrace");
  for (const { query } of templating.list.slice(1)) mustExist(query, "a variable");
  assert.is(new Set(panels.map(({ id }) => id)).size, panels.length);
  assert.is(new Set(panels.map(({ gridPos: { x, y } }) => `${x} ${y}`)).size, panels.length);
  for (const { title, type, targets = [] } of panels) {
    if (type === "row") continue;
    assert.ok(targets.length > 0, title);
    for (const { expr } of targets) mustExist(expr, title);
  }
});

withPromtool("Prometheus can parse every expression of the dashboard", () => {
  const { panels } = JSON.parse(readFileSync(join(root, "ops/dashboard.json"), "utf8")) as {
    readonly panels: readonly { readonly targets?: readonly { readonly expr: string }[] }[];
  };
  const expressions = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
  const file = join(temporaryDirectory(), "expressions.yml");
  const recorded = expressions.map((expr, index) => ({
    record: `expression:${index}`,
    // As Grafana fills in its variables.
    expr: expr.replaceAll("$__rate_interval", "5m").replaceAll("$instance", "one"),
  }));
  writeFileSync(file, stringify({ groups: [{ name: "dashboard", rules: recorded }] }));
  const { isContent, text } = promtool(["check", "rules", file]);
  assert.ok(isContent, text);
});

test.run();
