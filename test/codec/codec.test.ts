import { isDeepStrictEqual } from "node:util";
import { serialize } from "node:v8";
import fc from "../property.ts";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isMillraceError, MillraceError } from "@millrace/base";
import { decode, encode } from "@millrace/codec";

function roundTrip(value: unknown): unknown {
  return decode(Uint8Array.from(encode(value)));
}

function code(run: () => unknown): string | undefined {
  try {
    run();
  } catch (thrown) {
    return isMillraceError(thrown) ? thrown.code : String(thrown);
  }
  return undefined;
}

/**
 * Equal in every respect that structuredClone knows. The second half is for invalid dates, which
 * Node 20 calls unequal; V8 writes arrays that might have holes in another way than others, until
 * both are clones.
 */
function isSame(left: unknown, right: unknown): boolean {
  return isDeepStrictEqual(left, right) || serialize(structuredClone(left)).equals(serialize(structuredClone(right)));
}

const anything = fc.anything({
  withBigInt: true,
  withBoxedValues: true,
  withDate: true,
  withMap: true,
  withSet: true,
  withSparseArray: true,
  withTypedArray: true,
  withUnicodeString: true,
  withNullPrototype: false,
  withObjectString: true,
});

test("any structured-clone value comes back as structuredClone gives it", () => {
  fc.assert(
    fc.property(anything, (value) => {
      assert.ok(isSame(roundTrip(value), structuredClone(value)));
    }),
    { numRuns: 3000 },
  );
});

test("invalid dates come back, wherever they are", () => {
  const invalid = new Date(Number.NaN);
  for (const value of [invalid, [invalid], { date: [invalid, 1] }, new Map([[invalid, [invalid]]])]) {
    assert.ok(isSame(roundTrip(value), structuredClone(value)));
  }
  assert.not(isSame([invalid], [new Date(0)]));
  assert.not(isSame([invalid], [undefined]));
});

test("plain JSON values come back equal", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      assert.ok(isSame(roundTrip(value), structuredClone(value)));
    }),
    { numRuns: 2000 },
  );
});

test("strings of any code units survive, also lone surrogates", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), fc.integer({ min: 0xd800, max: 0xdfff }), (text, unit) => {
      const illFormed = text + String.fromCharCode(unit);
      assert.is(roundTrip(illFormed), illFormed);
      assert.equal(roundTrip({ [illFormed]: [illFormed] }), { [illFormed]: [illFormed] });
    }),
  );
});

test("numbers keep their sign and their bits", () => {
  for (const number of [0, -0, NaN, Infinity, -Infinity, 2 ** 31, -(2 ** 31), 2 ** 32, 2 ** 53, 0.1, 5e-324, 1.7e308]) {
    assert.ok(Object.is(roundTrip(number), number), String(number));
    assert.ok(Object.is((roundTrip([number]) as number[])[0], number), String(number));
  }
});

test("bigints of any size survive", () => {
  for (const bits of [1n, 31n, 63n, 64n, 65n, 200n]) {
    for (const value of [2n ** bits, -(2n ** bits), 2n ** bits - 1n]) assert.is(roundTrip(value), value);
  }
});

test("cycles and shared references keep their identity", () => {
  const shared = { name: "shared" };
  const value: Record<string, unknown> = { left: shared, right: [shared] };
  value.self = value;
  const copy = roundTrip(value) as typeof value;
  assert.is(copy.self, copy);
  assert.is((copy.right as unknown[])[0], copy.left);
  assert.equal(copy.left, shared);
});

test("a value of 100,000 levels survives", () => {
  let deep: unknown[] = [];
  for (let level = 0; level < 100_000; level += 1) deep = [deep];
  let copy = roundTrip(deep) as unknown[];
  let levels = 0;
  for (; copy.length === 1; levels += 1) copy = copy[0] as unknown[];
  assert.is(levels, 100_000);
});

test("errors keep name, message, stack, code and the chain of causes", () => {
  const cause = Object.assign(new RangeError("too far"), { code: "E_FAR" });
  const error = new TypeError("not this", { cause });
  const copy = roundTrip({ error }) as { error: TypeError };
  assert.ok(copy.error instanceof TypeError);
  assert.is(copy.error.message, "not this");
  assert.is(copy.error.stack, error.stack);
  const copiedCause = copy.error.cause as Error & { code: string };
  assert.ok(copiedCause instanceof RangeError);
  assert.is(copiedCause.code, "E_FAR");
  assert.is(copiedCause.stack, cause.stack);
});

test("an error of a user's class keeps its name, one of ours its code and cure", () => {
  class PaymentError extends Error {
    override name = "PaymentError";
    amount = 5;
  }
  const payment = roundTrip(new PaymentError("declined")) as PaymentError;
  assert.is(payment.name, "PaymentError");
  assert.is(payment.amount, 5);
  assert.match(String(payment), "PaymentError: declined");

  const ours = roundTrip(new MillraceError("ERR_X", "text", "cure", { details: { at: 3 } })) as MillraceError;
  assert.ok(isMillraceError(ours, "ERR_X"));
  assert.ok(ours instanceof MillraceError);
  assert.is(ours.cure, "cure");
  assert.equal(ours.details, { at: 3 });
});

test("an AggregateError keeps its errors", () => {
  const copy = roundTrip(new AggregateError([new Error("a"), 2], "both")) as AggregateError;
  assert.ok(copy instanceof AggregateError);
  assert.is(copy.message, "both");
  assert.is((copy.errors[0] as Error).message, "a");
  assert.is(copy.errors[1], 2);
});

test("a Buffer stays a Buffer and owns its bytes", () => {
  const bytes = encode({ data: Buffer.from("hello") });
  const copy = decode(bytes) as { data: Buffer };
  assert.ok(Buffer.isBuffer(copy.data));
  bytes.fill(0);
  encode({ data: Buffer.from("other") });
  decode(encode({ data: Buffer.from("third") }));
  assert.is(copy.data.toString(), "hello");
});

test("keys that JavaScript treats specially are only data", () => {
  const value = JSON.parse('{"__proto__":{"polluted":true},"constructor":"c","toJSON":1,"hasOwnProperty":2}') as object;
  const copy = roundTrip(value) as Record<string, unknown>;
  assert.equal(Object.entries(copy), Object.entries(value));
  assert.is(Object.getPrototypeOf(copy), Object.prototype);
  assert.is(({} as Record<string, unknown>).polluted, undefined);
});

test("a toJSON method is refused like any function, and an inherited one is not called", () => {
  class Money {
    amount = 3;
    toJSON(): string {
      return "three";
    }
  }
  assert.equal(roundTrip(new Money()), { amount: 3 });
});

test("what can't be bytes is refused with the path to it", () => {
  const cases: [unknown, RegExp][] = [
    [{ a: [{ f: () => 1 }] }, /value\.a\[0\]\.f is a function/],
    [Symbol("x"), /value is a symbol/],
    [{ p: Promise.resolve() }, /value\.p is a Promise/],
    [new WeakMap(), /WeakMap/],
    [new SharedArrayBuffer(8), /SharedArrayBuffer/],
    [new Uint8Array(new SharedArrayBuffer(8)), /shared memory/],
    [new MessageChannel().port1, /MessagePort/],
  ];
  for (const [value, expected] of cases) {
    assert.throws(
      () => encode(value),
      (error: unknown) => isMillraceError(error, "ERR_VALUE_UNSUPPORTED") && expected.test(error.message),
      String(expected),
    );
  }
});

test("bytes that are no value are refused", () => {
  assert.is(
    code(() => decode(Uint8Array.of(0xc1, 0xff))),
    "ERR_VALUE_CORRUPT",
  );
  assert.is(
    code(() => decode(Uint8Array.of(0x92, 1))),
    "ERR_VALUE_CORRUPT",
  );
  assert.is(
    code(() => decode(new Uint8Array(0))),
    "ERR_VALUE_CORRUPT",
  );
  assert.is(
    code(() => decode(Uint8Array.of(1, 2))),
    "ERR_VALUE_CORRUPT",
  );
});

test("arbitrary bytes either decode or are refused, and never break the next value", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      const outcome = code(() => decode(bytes));
      assert.ok(outcome === undefined || outcome === "ERR_VALUE_CORRUPT", outcome);
      assert.equal(roundTrip({ ok: [1, "two"] }), { ok: [1, "two"] });
    }),
    { numRuns: 2000 },
  );
});

test("decodes out of shared memory, from a range", () => {
  const shared = new Uint8Array(new SharedArrayBuffer(1000));
  const bytes = encode({ id: 7, text: "x".repeat(300) });
  shared.set(bytes, 100);
  assert.equal(decode(shared, 100, 100 + bytes.length), { id: 7, text: "x".repeat(300) });
});

test.run();
