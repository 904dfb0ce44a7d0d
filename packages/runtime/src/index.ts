export type { Context, Publishing, TaskContext } from "./context.ts";
export {
  healthAnswer,
  type HealthAnswer,
  type HealthAnswerOptions,
  type HealthBody,
  type HealthNote,
} from "./health/answer.ts";
export { HEALTH_GROUPS, type HealthGroup } from "./health/groups.ts";
export { type HealthCode, type HealthOptions, type HealthReason, type MillraceHealth } from "./health/health.ts";
export { type Probe, type ProbeResult, Probes } from "./health/probes.ts";
export { type Measured, METRICS, metricsText } from "./metrics/metrics.ts";
export { type Figures, figuresOf, quantileMs, type Reading, type WorkerFigures } from "./metrics/figures.ts";
export type { MetricDescription } from "./metrics/definition.ts";
export { type MetricRegistry, registerMetrics, type RegisterMetricsOptions } from "./metrics/register.ts";
export {
  type MetricObserver,
  type ObservedInstrument,
  type ObservedName,
  observedName,
  observeMetrics,
  type ObserveMetricsOptions,
  type ObservingMeter,
} from "./metrics/observe.ts";
export { errors } from "./errors.ts";
export type { Millrace, MillraceOptions, MillraceStats } from "./millrace.ts";
export { open } from "./open.ts";
export { TRACE_ENVIRONMENT, TRACE_RECORDS_DEFAULT, TRACE_RECORDS_MAX } from "./trace-file.ts";
