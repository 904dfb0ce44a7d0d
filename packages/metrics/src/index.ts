export { Counters } from "./counters.ts";
export { Histogram, HISTOGRAM_BYTES, type HistogramSummary } from "./histogram.ts";
