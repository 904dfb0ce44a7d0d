/** Percentiles by the nearest rank, in ms with two digits. */
export function summary(values) {
  const sorted = Float64Array.from(values).toSorted();
  const at = (part) =>
    sorted.length === 0 ? undefined : Number(sorted[Math.ceil(part * sorted.length) - 1].toFixed(2));
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1) };
}
