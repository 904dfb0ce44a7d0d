import { test } from "uvu";
import * as assert from "uvu/assert";
import { workerUrl } from "@millrace/base";

test("a caller that runs compiled gets the compiled entry beside it", () => {
  assert.is(
    workerUrl("./writer.worker", "file:///app/node_modules/@millrace/journal/dist/journal.js").href,
    "file:///app/node_modules/@millrace/journal/dist/writer.worker.js",
  );
});

test("a caller that runs from source gets the source entry", () => {
  assert.is(
    workerUrl("./writer.worker", "file:///app/packages/journal/src/opener/journal.ts").href,
    "file:///app/packages/journal/src/opener/writer.worker.ts",
  );
});

test("the ending is that of the caller's file, whatever its folders are called", () => {
  assert.is(workerUrl("./a.worker", "file:///app.ts/dist/a.js").href, "file:///app.ts/dist/a.worker.js");
  assert.is(workerUrl("../b/a.worker", "file:///x.js/src/a.ts").href, "file:///x.js/b/a.worker.ts");
});

test("characters that a URL escapes survive", () => {
  assert.is(workerUrl("./w.worker", "file:///my%20app%23/a.js").href, "file:///my%20app%23/w.worker.js");
});

test.run();
