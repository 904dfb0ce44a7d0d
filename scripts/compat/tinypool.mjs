// `npm run compat:tinypool`: tinypool's own tests with @millrace/tinypool in its place. Names of
// files select some. The tests are those of the tag below: tinypool's npm package has none.
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { root } from "../release/workspace.mjs";
import { copy, installed, newFolder, report, run, write } from "./run.mjs";

/** Tests that fail on ours, each for a reason in docs/adr/0036-drop-ins.md. */
const FAILING = [];

const REPOSITORY = "https://github.com/tinylibs/tinypool";
const TAG = "v2.1.0";
const NEEDED = ["vitest@4.0.18", "vite@6.4.1"];

/** `TINYPOOL_REPOSITORY`: a clone or a mirror, where GitHub can't be reached. */
function fetched() {
  const from = process.env.TINYPOOL_REPOSITORY ?? REPOSITORY;
  const folder = join(root, ".build/compat/tinypool-repository");
  if (existsSync(join(folder, "test"))) return folder;
  const git = (...args) => execFileSync("git", args, { stdio: ["ignore", 2, 2] });
  const isMirror = from !== REPOSITORY;
  git(
    "clone",
    "--quiet",
    "--depth",
    "1",
    ...(isMirror ? [] : ["--branch", TAG]),
    isMirror ? `file://${from}` : from,
    folder,
  );
  return folder;
}

const args = process.argv.slice(2);
const theirs = fetched();
const needed = installed("tinypool-needs", NEEDED);
const folder = newFolder("tinypool");
for (const name of ["test", "package.json", "vitest.config.ts"])
  cpSync(join(theirs, name), join(folder, name), { recursive: true });
symlinkSync(join(needed, "node_modules"), join(folder, "node_modules"));
// A copy: the tests replace modules of Node below `tinypool`, which they find in `dist`.
copy(join(root, "packages/tinypool/dist"), join(folder, "dist"));
const own = join(needed, "node_modules/@millrace");
mkdirSync(own, { recursive: true });
if (!existsSync(join(own, "thread-pool"))) symlinkSync(join(root, "packages/thread-pool"), join(own, "thread-pool"));

const file = join(folder, "results.json");
write(file, "{}");
// On a loaded machine five seconds are short.
const flags = ["run", "--testTimeout=30000", "--no-file-parallelism", "--reporter=json", `--outputFile=${file}`];
const ran = await run(["node_modules/vitest/vitest.mjs", ...flags, ...args], folder);
const { testResults } = JSON.parse(readFileSync(file, "utf8"));
if (testResults === undefined) throw new Error(`vitest has no results:\n${ran.output}`);
const results = new Map();
for (const { name, assertionResults } of testResults) {
  for (const { fullName, status, failureMessages } of assertionResults) {
    const test = `${name.slice(folder.length + 1)}: ${fullName}`;
    results.set(test, status === "passed" && results.get(test) !== false);
    for (const message of failureMessages) console.error(message);
  }
}
report(results, FAILING);
