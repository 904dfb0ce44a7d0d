// Modules with tasks, and how programs load the drop-in itself.
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import * as members from "@millrace/piscina";
import { temporaryDirectory } from "../support.ts";
import { both, moduleOf, outcomeOf, withPool } from "./support.ts";

const { Piscina } = members;
const main = fileURLToPath(new URL("../../../packages/piscina/dist/main.js", import.meta.url));

const FORMS: Record<string, [file: string, text: string]> = {
  "a function as module.exports": ["a.cjs", "module.exports = (value) => value + 1"],
  "exports.default": ["b.cjs", "exports.default = (value) => value + 1; exports.__esModule = true"],
  "a promise of a function": ["c.cjs", "module.exports = Promise.resolve((value) => value + 1)"],
  "an ES module": ["d.mjs", "export default (value) => value + 1"],
  "an ES module that awaits": ["e.mjs", "await null; export default Promise.resolve((value) => value + 1)"],
  "an ES module by its syntax": ["f.js", "export default (value) => value + 1"],
  "a class of which new isn't needed": ["g.cjs", "module.exports = class { static default(value) { return value } };"],
};

test("every form of a module runs, or is refused, as with piscina", async () => {
  for (const [name, [file, text]] of Object.entries(FORMS)) {
    const outcome = await both({ filename: moduleOf(text, file), minThreads: 0 }, (pool) => outcomeOf(pool.run(1)));
    if (!name.startsWith("a class")) assert.is(outcome.value, 2, name);
  }
});

test("a path without an extension, a folder, and a path with odd signs", async () => {
  const folder = join(temporaryDirectory(), "odd #? %41 ü");
  mkdirSync(join(folder, "tasks"), { recursive: true });
  writeFileSync(join(folder, "tasks/index.js"), "module.exports = () => 'folder'");
  writeFileSync(join(folder, "bare.js"), "module.exports = () => 'bare'");
  writeFileSync(join(folder, "odd.mjs"), "export default () => 'odd'");
  const files = ["tasks", "bare", "odd.mjs"].map((name) => join(folder, name));
  const values = await both({ filename: null }, (pool) =>
    Promise.all([...files, pathToFileURL(files[2] as string).href].map((filename) => pool.run(null, { filename }))),
  );
  assert.equal(values, ["folder", "bare", "odd", "odd"]);
});

test("the error of a module that fails names what failed, not the second try", async () => {
  const folder = temporaryDirectory();
  writeFileSync(join(folder, "index.js"), "require('/absent/module.cjs')");
  await withPool({ filename: null }, async (pool) => {
    assert.match((await outcomeOf(pool.run(1, { filename: folder }))).message as string, "/absent/module.cjs");
    const { message } = await outcomeOf(pool.run(1, { filename: join(folder, "gone.cjs") }));
    assert.match(message as string, "gone.cjs");
  });
});

test("a module whose top throws runs once", async () => {
  const count = join(temporaryDirectory(), "count");
  const module = moduleOf(`require("node:fs").appendFileSync(${JSON.stringify(count)}, "x"); throw new Error("top")`);
  await withPool({ filename: null }, async (pool) => {
    assert.is((await outcomeOf(pool.run(1, { filename: module }))).message, "top");
    assert.is((await import("node:fs")).readFileSync(count, "utf8"), "x");
  });
});

test("require gives the class with everything on it, import the same by name", () => {
  const required = createRequire(import.meta.url)(main) as typeof Piscina;
  assert.is(required, Piscina);
  assert.is(members.default, Piscina);
  assert.is(Piscina.Piscina, Piscina);
  const statics = new Set(Object.getOwnPropertyNames(Piscina));
  for (const name of ["prototype", "length", "name"]) statics.delete(name);
  assert.equal(new Set(Object.keys(members).filter((name) => name !== "default")), statics);
  assert.is(members.move, Piscina.move);
  assert.is(Piscina.version, "5.3.2");
});

/** Runs a program to its end. A process that stays alive fails here. */
const runProgram = (text: string, file = "program.cjs"): string =>
  execFileSync(process.execPath, [moduleOf(text, file)], { encoding: "utf8", timeout: 60_000 });

test("a program ends when its tasks are over, and output comes before it does", () => {
  const tasks = moduleOf("module.exports = (text) => { console.log(text); }");
  const program = `const Piscina = require(${JSON.stringify(main)});
    const pool = new Piscina({ filename: ${JSON.stringify(tasks)}, maxThreads: 2 });
    for (const text of ["a", "b", "c"]) pool.run(text);
    process.on("exit", () => console.log(pool.completed));`;
  assert.equal(runProgram(program).trim().split("\n").toSorted(), ["3", "a", "b", "c"]);
});

test("a pool that nobody uses, and one that is being closed, let a program end", () => {
  const program = `const Piscina = require(${JSON.stringify(main)});
    new Piscina();
    const pool = new Piscina({ filename: ${JSON.stringify(moduleOf("module.exports = () => 1"))}, minThreads: 2 });
    pool.run(1).then(() => pool.close()).then(() => console.log("closed", pool.threads.length));`;
  assert.is(runProgram(program), "closed 0\n");
});

test("the declarations say what piscina's say", async () => {
  // Compiled with this file: what a program writes against either package.
  const pool = new Piscina<string, number>({ minThreads: 0, execArgv: [], env: {} });
  const result: Promise<number> = outcomeless(pool);
  // @ts-expect-error: a task of this pool is a string.
  void (() => pool.run(42));
  // @ts-expect-error: a result of this pool is a number.
  const wrong: () => Promise<string> = () => pool.run("1");
  void wrong;
  const task: members.PiscinaTask | undefined = undefined;
  const queue: members.TaskQueue = new members.FixedQueue();
  assert.is(task, undefined);
  assert.is(queue.size, 0);
  assert.is(dirname(main).endsWith("dist"), true);
  await Promise.all([result, pool.destroy()]);
});

const outcomeless = async (pool: members.Piscina<string, number>): Promise<number> => {
  await pool.run("1").catch(() => {});
  return 0;
};

test.run();
