import fc from "../property.ts";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Counters } from "@millrace/metrics";

const NAMES = ["submitted", "stolen", "parked", "woken"] as const;

test("counters start at zero", () => {
  assert.equal(new Counters(NAMES).read(), { submitted: 0, stolen: 0, parked: 0, woken: 0 });
});

test("any sequence of additions reads as the sums by name", () => {
  const step = fc.tuple(fc.constantFrom(...NAMES), fc.integer({ min: -(2 ** 40), max: 2 ** 40 }));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 50 }), (steps) => {
      const counters = new Counters(NAMES);
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
  const counters = new Counters(NAMES);
  counters.add("stolen");
  counters.add("stolen");
  assert.equal(counters.read(), { submitted: 0, stolen: 2, parked: 0, woken: 0 });
});

test("a counter's cell can be counted on directly, and is exact up to 2^53", () => {
  const counters = new Counters(NAMES);
  const cell = counters.index("parked");
  counters.cells[cell] = 2 ** 53 - 2;
  counters.add("parked");
  assert.is(counters.read().parked, 2 ** 53 - 1);
  assert.is(new Set(NAMES.map((name) => counters.index(name))).size, NAMES.length);
});

test("another object over the same memory reads what was counted", () => {
  const buffer = Counters.allocate(NAMES.length);
  const writer = new Counters(NAMES, buffer);
  const reader = new Counters(NAMES, buffer);
  writer.add("woken", 5);
  assert.is(reader.read().woken, 5);
});

test("memory comes in whole pairs of cache lines, with room for every counter", () => {
  for (let count = 1; count <= 100; count += 1) {
    const bytes = Counters.allocate(count).byteLength;
    assert.is(bytes % 128, 0);
    assert.ok(bytes >= count * 8 && bytes < count * 8 + 128, `${bytes} bytes for ${count} counters`);
  }
});

test.run();
