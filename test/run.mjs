// Runs the test files, a process each: a thread stuck in Atomics.wait can't be interrupted from
// within, and uvu has no time limit of its own. Arguments are patterns; a file runs when its path
// matches one of them. Ends with `N passed, N failed, N skipped` and exits 1 when a test failed or
// no file was found.
import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../.build/test/", import.meta.url));
const patterns = process.argv.slice(2).map(patternOf);

/**
 * A package's name in full matches the folder that has its tests: "@millrace/journal",
 * "packages/journal".
 */
function patternOf(argument) {
  const word = argument.replace(/^(?:@millrace|packages|test)\//, "").replace(/\/$/, "");
  try {
    return new RegExp(word);
  } catch (error) {
    console.log(`${argument} is no regular expression: ${error.message}`);
    return process.exit(2);
  }
}

/**
 * A file that runs longer than this is stuck. Files that need more say so in their name:
 * `name.300s.test.ts`.
 */
const LIMIT_SECONDS = Number(process.env.MILLRACE_TEST_LIMIT_SECONDS ?? 120);
const LIMIT_IN_NAME = /\.(\d+)s\.test\.js$/;

const all = readdirSync(root, { recursive: true })
  .filter((file) => file.endsWith(".test.js"))
  .toSorted((left, right) => (left < right ? -1 : 1));
const files = all.filter((file) => patterns.length === 0 || patterns.some((pattern) => pattern.test(file)));

const total = { passed: 0, failed: 0, skipped: 0 };

function limitOf(file) {
  return Math.max(LIMIT_SECONDS, Number(LIMIT_IN_NAME.exec(file)?.[1] ?? 0));
}

/** Process groups of files that run now. */
const groups = new Set();

/** Ends a file with everything that it has started. */
function endGroup(pid) {
  groups.delete(pid);
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // Nothing of it is left.
  }
}

for (const [signal, code] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
  ["SIGHUP", 129],
]) {
  process.on(signal, () => {
    for (const pid of groups) endGroup(pid);
    process.exit(code);
  });
}

/** Runs one file in a process group of its own and resolves with its output and how it ended. */
function runFile(file) {
  return new Promise((resolve) => {
    const started = performance.now();
    const child = spawn(process.execPath, ["--enable-source-maps", root + file], {
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
    });
    groups.add(child.pid);
    let output = "";
    child.stdout.on("data", (chunk) => (output += chunk));
    child.stderr.on("data", (chunk) => (output += chunk));
    let stuck = false;
    const timer = setTimeout(
      () => {
        stuck = true;
        endGroup(child.pid);
      },
      limitOf(file) * 1000,
    );
    // A process that a test has started and left behind would keep the output open.
    child.on("exit", () => endGroup(child.pid));
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      resolve({ output, code, signal, stuck, seconds: (performance.now() - started) / 1000 });
    });
  });
}

/** Without colours. */
function plain(output) {
  // eslint-disable-next-line no-control-regex
  return output.replace(/\x1b\[[0-9;]*m/g, "");
}

/** uvu ends with lines such as `Total: 3`, `Passed: 2`, `Skipped: 1`. */
function countOf(output, word) {
  return [...plain(output).matchAll(new RegExp(`^\\s*${word}:\\s+(\\d+)`, "gm"))].reduce(
    (sum, match) => sum + Number(match[1]),
    0,
  );
}

function report(file, result) {
  const passed = countOf(result.output, "Passed");
  const skipped = countOf(result.output, "Skipped");
  const tests = countOf(result.output, "Total");
  // A crash, a time-out, or a file without a single test counts as a failure even if every test
  // before it passed.
  const broken = result.stuck || result.code !== 0 || tests + skipped === 0;
  // Skipped ones aren't in uvu's total.
  const failed = Math.max(tests - passed, broken ? 1 : 0);
  total.passed += passed;
  total.failed += failed;
  total.skipped += skipped;
  if (failed === 0) {
    console.log(`ok    ${file} (${passed}/${tests}, ${result.seconds.toFixed(1)} s)`);
    // Figures that a test prints for the log, such as how many states were explored.
    // uvu's dots for the tests before may stand on the same line.
    for (const [, figures] of plain(result.output).matchAll(/^[ •]*# (.*)$/gm)) console.log(`      ${figures}`);
    return;
  }
  const how = result.stuck ? `stopped after ${limitOf(file)} s` : (result.signal ?? `exit code ${result.code}`);
  console.log(`FAIL  ${file} (${how})\n${result.output.trimEnd()}\n`);
}

const queue = [...files];
async function lane() {
  for (let file = queue.shift(); file !== undefined; file = queue.shift()) report(file, await runFile(file));
}
await Promise.all(Array.from({ length: availableParallelism() }, lane));

if (files.length === 0) {
  console.log(`no test file matches ${process.argv.slice(2).join(" ")}`);
  const folders = new Set(all.map((file) => file.split("/")[0]));
  console.log(`every one of these words matches some: ${[...folders].join(" ")}`);
}
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exitCode = total.failed > 0 || files.length === 0 ? 1 : 0;
