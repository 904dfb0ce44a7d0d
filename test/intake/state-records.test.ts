import fc from "../property.ts";
import { test } from "uvu";
import * as assert from "uvu/assert";
// Internal to the package; only its own tests reach for them.
import { RangeSet } from "@millrace/intake/internal/range-set";
import {
  deadError,
  deadSequence,
  decodeAck,
  encodeAck,
  encodeDead,
  rangesIn,
} from "@millrace/intake/internal/state-records";

/** As many as a record of the default limit takes, and more than any test writes otherwise. */
const RANGES_MAX = rangesIn(2 ** 20);
const NO_LIMIT = 2 ** 20;

function rangesOf(set: RangeSet): (readonly [number, number])[] {
  return Array.from({ length: set.ranges }, (_, index) => set.range(index));
}

function setOf(ranges: readonly (readonly [number, number])[]): RangeSet {
  const set = new RangeSet();
  for (const [first, last] of ranges) set.addRange(first, last);
  return set;
}

/** Every payload that it takes to write all ranges down, as delivery writes them. */
function payloadsOf(set: RangeSet): Buffer[] {
  const payloads: Buffer[] = [];
  for (let from = 0; from < set.ranges; from += RANGES_MAX) payloads.push(encodeAck(set, from, RANGES_MAX));
  return payloads;
}

const sequence = fc.oneof(fc.integer({ min: 1, max: 1000 }), fc.integer({ min: 1, max: 2 ** 53 - 2 ** 33 }));
const range = fc
  .tuple(sequence, fc.oneof(fc.nat({ max: 20 }), fc.nat({ max: 2 ** 32 - 2 })))
  .map(([first, more]) => [first, first + more] as const);

test("what an ACK says to be finished is read back, and nothing else", () => {
  fc.assert(
    fc.property(
      fc.array(range, { maxLength: 1 }),
      fc.array(fc.integer({ min: 1, max: 300 }), { maxLength: 100 }),
      (far, near) => {
        const finished = setOf([...far, ...near.map((each) => [each, each] as const)]);
        // A merged range of more than 2^32 - 1 is beyond the format.
        fc.pre(rangesOf(finished).every(([first, last]) => last - first + 1 < 2 ** 32));
        const read = new RangeSet();
        for (const payload of payloadsOf(finished)) decodeAck(payload, read);
        assert.equal(rangesOf(read), rangesOf(finished));
      },
    ),
    { numRuns: 1000 },
  );
});

test("a range is twelve bytes: the sequence as u64 and the count as u32, little-endian", () => {
  const payload = encodeAck(
    setOf([
      [2 ** 40 + 3, 2 ** 40 + 7],
      [2 ** 41, 2 ** 41],
    ]),
    0,
    RANGES_MAX,
  );
  const expected = Buffer.alloc(24);
  expected.writeBigUInt64LE(2n ** 40n + 3n, 0);
  expected.writeUInt32LE(5, 8);
  expected.writeBigUInt64LE(2n ** 41n, 12);
  expected.writeUInt32LE(1, 20);
  assert.is(payload.toString("hex"), expected.toString("hex"));
});

test("more ranges than one record holds are written in several, each range in one of them", () => {
  for (const count of [RANGES_MAX - 1, RANGES_MAX, RANGES_MAX + 1, 2 * RANGES_MAX + 5]) {
    const finished = setOf(Array.from({ length: count }, (_, index) => [3 * index + 1, 3 * index + 2] as const));
    const payloads = payloadsOf(finished);
    assert.is(payloads.length, Math.ceil(count / RANGES_MAX));
    assert.ok(payloads.every((payload) => payload.length <= RANGES_MAX * 12));
    const read = new RangeSet();
    for (const payload of payloads) decodeAck(payload, read);
    assert.equal(rangesOf(read), rangesOf(finished));
  }
});

test("an ACK adds to what is finished already, in any order and twice", () => {
  const first = encodeAck(
    setOf([
      [1, 4],
      [9, 9],
    ]),
    0,
    RANGES_MAX,
  );
  const second = encodeAck(
    setOf([
      [5, 6],
      [8, 8],
    ]),
    0,
    RANGES_MAX,
  );
  for (const payloads of [
    [first, second],
    [second, first],
    [first, second, first, second],
  ]) {
    const finished = setOf([[20, 21]]);
    for (const payload of payloads) decodeAck(payload, finished);
    assert.equal(rangesOf(finished), [
      [1, 6],
      [8, 9],
      [20, 21],
    ]);
  }
});

test("nothing finished is an empty payload, and reads as nothing", () => {
  const payload = encodeAck(new RangeSet(), 0, RANGES_MAX);
  assert.is(payload.length, 0);
  const finished = new RangeSet();
  decodeAck(payload, finished);
  assert.is(finished.ranges, 0);
});

test("a DEAD record tells the sequence and the last error", () => {
  fc.assert(
    fc.property(sequence, fc.string(), (dead, message) => {
      const cause = new TypeError("the reason");
      const payload = encodeDead(dead, Object.assign(new RangeError(message, { cause }), { code: "E_TEST" }), NO_LIMIT);
      assert.is(deadSequence(payload), dead);
      const error = deadError(payload) as RangeError & { code: string };
      assert.ok(error instanceof RangeError);
      assert.is(error.message, message);
      assert.is(error.code, "E_TEST");
      assert.is((error.cause as Error).message, "the reason");
    }),
  );
});

test("a DEAD record keeps whatever was thrown, also what is no error", () => {
  for (const thrown of [undefined, null, "text", 7, { code: 1 }]) {
    assert.equal(deadError(encodeDead(1, thrown, NO_LIMIT)), thrown);
  }
});

test("an ACK payload keeps to the record's limit", () => {
  const finished = setOf(Array.from({ length: 500 }, (_, index) => [3 * index + 1, 3 * index + 2] as const));
  for (const bytesMax of [12, 1000, 5999, 6000]) {
    const rangesMax = rangesIn(bytesMax);
    const payload = encodeAck(finished, 0, rangesMax);
    assert.ok(payload.length <= bytesMax && payload.length > bytesMax - 12, `${payload.length} of ${bytesMax}`);
  }
});

test("of an error that is too large for a record what fits is kept", () => {
  const large = Object.assign(new RangeError(`too far ${"x".repeat(5_000_000)}`), {
    code: "E_FAR",
    body: Buffer.alloc(9000),
  });
  for (const thrown of [
    large,
    `too far ${"y".repeat(5_000_000)}`,
    { message: "too far", blob: "z".repeat(5_000_000) },
  ]) {
    const payload = encodeDead(7, thrown, 1000);
    assert.ok(payload.length <= 1000, String(payload.length));
    assert.is(deadSequence(payload), 7);
    assert.match((deadError(payload) as Error).message, /^too far/);
  }
  const kept = deadError(encodeDead(7, large, 1000)) as RangeError & { code: string };
  assert.match(kept.message, /^too far x{100}/);
  assert.is(kept.name, "RangeError");
  assert.is(kept.code, "E_FAR");
});

test.run();
