import fc from "../property.ts";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { clearBit, countBits, hasBit, isMaskEmpty, lowestBit, maskWords, setBit } from "@millrace/shared-memory";

const MEMBERS = 100;
const BASE = 3;
const COUNT = maskWords(MEMBERS);

/** A mask between words that belong to others. */
function wordsWithGuards(): Int32Array {
  const words = new Int32Array(new SharedArrayBuffer((BASE + COUNT + 2) * 4)).fill(-1);
  return words.fill(0, BASE, BASE + COUNT);
}

/** The members of a word by looking at every bit. */
function membersOf(word: number): number[] {
  return Array.from({ length: 32 }, (_, bit) => bit).filter((bit) => (word & (1 << bit)) !== 0);
}

test("any sequence of settings and clearings behaves like a Set of numbers", () => {
  const step = fc.tuple(fc.boolean(), fc.nat({ max: MEMBERS - 1 }));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
      const words = wordsWithGuards();
      const model = new Set<number>();
      for (const [isSetting, member] of steps) {
        if (isSetting) {
          setBit(words, BASE, member);
          model.add(member);
        } else {
          assert.is(clearBit(words, BASE, member), model.delete(member));
        }
        assert.is(hasBit(words, BASE, member), isSetting);
        assert.is(countBits(words, BASE, COUNT), model.size);
        assert.is(isMaskEmpty(words, BASE, COUNT), model.size === 0);
      }
      for (let member = 0; member < MEMBERS; member += 1) assert.is(hasBit(words, BASE, member), model.has(member));
      const others = [...words.subarray(0, BASE), ...words.subarray(BASE + COUNT)];
      assert.ok(others.length === 5 && others.every((word) => word === -1), "the words beside it are as they were");
    }),
    { numRuns: 500 },
  );
});

test("a set has as many words as its members need", () => {
  assert.equal([0, 1, 31, 32, 33, 64, 65, 256].map(maskWords), [0, 1, 1, 1, 2, 2, 3, 8]);
});

test("the highest member of a word is one like any other", () => {
  const words = wordsWithGuards();
  for (const member of [31, 63, 95]) {
    setBit(words, BASE, member);
    assert.ok(hasBit(words, BASE, member));
    assert.is(countBits(words, BASE, COUNT), 1);
    assert.not(isMaskEmpty(words, BASE, COUNT));
    assert.ok(clearBit(words, BASE, member));
    assert.not(clearBit(words, BASE, member), "it was in the set only once");
  }
  assert.ok(isMaskEmpty(words, BASE, COUNT));
});

test("only the words that are asked for count", () => {
  const words = wordsWithGuards();
  setBit(words, BASE, 40);
  assert.ok(isMaskEmpty(words, BASE, 1));
  assert.is(countBits(words, BASE, 1), 0);
  assert.not(isMaskEmpty(words, BASE, 2));
  assert.is(countBits(words, BASE, 2), 1);
});

test("lowestBit finds the lowest member of a word, and none in an empty one", () => {
  assert.is(lowestBit(0), -1);
  fc.assert(
    fc.property(fc.integer(), (word) => {
      assert.is(lowestBit(word), membersOf(word)[0] ?? -1);
    }),
  );
  for (let bit = 0; bit < 32; bit += 1) {
    assert.is(lowestBit(1 << bit), bit);
    assert.is(lowestBit(-1 << bit), bit);
  }
});

test.run();
