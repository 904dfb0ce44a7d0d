// Values with very many members, levels or characters.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isMillraceError } from "@millrace/base";
import { decode, encode } from "@millrace/codec";

function roundTrip(value: unknown): unknown {
  return decode(Uint8Array.from(encode(value)));
}

function record(keys: number): Record<string, number> {
  return Object.fromEntries(Array.from({ length: keys }, (_, n) => [`key ${n}`, n]));
}

function assertSameRecord(copy: unknown, keys: number): void {
  const entries = Object.entries(copy as object);
  assert.is(entries.length, keys);
  entries.forEach(([key, value], n) => assert.ok(key === `key ${n}` && value === n, key));
}

for (const keys of [2 ** 16 - 1, 2 ** 16, 70_000]) {
  test(`an object with ${keys} keys comes back, alone, in a list, in a Map`, () => {
    const value = record(keys);
    assertSameRecord(roundTrip(value), keys);
    assertSameRecord((roundTrip([1, value]) as unknown[])[1], keys);
    assertSameRecord((roundTrip(new Map([["in", value]])) as Map<string, unknown>).get("in"), keys);
  });
}

test("a Map and a Set with 70,000 entries, a list with a million, come back", () => {
  const map = new Map(Object.entries(record(70_000)));
  assertSameRecord(Object.fromEntries(roundTrip(map) as Map<string, number>), 70_000);
  const set = roundTrip(new Set(Array.from({ length: 70_000 }, (_, n) => n))) as Set<number>;
  assert.is(set.size, 70_000);
  const list = roundTrip(Array.from({ length: 1_000_000 }, (_, n) => n)) as number[];
  assert.ok(list.length === 1_000_000 && list.every((number, n) => number === n));
});

test("10,000 levels of objects, lists, Maps and errors come back", () => {
  const shapes: [string, (inner: unknown) => unknown, (outer: unknown) => unknown][] = [
    ["objects", (inner) => ({ inner }), (outer) => (outer as { inner: unknown }).inner],
    ["lists", (inner) => [inner], (outer) => (outer as unknown[])[0]],
    ["Maps", (inner) => new Map([["inner", inner]]), (outer) => (outer as Map<string, unknown>).get("inner")],
    ["errors", (cause) => new Error("outer", { cause }), (outer) => (outer as Error).cause],
  ];
  for (const [name, wrap, unwrap] of shapes) {
    let value: unknown = "bottom";
    for (let level = 0; level < 10_000; level += 1) value = wrap(value);
    let copy = roundTrip(value);
    for (let level = 0; level < 10_000; level += 1) copy = unwrap(copy);
    assert.is(copy, "bottom", name);
  }
});

test("lists with holes come back, also as long as a list can be", () => {
  const long: unknown[] = [];
  long[2 ** 32 - 2] = "last";
  const copy = roundTrip(long) as unknown[];
  assert.is(copy.length, 2 ** 32 - 1);
  assert.equal(Object.keys(copy), [String(2 ** 32 - 2)]);
  const tail: unknown[] = Array.from({ length: 1000 }, (_, n) => n);
  tail.length = 100_000;
  const copied = roundTrip({ tail }) as { tail: unknown[] };
  assert.is(copied.tail.length, 100_000);
  assert.is(Object.keys(copied.tail).length, 1000);
});

test("very long keys, and keys that JavaScript treats specially, come back among many", () => {
  const keys = [
    "k".repeat(100_000),
    "ключ".repeat(20_000),
    "__proto__",
    "constructor",
    "toString",
    "hasOwnProperty",
    "",
    "0",
  ];
  const value = Object.fromEntries(keys.map((key, n) => [key, n]));
  Object.defineProperty(value, "__proto__", {
    value: { polluted: true },
    enumerable: true,
    configurable: true,
    writable: true,
  });
  for (const each of [value, { ...record(66_000), ...value, ["__proto__2"]: 1 }]) {
    const copy = roundTrip(each) as Record<string, unknown>;
    assert.equal(Object.keys(copy), Object.keys(each));
    for (const key of Object.keys(each))
      assert.equal(copy[key], (each as Record<string, unknown>)[key], key.slice(0, 30));
    assert.is(Object.getPrototypeOf(copy), Object.prototype);
  }
});

test("a text of five million characters comes back", () => {
  for (const unit of ["a", "é", "汉"]) {
    const text = unit.repeat(5_000_000);
    assert.ok(roundTrip(text) === text, unit);
    assert.ok((roundTrip([text]) as string[])[0] === text, unit);
  }
});

test("memory that was transferred is refused by its path, not taken for empty", () => {
  const bytes = new Uint8Array(8);
  const node = Buffer.from(new ArrayBuffer(8));
  const buffer = new ArrayBuffer(8);
  const float = new Float64Array(4);
  structuredClone(0, { transfer: [bytes.buffer, buffer, float.buffer, node.buffer] });
  for (const gone of [bytes, node, buffer, float, new Map([[1, float]])]) {
    assert.throws(
      () => encode({ list: [gone] }),
      (thrown: unknown) => isMillraceError(thrown, "ERR_VALUE_UNSUPPORTED") && /value\.list\[0\]/.test(thrown.message),
    );
  }
  assert.equal(roundTrip([new Uint8Array(0), Buffer.alloc(0)]), [new Uint8Array(0), Buffer.alloc(0)]);
});

test.run();
