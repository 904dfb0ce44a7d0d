// Helpers for the compat scripts: a folder in which another pool's own tests find ours in its
// place. Nothing of theirs is kept: what they need is fetched into .build/compat.
import { execFileSync, spawn } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { root } from "../release/workspace.mjs";

const RUN_LIMIT_MS = 400_000;

export const write = (path, text) => {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
};

/** A new folder below .build/compat. */
export function newFolder(name) {
  const folder = join(root, ".build/compat", name);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  return folder;
}

/** Installs exact versions by npm, once. Returns the folder with their node_modules. */
export function installed(name, packages) {
  const folder = join(root, ".build/compat", name);
  const stamp = join(folder, "stamp.json");
  const wanted = JSON.stringify(packages);
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === wanted) return folder;
  rmSync(folder, { recursive: true, force: true });
  write(join(folder, "package.json"), JSON.stringify({ name, private: true, type: "module" }));
  execFileSync("npm", ["install", "--no-audit", "--no-fund", "--loglevel=error", ...packages], {
    cwd: folder,
    stdio: ["ignore", 2, 2],
  });
  write(stamp, wanted);
  return folder;
}

export const copy = (from, to) => cpSync(from, to, { recursive: true });

/** Runs a program in `cwd`; resolves with its exit code and what it printed. */
export function run(args, cwd) {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, args, {
      cwd,
      stdio: ["ignore", "pipe", "pipe"],
      timeout: RUN_LIMIT_MS,
      killSignal: "SIGKILL",
    });
    let output = "";
    child.stdout.on("data", (chunk) => (output += chunk));
    child.stderr.on("data", (chunk) => (output += chunk));
    child.on("close", (code) => resolve({ code, output }));
  });
}

/**
 * Prints `N of N`, and the tests that fail. Fails when a test fails that `expected` doesn't list,
 * or one passes that it lists. `results`: a test's name (`file: name`) with whether it passed.
 */
export function report(results, expected) {
  const failing = [...results].filter(([, passed]) => !passed).map(([name]) => name);
  for (const name of failing) console.log(`fails: ${name}`);
  console.log(`${results.size - failing.length} of ${results.size}`);
  const surprises = [
    ...failing.filter((name) => !expected.includes(name)).map((name) => `should pass: ${name}`),
    ...expected.filter((name) => results.get(name) === true).map((name) => `is listed as failing, and passes: ${name}`),
  ];
  for (const surprise of surprises) console.error(surprise);
  if (surprises.length > 0) process.exitCode = 1;
}
