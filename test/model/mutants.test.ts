// Mutants made by rule, the table of them, and which lines a run has executed.
import { runInThisContext } from "node:vm";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { coverageOf, atomicsLines } from "./executed.ts";
import { type MechanicalMutant, mechanicalMutants } from "./mechanical.ts";
import { currentMutants, readTable, sample } from "./mutant-table.ts";

/** The mutants of a function with this body: rule, what goes, what comes. */
function made(body: string): [rule: string, from: string, to: string][] {
  return mechanicalMutants("box/rooms/thing", `export function f(a, v) { ${body} }`).map(({ rule, from, to }) => [
    rule,
    from,
    to,
  ]);
}

/** The text of an expression over `a` and `v` as a function. */
function evaluated(text: string): (a: Int32Array, v: number) => number {
  return runInThisContext(`(a, v) => ${text}`) as never;
}

test("a load and a store become plain", () => {
  assert.equal(made("Atomics.load(a, 0);"), [["plain", "Atomics.load(a, 0)", "(a)[0]"]]);
  assert.equal(made("Atomics.store(a, v + 1, 2);"), [["plain", "Atomics.store(a, v + 1, 2)", "((a)[v + 1] = 2)"]]);
});

test("an operation that reads and writes becomes two, and a notification none", () => {
  const [[rule, from, to] = ["", "", ""], ...others] = made("Atomics.add(a, 0, v);");
  assert.equal([rule, from, others], ["torn", "Atomics.add(a, 0, v)", []]);
  const words = Int32Array.of(5, 0);
  assert.is(evaluated(to)(words, 3), 5);
  assert.is(words[0], 8);
  assert.equal(made("Atomics.notify(a, 0);"), [["silent", "Atomics.notify(a, 0)", "0"]]);
});

test("a torn exchange changes nothing, or gives the old value", () => {
  const [[, , to] = ["", "", ""]] = made("Atomics.compareExchange(a, 0, v, 9);");
  const words = Int32Array.of(-1);
  const run = evaluated(to);
  assert.is(run(words, 7), -1);
  assert.is(words[0], -1);
  // As the operation does it, which takes the value modulo 2^32.
  assert.is(run(words, 2 ** 32 - 1), -1);
  assert.is(words[0], 9);
});

test("a condition that reads shared memory is ignored, others are not", () => {
  const rules = (body: string): string[] => made(body).map(([rule, from, to]) => `${rule} ${from} → ${to}`);
  const direct = rules("if (Atomics.load(a, 0) > v) return;");
  assert.ok(direct.includes("always Atomics.load(a, 0) > v → (Atomics.load(a, 0) > v, true)"), direct.join("\n"));
  assert.ok(direct.includes("never Atomics.load(a, 0) > v → (Atomics.load(a, 0) > v, false)"));
  assert.ok(rules("const x = Atomics.load(a, 0); if (x) return;").includes("never x → (x, false)"));
  // A loop that always goes on says nothing.
  assert.not.ok(rules("while (Atomics.load(a, 0));").some((each) => each.startsWith("always")));
  assert.not.ok(rules("Atomics.load(a, 0); if (v) return;").some((each) => /^(always|never)/.test(each)));
});

test("comparisons move by one, with their parentheses, where atomics are used", () => {
  assert.equal(
    made("return ((v - 1) | 0) >= (Atomics.load(a, 0));").filter(([rule]) => rule === "flipped"),
    [["flipped", "((v - 1) | 0) >= (Atomics.load(a, 0))", "((v - 1) | 0) > (Atomics.load(a, 0))"]],
  );
  assert.equal(made("return v === 1;"), []);
});

test("two stores that follow each other change places when one of them is atomic", () => {
  const swapped = (body: string): string[] => made(body).flatMap(([rule, , to]) => (rule === "swapped" ? [to] : []));
  assert.equal(swapped("a[1] = v; Atomics.store(a, 0, 1);"), ["Atomics.store(a, 0, 1); a[1] = v;"]);
  assert.equal(swapped("a[1] = v; a[2] = v;"), []);
  assert.equal(swapped("const x = v; Atomics.store(a, 0, x);"), []);
});

test("names hold without lines and folders, and tell mutants of the same text apart", () => {
  const names = ({ name }: MechanicalMutant): string => name;
  const text = "class A { #m(a) { Atomics.load(a, 0); Atomics.load(a, 0); } }";
  const found = mechanicalMutants("box/rooms/thing", text).map(names);
  assert.equal(found, ["box/thing #m: plain Atomics.load(a, 0)", "box/thing #m: plain Atomics.load(a, 0) (2)"]);
  assert.equal(mechanicalMutants("box/cellar/thing", `// moved\n${text}`).map(names), found);
});

test("a sample is chosen by its seed and holds nothing twice", () => {
  const names = Array.from({ length: 50 }, (_, index) => `m${index}`);
  const chosen = sample(names, 20, 7);
  assert.equal(sample(names.toReversed(), 20, 7), chosen);
  assert.not.equal(sample(names, 20, 8), chosen);
  assert.is(new Set(chosen).size, 20);
  assert.is(sample(names, 99, 7).length, 50);
});

test("the table names mutants in one place each, and every reason is a sentence", () => {
  const { killed, equivalent, survived } = readTable();
  const names = [killed, equivalent, survived].flatMap((each) => Object.keys(each));
  assert.is(new Set(names).size, names.length);
  for (const [name, reason] of Object.entries(equivalent)) assert.ok(reason.split(" ").length > 3, name);
});

test("mutants of all modules that scenarios load are made, each of one text", () => {
  const mutants = [...currentMutants().values()];
  assert.ok(mutants.length > 500, String(mutants.length));
  assert.ok(mutants.every(({ from, to }) => from !== to));
});

test("a line that no scenario executes is reported, and an exception that is none", () => {
  const lines = atomicsLines();
  const [first] = lines;
  assert.ok(first !== undefined && /Atomics\./.test(first.text));
  const none = coverageOf(new Set());
  assert.is(none.executed, 0);
  assert.ok(none.failures.some((failure) => failure.includes(first.text)));
  const all = coverageOf(new Set(lines.map(({ key }) => key)));
  assert.is(all.executed, lines.length);
  assert.is(all.lines, lines.length);
  assert.ok(all.failures.every((failure) => failure.startsWith("this exception is needed no longer")));
});

test.run();
