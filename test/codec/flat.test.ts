import { inspect } from "node:util";
import { Packr } from "msgpackr";
import fc from "../property.ts";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isMillraceError } from "@millrace/base";
import { decode, encode } from "@millrace/codec";
import { decodeFlat, encodeFlat, FLAT_BYTES_MAX, NOT_FLAT } from "@millrace/codec/internal/flat";

const msgpackr = new Packr({ useRecords: false });

function flatBytes(value: object): Buffer | undefined {
  const bytes = Buffer.alloc(FLAT_BYTES_MAX);
  const length = encodeFlat(value, bytes);
  return length === NOT_FLAT ? undefined : bytes.subarray(0, length);
}

function roundTrip(value: unknown): unknown {
  return decode(Uint8Array.from(encode(value)));
}

const text = fc.string({ unit: "grapheme-ascii", maxLength: 31 });
const key = text.filter((each) => !(each in Object.prototype));
const member = fc.oneof(
  fc.integer(),
  fc.double().filter((number) => !Object.is(number, -0)),
  text,
  fc.boolean(),
  fc.constant(null),
);
const flatObject = fc.dictionary(key, member, { maxKeys: 15, noNullPrototype: true });

test("a flat object comes back equal and in order, and msgpackr reads the same", () => {
  fc.assert(
    fc.property(flatObject, (value) => {
      const bytes = flatBytes(value);
      assert.ok(bytes !== undefined);
      for (const copy of [
        decodeFlat(bytes, bytes.length),
        msgpackr.unpack(bytes) as object,
        roundTrip(value) as object,
      ]) {
        assert.equal(copy, value);
        assert.equal(Object.keys(copy as object), Object.keys(value));
      }
    }),
    { numRuns: 3000 },
  );
});

test("flat objects as msgpackr alone writes them are read", () => {
  fc.assert(
    fc.property(flatObject, (value) => {
      assert.equal(decode(msgpackr.pack(value)), value);
    }),
  );
});

test("the limits: so many members, so long a text, so large an integer", () => {
  const members = (count: number): object => Object.fromEntries(Array.from({ length: count }, (_, n) => [`k${n}`, n]));
  const full = Object.fromEntries(
    Array.from({ length: 15 }, (_, n) => ["k".repeat(30) + n.toString(16), "v".repeat(31)]),
  );
  const cases: [object, boolean][] = [
    [{}, true],
    [members(15), true],
    [members(16), false],
    [full, true],
    [{ a: "x".repeat(31) }, true],
    [{ a: "x".repeat(32) }, false],
    [{ ["x".repeat(31)]: 1 }, true],
    [{ ["x".repeat(32)]: 1 }, false],
    [{ a: "\u007f" }, true],
    [{ a: "\u0080" }, false],
    [{ "\u0080": 1 }, false],
    [{ a: -0 }, false],
    [{ a: undefined }, false],
    [{ a: 1n }, false],
    [{ a: [] }, false],
    [{ a: {} }, false],
    [[], false],
    [new Date(0), false],
    [Buffer.from("x"), false],
    [Object.create(null) as object, false],
    [JSON.parse('{"__proto__":1}') as object, false],
    [{ constructor: 1 }, false],
  ];
  for (const [value, isFlat] of cases) {
    assert.is(flatBytes(value) !== undefined, isFlat, inspect(value));
    assert.equal(roundTrip(value), Buffer.isBuffer(value) ? value : structuredClone(value));
  }
  assert.is(flatBytes(full)?.length, FLAT_BYTES_MAX);
  for (const number of [
    0,
    127,
    128,
    -1,
    2 ** 31 - 1,
    2 ** 31,
    -(2 ** 31),
    -(2 ** 31) - 1,
    0.5,
    NaN,
    Infinity,
    5e-324,
  ]) {
    const bytes = flatBytes({ number }) as Buffer;
    const copy = decodeFlat(bytes, bytes.length) as { number: number };
    assert.ok(Object.is(copy.number, number), String(number));
  }
});

test("a part of an object, or more than one, is left to msgpackr, which refuses it", () => {
  const bytes = flatBytes({ number: 1.5, text: "some text", integer: 1000, flag: true, nothing: null }) as Buffer;
  const padded = Buffer.concat([bytes, bytes]);
  for (let end = 1; end <= padded.length; end += 1) {
    const copy = decodeFlat(padded, end);
    assert.is(copy !== undefined, end === bytes.length, `${end} bytes`);
    if (end === bytes.length) continue;
    assert.throws(
      () => decode(padded.subarray(0, end)),
      (thrown: unknown) => isMillraceError(thrown, "ERR_VALUE_CORRUPT"),
      `${end} bytes`,
    );
  }
});

test("keys with the same hash are told apart", () => {
  // h(key) = … × 31 + last: "Aa" and "BB" collide as in Java's String.hashCode.
  for (let turn = 0; turn < 3; turn += 1) {
    assert.equal(roundTrip({ Aa: 1, BB: 2 }), { Aa: 1, BB: 2 });
    assert.equal(roundTrip({ BB: 1 }), { BB: 1 });
    assert.equal(roundTrip({ Aa: 1 }), { Aa: 1 });
  }
});

test("a getter that encodes something itself, or throws, doesn't spoil the bytes", () => {
  const nested = {
    before: 1,
    get inner(): number {
      return encode({ other: "x".repeat(20) }).length;
    },
    after: 2,
  };
  assert.equal(roundTrip(nested), { before: 1, inner: nested.inner, after: 2 });
  const failing = {
    get inner(): number {
      throw new Error("no value");
    },
  };
  assert.throws(() => encode(failing), "no value");
  assert.equal(roundTrip({ next: 1 }), { next: 1 });
});

test("an array whose prototype is that of objects stays an array", () => {
  for (const array of [[1, 2], [], [undefined, 1], JSON.parse("[1,[2]]") as unknown[]]) {
    const value: unknown = Object.setPrototypeOf(array, Object.prototype);
    assert.ok(Array.isArray(roundTrip(value)), inspect(value));
    assert.equal(roundTrip(value), structuredClone(value));
  }
});

test("keys that every object has are data; unassignable ones are refused with a code", () => {
  assert.equal(Object.entries(roundTrip({ toString: 1, valueOf: "x" }) as object), [
    ["toString", 1],
    ["valueOf", "x"],
  ]);
  // oxlint-disable-next-line no-extend-native -- what other people's code may do
  Object.defineProperty(Object.prototype, "refusing", {
    set: () => {
      throw new RangeError("no");
    },
    configurable: true,
  });
  try {
    const bytes = Uint8Array.from(encode({ refusing: 1 }));
    assert.throws(
      () => decode(bytes),
      (thrown: unknown) => isMillraceError(thrown, "ERR_VALUE_CORRUPT"),
    );
  } finally {
    delete (Object.prototype as { refusing?: unknown }).refusing;
  }
});

test("members that an object only inherits are left out", () => {
  // oxlint-disable-next-line no-extend-native -- what other people's code may do
  Object.defineProperty(Object.prototype, "inherited", { value: 1, enumerable: true, configurable: true });
  try {
    assert.equal(Object.keys(roundTrip({ own: 1 }) as object), ["own"]);
  } finally {
    delete (Object.prototype as { inherited?: number }).inherited;
  }
});

test.run();
