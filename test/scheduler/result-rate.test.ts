import { test } from "uvu";
import * as assert from "uvu/assert";
import { ResultRate } from "@millrace/scheduler/internal/calls/result-rate";

/** A rate of `perMs` results per millisecond, counted for a while. */
function rateOf(perMs: number, measurements = 20): ResultRate {
  const rate = new ResultRate();
  rate.count(0, 1000);
  for (let now = 1001; now <= 1000 + measurements; now += 1) rate.count(perMs, now);
  return rate;
}

test("before anything was counted nothing may lie", () => {
  assert.is(new ResultRate().restMs(1_000_000), 0);
});

test("results may lie for a millisecond where the work takes longer than that", () => {
  assert.is(rateOf(40).restMs(60), 1);
  assert.is(rateOf(40).restMs(59), 0);
  assert.is(rateOf(2000).restMs(2999), 0);
});

test("what comes in a burst must not lie, what comes most of the time may", () => {
  assert.is(rateOf(40, 19).restMs(10_000), 0);
  const rate = new ResultRate();
  rate.count(0, 1000);
  let rests = 0;
  for (let now = 1001; now <= 1400; now += 1) {
    rate.count(now % 4 === 0 ? 0 : 40, now);
    if (rate.restMs(10_000) > 0) rests += 1;
  }
  assert.ok(rests > 250 && rests <= 300, `${rests} rests in 300 ms with results`);
  const bursts = new ResultRate();
  bursts.count(0, 1000);
  for (let now = 1001; now <= 1400; now += 1) {
    bursts.count(now % 10 < 4 ? 40 : 1, now);
    assert.is(bursts.restMs(10_000), 0);
  }
});

test("few results are worth a bell each, however long the queue", () => {
  assert.is(rateOf(10).restMs(10_000), 1);
  assert.is(rateOf(9).restMs(10_000), 0);
});

test("when nothing comes any more, the rate falls", () => {
  const rate = rateOf(40);
  rate.count(0, 1021);
  assert.is(rate.restMs(10_000), 0);
});

test("counts between two milliseconds are one rate", () => {
  const rate = new ResultRate();
  rate.count(0, 1000);
  for (let now = 1000; now < 1020; now += 0.25) rate.count(4, now + 0.25);
  assert.is(rate.restMs(24), 1, "16 per ms");
  assert.is(rate.restMs(23), 0);
});

test.run();
