// Brings a clone into a state that runs: installs when the lockfile is newer than node_modules,
// compiles, then runs the script named in the arguments. Everything it prints goes to stderr, so
// that a script's stdout stays its own.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
process.chdir(root);

const INSTALLED_STAMP = "node_modules/.modules.yaml";

function isInstalled() {
  return existsSync(INSTALLED_STAMP) && statSync(INSTALLED_STAMP).mtimeMs >= statSync("pnpm-lock.yaml").mtimeMs;
}

function must(command, args) {
  // pnpm asks before it replaces a node_modules of other origin, and fails without a terminal
  // unless CI is set.
  const environment = process.stdin.isTTY ? process.env : { ...process.env, CI: "true" };
  const result = spawnSync(command, args, { stdio: ["ignore", 2, 2], env: environment });
  if (result.error) throw result.error;
  if (result.status !== 0) {
    console.error(`\n${[command, ...args].join(" ")} failed`);
    process.exit(1);
  }
}

/** The compiler leaves what it made of a source that is gone, and imports of that still work. */
function removeOutputsWithoutSource(sources, outputs) {
  if (!existsSync(outputs)) return;
  for (const name of readdirSync(outputs, { recursive: true })) {
    const source = /^(.*?)(?:\.d\.ts|\.js)(?:\.map)?$/.exec(name)?.[1];
    if (source !== undefined && !existsSync(`${sources}/${source}.ts`)) rmSync(`${outputs}/${name}`);
  }
}

if (!isInstalled()) {
  const { packageManager } = JSON.parse(readFileSync("package.json", "utf8"));
  console.error(`installing with ${packageManager} …`);
  must("npx", ["--yes", packageManager, "install", "--frozen-lockfile", "--reporter=append-only"]);
}
for (const name of readdirSync("packages")) removeOutputsWithoutSource(`packages/${name}/src`, `packages/${name}/dist`);
for (const name of ["bench", "examples", "test"]) removeOutputsWithoutSource(name, `.build/${name}`);
must(process.execPath, ["node_modules/typescript/lib/tsc.js", "-b"]);

const [script, ...rest] = process.argv.slice(2);
if (script !== undefined) {
  const child = spawn(process.execPath, ["--enable-source-maps", script, ...rest], { stdio: "inherit" });
  // The terminal sends Ctrl-C to the child as well; it decides how to end, we only pass on how it
  // did.
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill(signal));
  child.on("exit", (code, signal) => {
    if (signal !== null) {
      process.removeAllListeners(signal);
      process.kill(process.pid, signal);
    } else process.exitCode = code ?? 1;
  });
}
