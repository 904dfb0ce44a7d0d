import fc from "../property.ts";
import { test } from "uvu";
import * as assert from "uvu/assert";
// Internal to the package; only its own tests reach for it.
import { RangeSet } from "@millrace/intake/internal/format/range-set";

/** Small numbers, so that ranges meet; a set is built from ranges, many of them of length one. */
const HIGHEST = 40;
const range = fc
  .tuple(fc.nat({ max: HIGHEST }), fc.oneof(fc.constant(0), fc.integer({ min: -2, max: 12 })))
  .map(([first, more]) => [first, Math.min(first + more, HIGHEST)] as const);
const ranges = fc.array(range, { maxLength: 30 });

function addTo(set: RangeSet, model: Set<number>, [first, last]: readonly [number, number]): void {
  if (first === last) set.add(first);
  else set.addRange(first, last);
  for (let value = first; value <= last; value += 1) model.add(value);
}

function rangesOf(set: RangeSet): (readonly [number, number])[] {
  return Array.from({ length: set.ranges }, (_, index) => set.range(index));
}

/** The members as sorted ranges that don't touch. */
function rangesOfModel(model: ReadonlySet<number>): [number, number][] {
  const result: [number, number][] = [];
  for (const value of [...model].toSorted((left, right) => left - right)) {
    const latest = result.at(-1);
    if (latest !== undefined && latest[1] === value - 1) latest[1] = value;
    else result.push([value, value]);
  }
  return result;
}

test("after any additions the ranges are those of the same Set of numbers", () => {
  fc.assert(
    fc.property(ranges, (added) => {
      const set = new RangeSet();
      const model = new Set<number>();
      for (const each of added) {
        addTo(set, model, each);
        assert.equal(rangesOf(set), rangesOfModel(model));
      }
    }),
    { numRuns: 2000 },
  );
});

test("has, endOf and countUpTo answer as the Set would", () => {
  fc.assert(
    fc.property(ranges, (added) => {
      const set = new RangeSet();
      const model = new Set<number>();
      for (const each of added) addTo(set, model, each);
      let count = 0;
      for (let value = -2; value <= HIGHEST + 2; value += 1) {
        if (model.has(value)) count += 1;
        let end = value - 1;
        while (model.has(end + 1)) end += 1;
        assert.is(set.has(value), model.has(value), `has(${value})`);
        assert.is(set.endOf(value), end, `endOf(${value})`);
        assert.is(set.countUpTo(value), count, `countUpTo(${value})`);
      }
    }),
    { numRuns: 500 },
  );
});

test("missing finds the numbers that the Set lacks", () => {
  fc.assert(
    fc.property(ranges, fc.nat({ max: HIGHEST }), (added, first) => {
      const set = new RangeSet();
      const model = new Set<number>();
      for (const each of added) addTo(set, model, each);
      let count = 0;
      for (let value = first; value <= HIGHEST + 10; value += 1) {
        if (model.has(value)) continue;
        count += 1;
        assert.is(set.missing(first, count), value, `missing(${first}, ${count})`);
      }
    }),
    { numRuns: 500 },
  );
});

test("a copy has the same members and goes its own way", () => {
  fc.assert(
    fc.property(ranges, ranges, (before, after) => {
      const set = new RangeSet();
      const model = new Set<number>();
      for (const each of before) addTo(set, model, each);
      const original = rangesOf(set);

      const copy = set.copy();
      assert.equal(rangesOf(copy), original);
      for (const each of after) addTo(copy, model, each);
      assert.equal(rangesOf(copy), rangesOfModel(model));
      assert.equal(rangesOf(set), original, "the original is as it was");
      for (const each of after) addTo(set, model, each);
      assert.equal(rangesOf(set), rangesOf(copy));
    }),
    { numRuns: 300 },
  );
});

test("a set is split by its ranges", () => {
  const set = new RangeSet();
  for (const value of [1, 2, 5, 7, 8]) set.add(value);
  for (let count = 0; count <= 4; count += 1) {
    const [first, rest] = set.split(count);
    assert.equal(rangesOf(first), rangesOf(set).slice(0, count));
    assert.equal(rangesOf(rest), rangesOf(set).slice(count));
  }
});

test("numbers added in any order become one range", () => {
  const numbers = Array.from({ length: 200 }, (_, index) => index + 1);
  fc.assert(
    fc.property(fc.shuffledSubarray(numbers, { minLength: 200 }), (shuffled) => {
      const set = new RangeSet();
      for (const value of shuffled) set.add(value);
      assert.equal(rangesOf(set), [[1, 200]]);
    }),
  );
});

test("a range that ends before it begins adds nothing", () => {
  const set = new RangeSet();
  set.addRange(5, 4);
  assert.is(set.ranges, 0);
  set.addRange(1, 2);
  set.addRange(9, 3);
  assert.equal(rangesOf(set), [[1, 2]]);
});

test("an empty set has no members", () => {
  const set = new RangeSet();
  assert.is(set.ranges, 0);
  assert.not(set.has(1));
  assert.is(set.endOf(1), 0);
  assert.is(set.countUpTo(Number.MAX_SAFE_INTEGER), 0);
});

test("sequences beyond 2^32 are told apart", () => {
  const set = new RangeSet();
  const far = 2 ** 52;
  set.addRange(1, 2 ** 32);
  set.add(far);
  set.add(far + 2);
  assert.equal(rangesOf(set), [
    [1, 2 ** 32],
    [far, far],
    [far + 2, far + 2],
  ]);
  assert.not(set.has(far + 1));
  assert.is(set.countUpTo(far + 1), 2 ** 32 + 1);
  set.add(far + 1);
  assert.is(set.endOf(far), far + 2);
});

test.run();
