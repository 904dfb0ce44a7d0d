import fc from "../property.ts";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { counterPlaces, Counters, countersBytes } from "@millrace/metrics";

const NAMES = ["submitted", "stolen", "parked", "woken"] as const;
const PLACES = counterPlaces(NAMES);

test("counters start at zero", () => {
  assert.equal(new Counters(PLACES).read(), { submitted: 0, stolen: 0, parked: 0, woken: 0 });
});

test("any sequence of additions reads as the sums by name", () => {
  const step = fc.tuple(fc.constantFrom(...NAMES), fc.integer({ min: -(2 ** 40), max: 2 ** 40 }));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 50 }), (steps) => {
      const counters = new Counters(PLACES);
      const sums: Record<string, number> = { submitted: 0, stolen: 0, parked: 0, woken: 0 };
      for (const [name, amount] of steps) {
        counters.add(name, amount);
        sums[name] = (sums[name] as number) + amount;
      }
      assert.equal(counters.read(), sums);
    }),
  );
});

test("an addition without an amount counts one", () => {
  const counters = new Counters(PLACES);
  counters.add("stolen");
  counters.add("stolen");
  assert.equal(counters.read(), { submitted: 0, stolen: 2, parked: 0, woken: 0 });
});

test("a counter's cell can be counted on directly, and is exact up to 2^53", () => {
  const counters = new Counters(PLACES);
  counters.cells[PLACES.parked] = 2 ** 53 - 2;
  counters.add("parked");
  assert.is(counters.get("parked"), 2 ** 53 - 1);
  assert.is(new Set(Object.values(PLACES)).size, NAMES.length);
});

test("another object over the same memory reads what was counted", () => {
  const buffer = new SharedArrayBuffer(countersBytes(PLACES));
  const writer = new Counters(PLACES, buffer);
  const reader = new Counters(PLACES, buffer);
  writer.add("woken", 5);
  assert.is(reader.read().woken, 5);
});

test("memory comes in whole pairs of cache lines, with room for every counter", () => {
  for (let count = 1; count <= 100; count += 1) {
    const bytes = countersBytes(counterPlaces(Array.from({ length: count }, (_, index) => `count ${index}`)));
    assert.is(bytes % 128, 0);
    assert.ok(bytes >= count * 8 && bytes < count * 8 + 128, `${bytes} bytes for ${count} counters`);
  }
});

test.run();
