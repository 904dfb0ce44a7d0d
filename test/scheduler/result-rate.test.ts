import { test } from "uvu";
import * as assert from "uvu/assert";
import { ResultRate } from "@millrace/scheduler/internal/result-rate";

/** A rate of `perMs` results per millisecond, counted for a while. */
function rateOf(perMs: number): ResultRate {
  const rate = new ResultRate();
  rate.count(0, 1000);
  for (let now = 1001; now <= 1010; now += 1) rate.count(perMs, now);
  return rate;
}

test("before anything was counted nothing may lie", () => {
  assert.is(new ResultRate().restMs(1_000_000), 0);
});

test("results may lie for a millisecond where what waits takes the machines longer than that", () => {
  assert.is(rateOf(40).restMs(60), 1);
  assert.is(rateOf(40).restMs(59), 0);
  assert.is(rateOf(2000).restMs(2999), 0);
});

test("few results are worth a bell each, however long the queue", () => {
  assert.is(rateOf(10).restMs(10_000), 1);
  assert.is(rateOf(9).restMs(10_000), 0);
});

test("when nothing comes any more, the rate falls", () => {
  const rate = rateOf(40);
  rate.count(0, 1011);
  assert.is(rate.restMs(10_000), 0);
});

test("counts between two milliseconds are one rate", () => {
  const rate = new ResultRate();
  rate.count(0, 1000);
  for (let now = 1000; now < 1002; now += 0.25) rate.count(4, now + 0.25);
  assert.is(rate.restMs(24), 1, "16 per ms");
  assert.is(rate.restMs(23), 0);
});

test.run();
