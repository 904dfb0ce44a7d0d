import fc from "../property.ts";
import { test } from "uvu";
import * as assert from "uvu/assert";
// Internal to the package; only its own tests reach for it.
import { levelMarks } from "@millrace/intake/internal/publisher/level-options";
import { countMarks, freeMarks, type Level, WaterLevel } from "@millrace/intake/internal/publisher/water-level";
import { throwsWith } from "../support.ts";

function levelsOf(water: WaterLevel, used: readonly number[]): Level[] {
  return used.map((each) => water.update(each));
}

test("a level rises at its marks and falls at lower ones", () => {
  const water = new WaterLevel(countMarks(8, 4));
  assert.equal(levelsOf(water, [0, 3, 4, 7, 8, 5, 4, 3, 2, 3]), [
    "ok",
    "ok",
    "slow",
    "slow",
    "reject",
    "reject",
    "slow",
    "slow",
    "ok",
    "ok",
  ]);
});

test("the smallest marks have all levels, or two", () => {
  const smallest = new WaterLevel(countMarks(2, 1));
  assert.equal(levelsOf(smallest, [0, 1, 2, 1, 0]), ["ok", "slow", "reject", "slow", "ok"]);
  const one = new WaterLevel(countMarks(1, 0));
  assert.equal(levelsOf(one, [0, 1, 0]), ["ok", "reject", "ok"]);
});

test("free bytes are counted downwards", () => {
  const water = new WaterLevel(freeMarks(100, 150));
  assert.equal(levelsOf(water, [-300, -150, -101, -100, -149, -150, -199, -200]), [
    "ok",
    "slow",
    "slow",
    "reject",
    "reject",
    "slow",
    "slow",
    "ok",
  ]);
});

test("whatever the marks, a level that is empty is ok and one above its mark rejects", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 20 }), fc.nat(), fc.array(fc.nat({ max: 30 })), (high, lowOf, uses) => {
      const low = lowOf % high;
      const water = new WaterLevel(countMarks(high, low));
      let level: Level = "ok";
      for (const used of uses) {
        const before = level;
        level = water.update(used);
        if (used >= high) assert.is(level, "reject");
        if (used === 0) assert.is(level, "ok");
        if (used <= low) assert.is.not(level, "reject");
        if (before === "reject" && used > low) assert.is(level, "reject");
      }
    }),
  );
});

test("marks are checked, and have defaults that follow from the others", () => {
  assert.equal(levelMarks({ unfinished: { high: 9 } }).unfinished, { high: 9, low: 4, calm: 2 });
  assert.equal(levelMarks("textbook").ring, { high: 1000, low: 500, calm: 250 });
  assert.equal(levelMarks({ disk: { freeBytesMin: 100 } }).disk, { high: -100, low: -125, calm: -150 });
  throwsWith(() => levelMarks({ ring: { high: 0 } }), "ERR_INVALID_OPTION");
  throwsWith(() => levelMarks({ ring: { high: 5, low: 5 } }), "ERR_INVALID_OPTION");
  throwsWith(() => levelMarks({ disk: { freeBytesMin: 10, freeBytesResume: 10 } }), "ERR_INVALID_OPTION");
  throwsWith(() => levelMarks({ unfinished: {} as { high: number } }), "ERR_INVALID_OPTION");
  const misspelt = throwsWith(() => levelMarks({ unfinnished: { high: 5 } } as object), "ERR_INVALID_OPTION");
  assert.match(misspelt.message, /did you mean "unfinished"/);
});

test.run();
