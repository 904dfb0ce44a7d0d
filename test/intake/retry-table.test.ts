import fc from "../property.ts";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type RetryState, RetryTable } from "@millrace/intake/internal/states/retry-table";

const stateOf = (place: number): RetryState => {
  return { attempts: place % 65_536, dueMs: place + 0.5, pauseMs: place % 1000, ageMs: place % 7, place };
};

/** A table and a map that were told the same. */
class Both {
  readonly table = new RetryTable();
  readonly map = new Map<number, RetryState>();

  set(origin: number, place: number): void {
    this.table.set(origin, stateOf(place));
    this.map.set(origin, stateOf(place));
  }

  delete(origin: number): void {
    this.table.delete(origin);
    this.map.delete(origin);
  }

  check(asked: Iterable<number>): void {
    const expected = [...this.map].toSorted(([left], [right]) => left - right);
    assert.equal([...this.table], expected);
    assert.equal(
      [...this.table.keys()],
      expected.map(([origin]) => origin),
    );
    assert.is(this.table.size, this.map.size);
    for (const origin of asked) {
      assert.equal(this.table.get(origin), this.map.get(origin));
      assert.is(this.table.has(origin), this.map.has(origin));
    }
  }
}

test("a table of retries says what a map would", () => {
  const origin = fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 2 ** 53 - 1 }));
  const step = fc.tuple(fc.boolean(), origin, fc.integer({ min: 1, max: 2 ** 53 - 1 }));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), origin, origin, (steps, first, last) => {
      const both = new Both();
      for (const [isSet, each, place] of steps) {
        if (isSet) both.set(each, place);
        else both.delete(each);
      }
      both.check(steps.map(([, each]) => each));
      const expected = [...both.map.keys()].filter((each) => each >= first && each <= last);
      assert.equal(
        both.table.originsIn(first, last),
        expected.toSorted((a, b) => a - b),
      );
    }),
  );
});

test("thousands of retries come and go in any order", () => {
  const both = new Both();
  const shuffled = (count: number, step: number): number[] =>
    Array.from({ length: count }, (_, index) => 1 + ((index * step) % count));
  // 7919 is prime: every origin once, from all over.
  for (const origin of shuffled(6000, 7919)) both.set(origin, origin * 3);
  both.check([1, 3000, 6000, 6001]);
  for (const origin of shuffled(6000, 4001)) if (origin % 5 > 0) both.delete(origin);
  both.check([1, 5, 10]);
  for (const origin of shuffled(6000, 7919)) both.set(origin, origin + 7);
  both.check([1, 5, 10]);
  for (let origin = 1; origin <= 6000; origin += 1) both.delete(origin);
  both.check([1]);
  assert.equal(both.table.originsIn(0, Infinity), []);
});

test("a retry takes at most 32 bytes where origins grow", () => {
  const count = 200_000;
  const before = process.memoryUsage().arrayBuffers;
  const table = new RetryTable();
  for (let origin = 1; origin <= count; origin += 1) table.set(origin * 2, stateOf(origin));
  const bytes = (process.memoryUsage().arrayBuffers - before) / count;
  assert.ok(bytes <= 32, `${bytes} bytes`);
  assert.is(table.size, count);
});

test.run();
