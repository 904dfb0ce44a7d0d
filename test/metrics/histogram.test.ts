import fc from "../property.ts";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Histogram, HISTOGRAM_BYTES } from "@millrace/metrics";

/**
 * 32 buckets per power of two: the largest value of a bucket is at most this part above its
 * smallest.
 */
const PRECISION = 1 / 32;
/** In tenths of a percent, so that the exact rank can be computed with whole numbers. */
const PER_MILLES = [1, 100, 250, 500, 900, 990, 999, 1000];

/** Values of every magnitude, all of them equally likely. */
const value = fc.tuple(fc.nat({ max: 30 }), fc.nat({ max: 2 ** 31 - 1 })).map(([shift, bits]) => bits >>> shift);

function histogramOf(values: readonly number[]): Histogram {
  const histogram = new Histogram();
  for (const each of values) histogram.record(each);
  return histogram;
}

/** The smallest value that so many per mille of all values don't exceed. */
function exactQuantile(values: readonly number[], perMille: number): number {
  const sorted = values.toSorted((left, right) => left - right);
  return sorted[Math.ceil((sorted.length * perMille) / 1000) - 1] as number;
}

test("nothing recorded reads as zero", () => {
  assert.equal(new Histogram().summary(), { count: 0, mean: 0, p50: 0, p90: 0, p99: 0, p999: 0, max: 0 });
});

test("a single value is every percentile, exactly", () => {
  fc.assert(
    fc.property(value, (only) => {
      assert.equal(histogramOf([only]).summary(), {
        count: 1,
        mean: only,
        p50: only,
        p90: only,
        p99: only,
        p999: only,
        max: only,
      });
    }),
  );
});

test("values below 64 are told apart exactly", () => {
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 63 }), { minLength: 1, maxLength: 200 }), (values) => {
      const histogram = histogramOf(values);
      for (const perMille of PER_MILLES) {
        assert.is(histogram.percentile(perMille / 10), exactQuantile(values, perMille), `${perMille} per mille`);
      }
    }),
  );
});

test("a percentile is the exact one or above it by less than a bucket", () => {
  fc.assert(
    fc.property(fc.array(value, { minLength: 1, maxLength: 300 }), (values) => {
      const histogram = histogramOf(values);
      for (const perMille of PER_MILLES) {
        const exact = exactQuantile(values, perMille);
        const told = histogram.percentile(perMille / 10);
        assert.ok(told >= exact && told <= exact * (1 + PRECISION), `${perMille} per mille: ${told} for ${exact}`);
      }
    }),
    { numRuns: 500 },
  );
});

test("count, mean and maximum are exact", () => {
  fc.assert(
    fc.property(fc.array(value, { minLength: 1, maxLength: 300 }), (values) => {
      const histogram = histogramOf(values);
      const summary = histogram.summary();
      assert.is(histogram.count, values.length);
      assert.is(summary.count, values.length);
      assert.is(summary.mean, values.reduce((sum, each) => sum + each, 0) / values.length);
      assert.is(histogram.max, Math.max(...values));
      assert.is(summary.max, histogram.max);
    }),
  );
});

test("the summary's percentiles are those that one asks for", () => {
  const histogram = histogramOf(Array.from({ length: 5000 }, (_, index) => 2 ** (index / 200)));
  const { p50, p90, p99, p999 } = histogram.summary();
  assert.equal(
    [p50, p90, p99, p999],
    [50, 90, 99, 99.9].map((percent) => histogram.percentile(percent)),
  );
  assert.is(new Set([p50, p90, p99, p999]).size, 4);
});

test("a higher percentile is never lower, and the last one is the maximum", () => {
  fc.assert(
    fc.property(fc.array(value, { minLength: 1, maxLength: 100 }), (values) => {
      const histogram = histogramOf(values);
      let last = 0;
      for (let percent = 1; percent <= 100; percent += 1) {
        const told = histogram.percentile(percent);
        assert.ok(told >= last, `${percent} %`);
        last = told;
      }
      assert.is(last, Math.max(...values));
    }),
  );
});

test("adding histograms is the same as recording all values in one", () => {
  const values = fc.array(value, { maxLength: 50 });
  fc.assert(
    fc.property(fc.array(values, { minLength: 1, maxLength: 5 }), (parts) => {
      const sum = new Histogram();
      for (const part of parts) sum.add(histogramOf(part));
      const whole = histogramOf(parts.flat());
      assert.equal(sum.summary(), whole.summary());
      for (let percent = 1; percent <= 100; percent += 1) assert.is(sum.percentile(percent), whole.percentile(percent));
    }),
  );
});

test("adding leaves the added histogram as it was", () => {
  const added = histogramOf([1, 500, 70_000]);
  const before = added.summary();
  histogramOf([9]).add(added);
  assert.equal(added.summary(), before);
});

test("fractions are cut off, and what is below zero is counted as zero", () => {
  assert.is(histogramOf([7.9, 1000]).percentile(50), 7);
  assert.is(histogramOf([-5, 1000]).percentile(50), 0);
  assert.is(histogramOf([-5, 1000]).count, 2);
});

test("values from 2^31 on are counted in the last bucket, and the maximum tells them", () => {
  const histogram = histogramOf([5, 2 ** 31, 2 ** 40]);
  assert.is(histogram.count, 3);
  assert.is(histogram.percentile(66), 2 ** 31 - 1);
  assert.is(histogram.max, 2 ** 40);
  assert.is(histogramOf([2 ** 31 - 1]).percentile(50), 2 ** 31 - 1);
});

test("every value up to 2^31 - 1 has a bucket, and no boundary is off by one", () => {
  for (let exponent = 0; exponent < 31; exponent += 1) {
    for (const each of [2 ** exponent - 1, 2 ** exponent, 2 ** exponent + 1]) {
      // The second value keeps the maximum out of the way.
      const told = histogramOf([each, 2 ** 31 - 1]).percentile(50);
      assert.ok(told >= each && told <= each * (1 + PRECISION), `${told} for ${each}`);
    }
  }
});

test("another object over the same memory reads what was recorded", () => {
  const buffer = new SharedArrayBuffer(HISTOGRAM_BYTES);
  const writer = new Histogram(buffer);
  const reader = new Histogram(buffer);
  for (const each of [3, 4000, 5_000_000]) writer.record(each);
  assert.equal(reader.summary(), writer.summary());
  assert.is(reader.count, 3);
});

test("histograms side by side in one buffer don't touch each other", () => {
  assert.is(HISTOGRAM_BYTES % 128, 0);
  const buffer = new SharedArrayBuffer(3 * HISTOGRAM_BYTES);
  const [left, middle, right] = [0, 1, 2].map((index) => new Histogram(buffer, index * HISTOGRAM_BYTES)) as [
    Histogram,
    Histogram,
    Histogram,
  ];
  for (const each of [0, 1, 63, 64, 2 ** 20, 2 ** 31 - 1, 2 ** 50]) middle.record(each);
  assert.is(left.summary().count + left.max, 0);
  assert.is(right.summary().count + right.max, 0);
  assert.is(middle.count, 7);
});

test.run();
