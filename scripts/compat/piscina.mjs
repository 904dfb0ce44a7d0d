// `npm run compat:piscina`: piscina's own tests with @millrace/piscina in its place. With
// `--original` they run on piscina itself. Names of files select some.
// The tests come from piscina's npm package; what they need besides is installed once.
import { readdirSync, readFileSync, symlinkSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";
import { root } from "../release/workspace.mjs";
import { copy, installed, newFolder, report, run, write } from "./run.mjs";

/** Tests that fail on ours, each for a reason in docs/adr/0036-drop-ins.md. */
const FAILING = [];

const NEEDED = ["tsx@4.20.6", "concat-stream@2.0.0", "@napi-rs/nice@1.1.1", "abort-controller@3.0.0"];

const require = createRequire(join(root, "packages/pool/package.json"));
const theirs = dirname(dirname(require.resolve("original-piscina")));
const ours = join(root, "packages/piscina/dist");

/** The files that the tests reach into, over ours. */
const SHIMS = {
  "dist/main.js": `module.exports = require("${ours}/main.js");`,
  "dist/index.js": `module.exports = require("${ours}/main.js");`,
  "dist/esm-wrapper.mjs": `export { default } from "${ours}/main.mjs"; export * from "${ours}/main.mjs";`,
  "dist/common.js": `const { mover } = require("${ours}/task.js");
exports.isMovable = (value) => mover.isMovable(value);
exports.isTransferable = (value) => mover.isTransferable(value);
exports.markMovable = (value) => mover.markMovable(value);
exports.getAvailableParallelism = require("node:os").availableParallelism;`,
  "dist/symbols.js": `exports.kQueueOptions = require("${ours}/symbols.js").queueOptionsSymbol;`,
  "dist/worker_pool/index.js": "",
};

/** The top-level tests of a file; a name that occurs twice has passed when both have. */
function resultsOf(file, { code, output }) {
  const results = new Map();
  for (const [, not, name] of output.matchAll(/^(not )?ok \d+ - (.*?)(?: # SKIP.*)?$/gm)) {
    const test = `${file}: ${name}`;
    results.set(test, not === undefined && results.get(test) !== false);
  }
  if (code === null) results.set(`${file}: ends by itself`, false);
  if (results.size === 0) results.set(`${file}: has tests\n${output}`, false);
  return results;
}

const args = process.argv.slice(2);
const needed = installed("piscina-needs", NEEDED);
const folder = newFolder("piscina");
for (const name of ["test", "package.json"]) copy(join(theirs, name), join(folder, name));
symlinkSync(join(needed, "node_modules"), join(folder, "node_modules"));
if (args.includes("--original")) copy(join(theirs, "dist"), join(folder, "dist"));
else for (const [path, text] of Object.entries(SHIMS)) write(join(folder, path), text);

const selected = args.filter((arg) => !arg.startsWith("--"));
const files = readdirSync(join(folder, "test"))
  .filter((name) => name.endsWith(".test.ts"))
  .filter((name) => selected.length === 0 || selected.some((part) => name.includes(part)));
const results = new Map();
for (const file of files) {
  const ran = await run(["--import=tsx", "--test-reporter=tap", join("test", file)], folder);
  for (const [test, passed] of resultsOf(basename(file, ".test.ts"), ran)) {
    results.set(test, passed);
    if (!passed) console.error(ran.output);
  }
}
console.error(`piscina ${JSON.parse(readFileSync(join(theirs, "package.json"), "utf8")).version}`);
report(results, FAILING);
