export {
  Blocking,
  type BlockingCallOptions,
  type BlockingOptions,
  type BlockingRun,
  type BlockingStats,
} from "./blocking.ts";
export { Quarantine, type QuarantinedCall } from "./quarantine.ts";
export { poolErrors } from "./errors.ts";
export { Pool, type PoolHistogram, type PoolHistogramSummary } from "./piscina-pool.ts";
export type { PoolOptions, PoolRunOptions } from "./pool-options.ts";
