import fc from "../property.ts";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { alignUp, EMPTY, FULL, isPowerOfTwo, LINE_BYTES, LINE_WORDS, RETRY } from "@millrace/shared-memory";

test("alignUp gives the next multiple, and a multiple as it is", () => {
  fc.assert(
    fc.property(fc.nat({ max: 2 ** 30 }), fc.nat({ max: 12 }), (bytes, exponent) => {
      const alignment = 2 ** exponent;
      assert.is(alignUp(bytes, alignment), Math.ceil(bytes / alignment) * alignment);
    }),
  );
});

test("isPowerOfTwo is true for 32-bit powers of two and for no other whole number", () => {
  const powers = new Set(Array.from({ length: 31 }, (_, exponent) => 2 ** exponent));
  for (const power of powers) {
    for (const near of [power - 1, power, power + 1, -power])
      assert.is(isPowerOfTwo(near), powers.has(near), String(near));
  }
  fc.assert(
    fc.property(fc.integer(), (value) => {
      assert.is(isPowerOfTwo(value), powers.has(value));
    }),
  );
});

test("a line is a pair of cache lines", () => {
  assert.is(LINE_BYTES, 128);
  assert.is(LINE_WORDS, 32);
});

test("the outcomes can be told apart, and from every entry and offset", () => {
  assert.is(new Set([EMPTY, RETRY, FULL]).size, 3);
  assert.ok([EMPTY, RETRY, FULL].every((status) => status < 0));
});

test.run();
