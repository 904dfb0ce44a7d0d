/** All metrics of a runtime, read at the moment of a scrape from what its threads count anyway. */
import { performance } from "@millrace/base";
import { type MetricFamily, prometheusText } from "@millrace/metrics";
import { HEALTH_GROUPS } from "../health/groups.ts";
import { HEALTH_CODES } from "../health/health.ts";
import { by, familyOf, gauge, type MetricDefinition, type MetricDescription } from "./definition.ts";
import { intakeMetrics } from "./intake-metrics.ts";
import { schedulerMetrics } from "./scheduler-metrics.ts";
import type { MetricsSnapshot } from "./snapshot.ts";

const generalMetrics: readonly MetricDefinition[] = [
  gauge(
    "millrace_build_info",
    "Always 1; the labels are the versions of Millrace and of Node.",
    ({ version }) => [{ labels: { version, node: process.version }, value: 1 }],
    ["version", "node"],
  ),
  gauge(
    "millrace_health_status",
    "1 when the health endpoint of this group answers 200, your probes aside.",
    ({ isUp }) => by("group", Object.fromEntries(HEALTH_GROUPS.map((group) => [group, isUp(group) ? 1 : 0]))),
    ["group"],
  ),
  gauge(
    "millrace_health_problem",
    "1 for each code that mill.health() reports now.",
    ({ health }) => {
      const now = new Set(health.reasons.map(({ code }) => code));
      return by("code", Object.fromEntries(HEALTH_CODES.map((code) => [code, now.has(code) ? 1 : 0])));
    },
    ["code"],
  ),
  gauge(
    "millrace_event_loop_delay_seconds",
    "The longest delay of the opening thread's timers in the last ten seconds.",
    ({ eventLoopDelayMs }) => eventLoopDelayMs / 1000,
  ),
];

/** Last: it tells how long the others took. */
const scrape: MetricDefinition = gauge(
  "millrace_metrics_scrape_seconds",
  "How long this reading of the metrics took.",
  ({ startedMs }) => (performance.now() - startedMs) / 1000,
);

const definitions: readonly MetricDefinition[] = [...generalMetrics, ...schedulerMetrics, ...intakeMetrics, scrape];

/** Every metric that there is. */
export const METRICS: readonly MetricDescription[] = definitions;

export function familiesOf(snapshot: MetricsSnapshot): MetricFamily[] {
  return definitions.map((definition) => familyOf(definition, snapshot)).filter((family) => family !== undefined);
}

/** An object with metrics: a runtime. */
export interface Measured {
  metrics(): readonly MetricFamily[];
}

/** The metrics of a runtime as Prometheus scrapes them: `text/plain; version=0.0.4`. */
export function metricsText(mill: Measured): string {
  return prometheusText(mill.metrics());
}
