export { type CounterPlaces, counterPlaces, Counters, countersBytes } from "./counters.ts";
export { histogramSamples, type MetricFamily, type MetricSample, prometheusText } from "./exposition.ts";
export { Histogram, HISTOGRAM_BYTES, type HistogramSummary } from "./histogram.ts";
