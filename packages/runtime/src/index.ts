export type { Context, Publishing, TaskContext } from "./context.ts";
export type { HealthCode, HealthReason, MillraceHealth } from "./health.ts";
export { errors } from "./errors.ts";
export { type Millrace, type MillraceOptions, type MillraceStats, open } from "./open.ts";
export { TRACE_ENVIRONMENT, TRACE_RECORDS_DEFAULT, TRACE_RECORDS_MAX } from "./trace-file.ts";
