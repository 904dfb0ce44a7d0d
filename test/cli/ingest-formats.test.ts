// The splitters of `millrace ingest`: what they take for a record, wherever the chunks are cut.
import { parse as parseCsv } from "csv-parse/sync";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { DEPTH_MAX, isExact, JsonText, MISTAKE } from "@millrace/codec";
import { type Format, splitterOf } from "@millrace/cli/internal/ingest/formats";
import type { BigNumbers, Malformed } from "@millrace/cli/internal/ingest/splitter";
import fc from "../property.ts";

interface Options {
  readonly bigNumbers?: BigNumbers;
  readonly recordBytesMax?: number;
  readonly quoteBytesMax?: number;
  readonly delimiter?: string;
  /** Where the input is cut into chunks. */
  readonly cuts?: readonly number[];
}

interface Split {
  readonly records: readonly (readonly [number: number, value: unknown])[];
  readonly mistakes: readonly Malformed[];
  readonly error: string | undefined;
}

function split(format: Format, input: string | Buffer, options: Options = {}): Split {
  const bytes = Buffer.from(input);
  const records: [number, unknown][] = [];
  const mistakes: Malformed[] = [];
  const { cuts = [], ...given } = options;
  const splitter = splitterOf(
    format,
    {
      record: (number, record, start, end) => {
        records.push([number, JSON.parse(record.toString("utf8", start, end))]);
      },
      value: (number, value) => records.push([number, value]),
      malformed: (mistake) => mistakes.push(mistake),
    },
    { bigNumbers: "refuse", recordBytesMax: 2 ** 20, quoteBytesMax: 2 ** 20, delimiter: undefined, ...given },
  );
  let error: string | undefined;
  try {
    let from = 0;
    for (const cut of [...cuts].map((each) => each % (bytes.length + 1)).toSorted((a, b) => a - b)) {
      // A copy of its own: a chunk's bytes are nobody's once the next one is there.
      splitter.push(Buffer.from(bytes.subarray(from, Math.max(from, cut))));
      from = Math.max(from, cut);
    }
    splitter.push(Buffer.from(bytes.subarray(from)));
    splitter.end();
  } catch (thrown) {
    error = (thrown as Error).message;
  }
  return { records, mistakes, error };
}

const values = (result: Split): unknown[] => result.records.map(([, value]) => value);
const places = (result: Split): unknown[] => result.mistakes.map(({ line, offset }) => [line, offset]);
const cuts = fc.array(fc.nat(2000), { maxLength: 6 });

// ── JSON ────────────────────────────────────────────────────────────────────────────────────────

const oddities = fc.constantFrom(
  ...'{}[]",:0123456789.-+eE\\/ \n\t\u0000\u001fntrufalse\u00e9€'.split(""),
  "null",
  "true",
  '"a"',
  "1e5",
  "-0",
  "\\u00e9",
);
const nearlyJson = fc
  .tuple(fc.json(), fc.array(fc.tuple(fc.nat(), oddities, fc.nat(2)), { maxLength: 3 }))
  .map(([json, edits]) => {
    let text = json;
    for (const [at, piece, removed] of edits) {
      const place = at % (text.length + 1);
      text = text.slice(0, place) + piece + text.slice(place + removed);
    }
    return text;
  });

test("what the scan takes is what JSON.parse takes, up to numbers that it would alter", () => {
  const scanner = new JsonText();
  const check = (text: string): void => {
    const bytes = Buffer.from(text);
    const end = scanner.scan(bytes, 0, bytes.length);
    const isTaken = end >= 0 && bytes.toString("latin1", end).trim() === "";
    let isJson = true;
    try {
      JSON.parse(bytes.toString());
    } catch {
      isJson = false;
    }
    assert.is(isTaken, isJson, JSON.stringify(text));
  };
  fc.assert(fc.property(nearlyJson, check), { numRuns: 5000 });
  fc.assert(
    fc.property(
      fc.array(oddities, { maxLength: 8 }).map((parts) => parts.join("")),
      check,
    ),
    { numRuns: 5000 },
  );
});

test("a double holds a number, or it is told", () => {
  const exact = [
    "0",
    "-0",
    "1.0",
    "0.1",
    "1e21",
    "9007199254740991",
    "6.683333333333334",
    "5e-324",
    "1.50e1",
    "100E-2",
  ];
  exact.push("0.10000000000000001", "1.7976931348623157e308", "0e99999", "123456789.000000000000000");
  for (const text of exact) assert.ok(isExact(text, /^-?\d+$/.test(text)), text);
  const altered = [
    "9007199254740993",
    "9007199254740992",
    "-9007199254740993",
    "12345678901234567890",
    "1e400",
    "-1e400",
  ];
  altered.push("1e-400", "3.14159265358979323846", "9007199254740993.0", "9007199254740993e0", "0.1234567890123456789");
  altered.push("1.00000000000000000001", "123456789012345678e3");
  for (const text of altered) assert.not.ok(isExact(text, /^-?\d+$/.test(text)), text);
  fc.assert(
    fc.property(
      fc.double({ noNaN: true, noDefaultInfinity: true }),
      (value) =>
        isExact(JSON.stringify(value), Number.isInteger(value) && Math.abs(value) < 1e21) ||
        Math.abs(value) > Number.MAX_SAFE_INTEGER,
    ),
  );
  fc.assert(
    fc.property(
      fc.bigInt(),
      (value) =>
        isExact(String(value), true) === (BigInt(Number(value)) === value && Number.isSafeInteger(Number(value))),
    ),
  );
});

const tree = fc.jsonValue({ maxDepth: 3 });

test("NDJSON and arrays give the same values as JSON.parse, however they are cut", () => {
  fc.assert(
    fc.property(fc.array(tree, { maxLength: 12 }), cuts, fc.constantFrom(0, 2), (list, at, indent) => {
      const lines = list.map((value) => JSON.stringify(value)).join("\r\n");
      const wanted = list.map((value) => JSON.parse(JSON.stringify(value)) as unknown);
      // A number that a double doesn't hold as it is written is another test's matter.
      const options = { cuts: at, bigNumbers: "text" } as const;
      const fromLines = split("ndjson", lines, options);
      const fromArray = split("json", ` ${JSON.stringify(list, undefined, indent)}\n`, options);
      for (const result of [fromLines, fromArray]) {
        assert.equal([result.error, result.mistakes], [undefined, []]);
        assert.is(result.records.length, wanted.length);
      }
      assert.equal(
        fromArray.records.map(([number]) => number),
        wanted.map((_, index) => index + 1),
      );
      assert.equal(
        JSON.stringify(values(fromArray)).replaceAll('"', ""),
        JSON.stringify(values(fromLines)).replaceAll('"', ""),
      );
    }),
    { numRuns: 300 },
  );
});

test("mistakes are found at the same places, however the input is cut", () => {
  const broken = fc
    .tuple(
      fc.array(tree, { minLength: 1, maxLength: 8 }),
      fc.array(fc.tuple(fc.nat(), oddities, fc.nat(2)), { maxLength: 3 }),
    )
    .map(([list, edits]) => {
      const texts = {
        json: JSON.stringify(list, undefined, 1),
        ndjson: list.map((each) => JSON.stringify(each)).join("\n"),
        csv: "",
      };
      texts.csv = `a;b\n${list.map((each) => `"${JSON.stringify(each).replaceAll('"', '""')}";x`).join("\n")}`;
      const edit = (text: string): string => {
        for (const [at, piece, removed] of edits)
          text = text.slice(0, 4 + (at % text.length)) + piece + text.slice(4 + (at % text.length) + removed);
        return text;
      };
      return { json: edit(texts.json), ndjson: edit(texts.ndjson), csv: edit(texts.csv) };
    });
  fc.assert(
    fc.property(broken, cuts, fc.constantFrom("json", "ndjson", "csv"), (texts, at, format) => {
      const whole = split(format, texts[format]);
      const cut = split(format, texts[format], { cuts: at });
      assert.equal(cut, whole, texts[format]);
      const total = Buffer.byteLength(texts[format]);
      assert.ok(whole.mistakes.reduce((sum, { bytes }) => sum + bytes, 0) <= total + 1);
      for (const { offset, lines, bytes } of whole.mistakes) assert.ok(offset <= total && lines >= 1 && bytes >= 0);
    }),
    { numRuns: 1500 },
  );
});

test("a mistake has its line, its byte and its size, and costs nobody else", () => {
  const lines = split("ndjson", '{"a":1}\n{"a":}\n\n{"a":3}x\n[1,\n{"a":5}\n');
  assert.equal(values(lines), [{ a: 1 }, { a: 5 }]);
  assert.equal(places(lines), [
    [2, 13],
    [4, 23],
    [5, 28],
  ]);
  assert.equal(
    lines.mistakes.map(({ bytes }) => bytes),
    [7, 9, 4],
  );
  const array = split("json", '[{"a":1},\n{"a":},\n{"a":3}, {"a" 4},\n"x" , {"a":01}, [tru], {"a":8}]');
  assert.equal(array.records, [
    [1, { a: 1 }],
    [3, { a: 3 }],
    [5, "x"],
    [8, { a: 8 }],
  ]);
  assert.equal(
    array.mistakes.map(({ number, line }) => [number, line]),
    [
      [2, 2],
      [4, 3],
      [6, 4],
      [7, 4],
    ],
  );
});

test("brackets that don't fit, commas that are missing or too many", () => {
  assert.equal(values(split("json", '[{"a":{"b":1},{"a":2},{"a":3}]')), [{ a: 2 }, { a: 3 }]);
  assert.equal(values(split("json", '[{"a":1}},{"a":2},{"a":3}]')), [{ a: 1 }, { a: 2 }, { a: 3 }]);
  assert.equal(values(split("json", '[{"a":"1},\n{"a":2},\n{"a":3}]')), [{ a: 2 }, { a: 3 }]);
  for (const text of ['[{"a":1} {"a":2},{"a":3}]', '[{"a":1},,{"a":3}]', '[,{"a":1},{"a":3}]', '[{"a":1},{"a":3},]']) {
    const result = split("json", text);
    assert.is(result.mistakes.length, 1, text);
    assert.equal(values(result).at(-1), { a: 3 }, text);
  }
  for (const text of ['[{"a":1}', "[", '[{"a":1},', '{"a":[1]}', "[1] x", "[1][2]", "7", '[{"a":1'])
    assert.match(split("json", text).error ?? "", /^line 1, byte \d+: /, text);
});

test("values nested too deeply are malformed alone, in every format", () => {
  const deep = "[".repeat(6000) + "]".repeat(6000);
  const fits = "[".repeat(DEPTH_MAX) + "]".repeat(DEPTH_MAX);
  for (const result of [split("ndjson", `1\n${deep}\n${fits}\n2`), split("json", `[1,${deep},${fits},2]`)]) {
    assert.is(result.records.length, 3);
    assert.match(result.mistakes[0]?.problem ?? "", "nested deeper");
    assert.is(result.mistakes.length, 1);
  }
  const objects = '{"a":'.repeat(100_000);
  assert.is(split("ndjson", `1\n${objects}\n2`).mistakes.length, 1);
});

test("one byte that isn't UTF-8 makes its record malformed, with its place", () => {
  const latin = Buffer.from('{"a":"caf\xe9"}', "latin1");
  const line = split("ndjson", Buffer.concat([Buffer.from('{"a":"é"}\n'), latin, Buffer.from('\n{"a":"€"}')]));
  assert.equal(values(line), [{ a: "é" }, { a: "€" }]);
  assert.equal(places(line), [[2, 11 + 9]]);
  assert.match(line.mistakes[0]?.problem ?? "", "0xE9");
  const array = split("json", Buffer.concat([Buffer.from('[{"a":"é"},\n'), latin, Buffer.from(',{"a":"€"}]')]));
  assert.equal([values(array), places(array)], [[{ a: "é" }, { a: "€" }], [[2, 13 + 9]]]);
  const csv = split("csv", Buffer.from("a,b\n1,é\ncaf\xe9,2\n3,4\n", "latin1"));
  assert.is(csv.mistakes.length, 2);
  assert.equal(values(csv), [{ a: "3", b: "4" }]);
  // Overlong, a surrogate, beyond Unicode, cut off.
  for (const bytes of ["c080", "eda080", "f4908080", "e282", "80", "ff"]) {
    const text = Buffer.concat([Buffer.from('{"a":"'), Buffer.from(bytes, "hex"), Buffer.from('"}')]);
    assert.equal(places(split("ndjson", text)), [[1, 6]], bytes);
  }
});

test("numbers that JavaScript would alter are malformed, or come as text or BigInt", () => {
  const text = '{"id":9007199254740993,"e":1e400,"s":"9007199254740993"}\n{"id":1}\n';
  const refused = split("ndjson", text);
  assert.equal(values(refused), [{ id: 1 }]);
  assert.match(refused.mistakes[0]?.problem ?? "", "9007199254740993");
  assert.is(refused.mistakes[0]?.offset, 6);
  const kept = { id: "9007199254740993", e: "1e400", s: "9007199254740993" };
  assert.equal(values(split("ndjson", text, { bigNumbers: "text" })), [kept, { id: 1 }]);
  assert.is(split("ndjson", text, { bigNumbers: "bigint" }).mistakes[0]?.offset, 27);
  const whole = split("json", '[{"id":[9007199254740993,-18446744073709551616],"n":2}]', { bigNumbers: "bigint" });
  assert.equal(values(whole), [{ id: [9007199254740993n, -18446744073709551616n], n: 2 }]);
});

test("a record over the limit is malformed alone, and isn't kept in memory", () => {
  const long = `{"a":"${"x".repeat(5000)}"}`;
  const options = { recordBytesMax: 1000, cuts: [300, 900, 1500, 1700, 1900] };
  const lines = split("ndjson", `{"n":1}\n${long}\n{"n":2}`, options);
  assert.equal(values(lines), [{ n: 1 }, { n: 2 }]);
  assert.equal(
    lines.mistakes.map(({ line, bytes, offset }) => [line, bytes, offset]),
    [[2, long.length + 1, 8]],
  );
  for (const cut of [options, { recordBytesMax: 1000 }]) {
    const array = split("json", `[{"n":1},\n${long},{"n":2}]`, cut);
    assert.equal(values(array), [{ n: 1 }, { n: 2 }]);
    assert.equal(
      array.mistakes.map(({ line, bytes }) => [line, bytes]),
      [[2, long.length]],
    );
    const csv = split("csv", `a,b\n1,2\n${"x".repeat(5000)},4\n5,6\n`, cut);
    assert.equal(values(csv), [
      { a: "1", b: "2" },
      { a: "5", b: "6" },
    ]);
    assert.equal(
      csv.mistakes.map(({ line }) => line),
      [3],
    );
  }
});

// ── CSV ─────────────────────────────────────────────────────────────────────────────────────────

const field = fc.string({
  unit: fc.constantFrom('"', ",", ";", "\n", "\r\n", "a", "é", "€", "\\", " ", "\t", "\u0001"),
  maxLength: 6,
});

test("CSV gives what csv-parse gives, however it is cut", () => {
  const table = fc.tuple(
    fc.uniqueArray(
      fc.string({ minLength: 1, maxLength: 5 }).filter((name) => name.trim() !== "" && !name.includes("\u0000")),
      { minLength: 2, maxLength: 4 },
    ),
    fc.array(fc.array(field, { minLength: 4, maxLength: 4 }), { maxLength: 8 }),
    fc.constantFrom("\n", "\r\n"),
    fc.constantFrom(",", ";", "\t", "|"),
    fc.boolean(),
  );
  fc.assert(
    fc.property(table, cuts, ([names, rows, lineEnd, delimiter, isEnded], at) => {
      const quoted = (text: string): string => `"${text.replaceAll('"', '""')}"`;
      const plain = (text: string): string => (/^[aé€\\ ]+$/.test(text) ? text : quoted(text));
      const lines = [names.map(quoted), ...rows.map((row) => row.slice(0, names.length).map(plain))];
      const text = lines.map((line) => line.join(delimiter)).join(lineEnd) + (isEnded ? lineEnd : "");
      const wanted = parseCsv(text, { columns: true, delimiter, record_delimiter: lineEnd }) as object[];
      const result = split("csv", text, { delimiter, cuts: at });
      assert.equal([result.error, result.mistakes], [undefined, []], text);
      assert.equal(
        values(result).map((row) => Object.entries(row as object)),
        wanted.map((row) => Object.entries(row)),
        text,
      );
    }),
    { numRuns: 1000 },
  );
});

test("the header says what divides it; its names are there, and different", () => {
  for (const delimiter of [",", ";", "\t", "|"]) {
    const result = split("csv", `a${delimiter}"b,;|c"${delimiter}c\n1${delimiter}2${delimiter}3`);
    assert.equal(values(result), [{ a: "1", "b,;|c": "2", c: "3" }]);
  }
  assert.equal(values(split("csv", "a\n1;2\n")), [{ a: "1;2" }]);
  const wrong = [
    "id,id,name\n1,2,x",
    "a,b,,\n1,2,3,4",
    ",a\n1,2",
    'a,""\n1,2',
    "a;b,c\n1,2",
    'a,"b\n1,2',
    'a,b"c\n1,2',
    "a\rb\r1,2\r",
    "a, ,c\n",
  ];
  for (const text of wrong) assert.match(split("csv", text).error ?? "none", /^line 1, byte 0: /, text);
  assert.equal(split("csv", "id,id,name\n1,2,x").records, []);
  assert.equal(values(split("csv", "a;b,c\n1;2,3", { delimiter: ";" })), [{ a: "1", "b,c": "2,3" }]);
  assert.equal(
    values(split("csv", "__proto__,constructor\n1,2\n"))[0],
    JSON.parse('{"__proto__":"1","constructor":"2"}'),
  );
});

test("each row has its own line end, and its width", () => {
  const result = split("csv", "a,b\n1,2\r\n3,4\n\r\n\n5,6\r\n7,8");
  assert.equal(values(result), [
    { a: "1", b: "2" },
    { a: "3", b: "4" },
    { a: "5", b: "6" },
    { a: "7", b: "8" },
  ]);
  assert.equal(
    result.records.map(([number]) => number),
    [2, 3, 6, 7],
  );
  const wrong = split("csv", 'a,b\n1\n1,2,3\n1,2,\nx\ry,2\nx"y,2\n"x"y,2\n1,\0\n9,9\n');
  assert.equal(values(wrong), [{ a: "9", b: "9" }]);
  assert.equal(
    wrong.mistakes.map(({ line }) => line),
    [2, 3, 4, 5, 6, 7, 8],
  );
});

test("a stray quote costs its line, within a stated bound", () => {
  const rows = Array.from({ length: 20_000 }, (_, n) => `${n},row ${n}`);
  const text = ["a,b", "1,x", '2,"oops', ...rows].join("\n");
  for (const options of [
    { quoteBytesMax: 4096 },
    { quoteBytesMax: 2 ** 20 },
    { quoteBytesMax: 4096, cuts: [5, 500, 1500] },
  ]) {
    const result = split("csv", text, options);
    assert.is(result.records.length, 20_001);
    assert.equal(
      result.mistakes.map(({ line, bytes, lines }) => [line, bytes, lines]),
      [[3, 8, 1]],
    );
  }
  // Another quote ends what the first one has begun, but not as a field ends.
  const twice = split("csv", 'a,b\n2,"oops\n3,x\n4,"y"\n5,z\n');
  assert.equal(values(twice), [
    { a: "3", b: "x" },
    { a: "4", b: "y" },
    { a: "5", b: "z" },
  ]);
});

test("the scan says at which byte it stopped", () => {
  const scanner = new JsonText();
  const bytes = Buffer.from('{"a":"b\\x"}');
  assert.is(scanner.scan(bytes, 0, bytes.length), MISTAKE);
  assert.is(scanner.at, 8);
});

test.run();
