// Half a minute of mixed sizes, or two hours: npm run test:soak.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";

const isLong = process.env["MILLRACE_SOAK_LONG"] !== undefined;
const LONG_MS: number = 2 * 60 * 60 * 1000;
const SHORT_MS = 25_000;

test("what mixed sizes and bursts have taken comes back when the runtime is idle", () => {
  const seed = process.env["MILLRACE_SOAK_SEED"] ?? String(Date.now() % 2 ** 31);
  const program = fileURLToPath(new URL("./soak-process.js", import.meta.url));
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ["--enable-source-maps", program, seed, String(isLong ? LONG_MS : SHORT_MS), isLong ? "long" : "short"],
    {
      encoding: "utf8",
      // Without it glibc keeps up to 64 MiB of what was freed in each thread, and RSS shows that.
      env: { ...process.env, MALLOC_MMAP_THRESHOLD_: "131072" },
    },
  );
  assert.is(status, 0, `seed ${seed}: ${stderr}`);
  console.log(stdout.trim());
});

test.run();
