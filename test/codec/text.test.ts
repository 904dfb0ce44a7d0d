// Long texts outside ASCII, alone and within values of every form.
import { Packr } from "msgpackr";
import fc from "../property.ts";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isMillraceError } from "@millrace/base";
import { decode, encode } from "@millrace/codec";

const LENGTHS = [0, 1, 32, 255, 256, 257, 1000, 65_536, 65_537];

const ALPHABETS: Readonly<Record<string, string>> = {
  ascii: "abcdefghijklmnopqrstuvwxyz",
  latin: "éßñøabc",
  chinese: "汉字漢字测试",
  emoji: "😀🎉",
  lone: "a\ud800b\udc00",
  "ascii, the last one latin": "",
  "latin, the last one wide": "",
};

function textOf(alphabet: string, length: number): string {
  const letters = ALPHABETS[alphabet] as string;
  if (letters !== "") return letters.repeat(Math.ceil(length / letters.length)).slice(0, length);
  const [body, end] = alphabet.startsWith("ascii") ? ["x", "é"] : ["é", "汉"];
  return (body as string).repeat(Math.max(0, length - 1)) + end;
}

function roundTrip(value: unknown): unknown {
  return decode(Uint8Array.from(encode(value)));
}

test("text of any alphabet and length comes back, alone and in every kind of value", () => {
  for (const alphabet of Object.keys(ALPHABETS)) {
    for (const length of LENGTHS) {
      const text = textOf(alphabet, length);
      const where = `${alphabet}, ${length} characters`;
      assert.ok(roundTrip(text) === text, where);
      const shared = { text };
      const values: unknown[] = [
        { text },
        { before: "x", [text.slice(0, 300)]: 1, after: [text, { text }, text] },
        [text, "short", text],
        { nested: { deep: [[{ text }]] }, date: new Date(5), bytes: Buffer.from("b"), list: new Uint8Array([1]) },
        new Map([[text, new Set([text])]]),
        { shared, again: shared, clamped: new Uint8ClampedArray([1, 2]) },
      ];
      for (const value of values) assert.equal(roundTrip(value), value, where);
      const error = roundTrip(new Error(text)) as Error;
      assert.ok(error.message === text, where);
    }
  }
});

test("mixed values with long texts come back as structuredClone gives them", () => {
  const long = fc.string({ unit: "binary", minLength: 200, maxLength: 600 });
  const latin = fc
    .array(fc.integer({ min: 0, max: 255 }), { minLength: 250, maxLength: 400 })
    .map((units) => String.fromCharCode(...units));
  const value = fc.letrec((tie) => ({
    any: fc.oneof(
      { depthSize: "small" },
      long,
      latin,
      fc.string(),
      fc.integer(),
      fc.array(tie("any")),
      fc.dictionary(fc.string(), tie("any"), { noNullPrototype: true }),
    ),
  })).any;
  fc.assert(
    fc.property(value, (any) => assert.equal(roundTrip(any), structuredClone(any))),
    { numRuns: 200 },
  );
});

test("text is read out of shared memory, from a range at an odd place", () => {
  for (const alphabet of Object.keys(ALPHABETS)) {
    const value = [textOf(alphabet, 1000), { text: textOf(alphabet, 500) }];
    for (const each of [value[0], value]) {
      const bytes = encode(each);
      const shared = new Uint8Array(new SharedArrayBuffer(bytes.length + 200), 64);
      shared.set(bytes, 3);
      assert.equal(decode(shared, 3, 3 + bytes.length), each);
    }
  }
});

test("text as earlier versions wrote it is read, in plain values and in node lists", () => {
  const packr = new Packr({ useRecords: false, moreTypes: true });
  const text = textOf("chinese", 1000);
  assert.is(decode(packr.pack(text)), text);
  assert.equal(decode(packr.pack({ text, n: 1 })), { text, n: 1 });
  const nodes = [
    [10, [1, 1]],
    [14, "key", [1, 2]],
    [18, "name", "PaymentError", "message", text, "stack", "s", "code", "E1"],
  ];
  const map = decode(Buffer.concat([Buffer.of(0xc1), packr.pack(nodes)])) as Map<string, Error & { code: string }>;
  const error = map.get("key") as Error & { code: string };
  assert.equal([error.name, error.message, error.stack, error.code], ["PaymentError", text, "s", "E1"]);
});

test("a part of a text, or more than one, is refused", () => {
  for (const value of [
    textOf("latin", 300),
    textOf("chinese", 300),
    { a: textOf("latin", 300), b: [textOf("chinese", 300)] },
  ]) {
    const bytes = Uint8Array.from(encode(value));
    const isAlone = typeof value === "string";
    for (let end = bytes.length - 1; end > 0; end -= 7) {
      let copy: unknown;
      try {
        copy = decode(bytes.subarray(0, end));
      } catch (thrown) {
        assert.ok(isMillraceError(thrown, "ERR_VALUE_CORRUPT"));
        continue;
      }
      // A text alone ends where its bytes end.
      assert.ok(isAlone && (value as string).startsWith(copy as string), `${end} bytes`);
    }
    if (!isAlone) assert.throws(() => decode(Buffer.concat([bytes, bytes])), "not an encoded value");
  }
});

test("a getter that returns another text at every look doesn't break the value", () => {
  let looks = 0;
  const value = {
    get changing(): string {
      looks += 1;
      return looks % 2 === 0 ? "é".repeat(300) : `${"汉".repeat(300)}\ud800`;
    },
    after: "é".repeat(400),
  };
  const copy = roundTrip(value) as { changing: string; after: string };
  assert.ok(copy.changing.length >= 300);
  assert.is(copy.after, value.after);
});

test.run();
