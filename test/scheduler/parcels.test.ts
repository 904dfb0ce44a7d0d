import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Scheduler } from "@millrace/scheduler";
import type * as handlers from "../fixtures/parcel-handlers.ts";

const options = { handlers: new URL("../fixtures/parcel-handlers.js", import.meta.url), processors: 1 };

test("a process stays until a result that comes by message is there", () => {
  const program = fileURLToPath(new URL("../fixtures/parcel-program.js", import.meta.url));
  assert.is(execFileSync(process.execPath, [program], { encoding: "utf8", timeout: 60_000 }), "4950\n");
});

test("runMany returns results that come by message in their places", async () => {
  const scheduler = await Scheduler.open<typeof handlers>(options);
  try {
    const results = await scheduler.runMany.shared(Array.from({ length: 50 }, (_, n) => n));
    assert.equal(
      results.map((words) => words[0]),
      Array.from({ length: 50 }, (_, n) => n),
    );
    const error = (await scheduler.runMany.sharedOrError([1, 2, 3, 4]).catch((thrown: unknown) => thrown)) as Error;
    assert.is(error.message, "three");
    assert.is(scheduler.stats().outstanding, 0);
  } finally {
    await scheduler.close();
  }
});

test("close waits for results that are on their way", async () => {
  const scheduler = await Scheduler.open<typeof handlers>(options);
  const calls = Array.from({ length: 20 }, (_, n) => scheduler.run.shared(n));
  await scheduler.close();
  assert.equal(
    (await Promise.all(calls)).map((words) => words[0]),
    Array.from({ length: 20 }, (_, n) => n),
  );
});

test.run();
