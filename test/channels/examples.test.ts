import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";

const root = fileURLToPath(new URL("../../..", import.meta.url));

test("the pipeline collects every number once, on one worker and on several", () => {
  for (const workers of [1, 3]) {
    const file = "examples/pipeline/pipeline.mjs";
    const output = execFileSync(process.execPath, [file, "3000", String(workers)], { cwd: root, encoding: "utf8" });
    assert.is(output, "3000 numbers; the longest sequence begins at 2919: 216 steps\n");
  }
});

test.run();
