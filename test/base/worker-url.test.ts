import { mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { workerUrl } from "@millrace/base";
import { temporaryDirectory } from "../support.ts";

const root = pathToFileURL(`${temporaryDirectory()}/`).href;

/**
 * The URL that a caller gets when `entry` is there; both are URLs below a directory of this test.
 */
function found(name: string, caller: string, entry: string): string {
  const file = fileURLToPath(root + entry);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, "");
  return workerUrl(name, root + caller).href;
}

test("a caller that runs compiled gets the compiled entry beside it", () => {
  const entry = "@millrace/journal/dist/writer.worker.js";
  assert.is(found("./writer.worker", "@millrace/journal/dist/journal.js", entry), root + entry);
});

test("a caller that runs from source gets the source entry", () => {
  const entry = "journal/src/opener/writer.worker.ts";
  assert.is(found("./writer.worker", "journal/src/opener/journal.ts", entry), root + entry);
});

test("the ending is that of the caller's file, whatever its folders are called", () => {
  assert.is(found("./a.worker", "app.ts/dist/a.js", "app.ts/dist/a.worker.js"), `${root}app.ts/dist/a.worker.js`);
  assert.is(found("../b/a.worker", "x.js/src/a.ts", "x.js/b/a.worker.ts"), `${root}x.js/b/a.worker.ts`);
});

test("characters that a URL escapes survive", () => {
  assert.is(found("./w.worker", "my%20app%23/a.js", "my%20app%23/w.worker.js"), `${root}my%20app%23/w.worker.js`);
});

test("an entry that isn't there is named, and so is a caller that isn't a file", () => {
  for (const caller of [`${root}gone/a.js`, "data:text/javascript,", undefined]) {
    assert.throws(
      () => workerUrl("./a.worker", caller),
      (error: { code: string; details: { caller: unknown } }) =>
        error.code === "ERR_THREAD_FILE" && error.details.caller === caller,
    );
  }
});

test.run();
