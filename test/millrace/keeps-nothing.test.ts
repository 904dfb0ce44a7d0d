// A settled call keeps nothing alive: not its argument, result, error, signal, nor the caller's
// AsyncLocalStorage.
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";

const program = fileURLToPath(new URL("../fixtures/keeps-nothing.js", import.meta.url));

test("nothing of settled calls is left, while the runtime is open and afterwards", () => {
  const output = execFileSync(process.execPath, ["--expose-gc", program], { encoding: "utf8", timeout: 100_000 });
  const { watched, open, closed } = JSON.parse(output) as Record<string, unknown>;
  assert.ok((watched as number) > 2000, `${String(watched)} objects were watched`);
  assert.equal(open, {});
  assert.equal(closed, {});
});

test.run();
