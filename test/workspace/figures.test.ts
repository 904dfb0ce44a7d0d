/** The figures in the README are those of `bench/results/`, rounded to two or three digits. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const readme = readFileSync(join(root, "README.md"), "utf8");

interface Results {
  readonly cpu: string;
  readonly subjects: readonly { readonly name: string; readonly case: string; readonly median: number }[];
}

const resultsOf = (name: string): Results =>
  JSON.parse(readFileSync(join(root, `bench/results/${name}.node20.json`), "utf8")) as Results;

/** The beginning of a row of the README's table, and what stands in it, in order. */
const rows: readonly [row: string, file: string, figures: readonly [subject: string, name: string][]][] = [
  [
    "call of a small object, one at a time",
    "pools",
    [
      ["millrace", "small object, one at a time"],
      ["piscina", "small object, one at a time"],
      ["postMessage", "small object, one at a time"],
    ],
  ],
  [
    "the same, 4096 in flight",
    "pools",
    [
      ["millrace", "small object, 4096 in flight"],
      ["piscina", "small object, 4096 in flight"],
      ["piscina, 64 tasks per worker", "small object, 4096 in flight"],
    ],
  ],
  [
    "latency of such a call, p50 and p99",
    "latency",
    [
      ["millrace", "small object, one at a time, p50"],
      ["millrace", "small object, one at a time, p99"],
      ["piscina", "small object, one at a time, p50"],
      ["piscina", "small object, one at a time, p99"],
    ],
  ],
  [
    "tasks of 20 µs on two threads",
    "scaling",
    [
      ["millrace", "computing 20 µs, 2 machines on 2 cores"],
      ["piscina", "computing 20 µs, 2 machines on 2 cores"],
      ["piscina, 64 tasks per worker", "computing 20 µs, 2 machines on 2 cores"],
    ],
  ],
  [
    "durable record of 128 bytes, one at a time",
    "durable-ack",
    [
      ["millrace", "128-byte record, one at a time"],
      ["lmdb", "128-byte record, one at a time"],
      ["Redis, appendfsync always", "128-byte record, one at a time"],
      ["pwrite+fdatasync", "128-byte record, one at a time"],
    ],
  ],
  [
    "latency of that, p99",
    "durable-ack",
    [
      ["millrace", "128-byte record, one at a time, p99"],
      ["classic-level", "128-byte record, one at a time, p99"],
      ["lmdb", "128-byte record, one at a time, p99"],
    ],
  ],
  [
    "durable records, 256 in flight",
    "durable-ack",
    [
      ["millrace", "128-byte record, 256 in flight"],
      ["lmdb", "128-byte record, 256 in flight"],
      ["Redis, appendfsync always", "128-byte record, 256 in flight"],
      ["pwrite+fdatasync", "128-byte record, 256 in flight"],
    ],
  ],
  [
    "opening a log of 10 GiB from its checkpoint",
    "recovery",
    [["millrace", "a log of 10240 MiB, read from its checkpoint, the opening"]],
  ],
];

const digitsOf = (value: number, digits: number): string =>
  Number(value.toPrecision(digits)).toLocaleString("en-US", { maximumFractionDigits: 3 });

for (const [row, file, figures] of rows) {
  test(`"${row}" is what bench/results/${file} has`, () => {
    const line = readme.split("\n").find((each) => each.startsWith(`| ${row} |`)) ?? "";
    const { subjects, cpu } = resultsOf(file);
    const said = [...line.slice(row.length + 2).matchAll(/(?<![\w.])(\d[\d,]*(?:\.\d+)?)(?=\/s| µs| ms)/g)].map(
      ([figure]) => figure,
    );
    const measured = figures.map(([name, subject], index) => {
      const found = subjects.find((each) => each.case === subject && each.name === name);
      assert.ok(found, `${name}: ${subject}`);
      const { median } = found as { median: number };
      return [2, 3].map((digits) => digitsOf(median, digits)).find((text) => text === said[index]) ?? String(median);
    });
    assert.equal(measured, said);
    assert.match(line, `npm run bench -- ${file}`);
    assert.ok(readme.includes("Intel Xeon") && cpu.includes("Xeon"), "the machine that the README names");
  });
}

test.run();
