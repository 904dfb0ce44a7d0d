// Which lines of the packages' sources the tests reach: `npm run coverage [-- PATTERN…]`. A summary
// on stdout, the pages in coverage/index.html. Without patterns everything but the model checker's
// scenarios, which run rewritten copies of the modules. A thread that a test terminates, and a
// process that it kills, leave no figures: what only they reach counts as not reached.
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

const patterns = process.argv.slice(2);
const c8 = fileURLToPath(import.meta.resolve("c8/bin/c8.js"));
const child = spawn(
  process.execPath,
  [
    c8,
    "--all",
    "--src=packages",
    "--include=packages/*/src/**",
    "--exclude=**/*.d.ts",
    "--exclude-after-remap",
    "--reporter=text-summary",
    "--reporter=html",
    process.execPath,
    "test/run.mjs",
    ...(patterns.length > 0 ? patterns : ["^(?!model/scenarios)"]),
  ],
  { stdio: "inherit" },
);
child.on("exit", (code) => (process.exitCode = code ?? 1));
