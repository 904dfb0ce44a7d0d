// A process may go to another working directory while a runtime is open.
import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Journal } from "@millrace/journal";
import { type Millrace, open } from "millrace";
import type * as handlers from "../fixtures/handlers.ts";
import { handlersUrl, rejectsWith, temporaryDirectory } from "../support.ts";

const RECORDS = 60;
const SEGMENT_BYTES = 2 ** 16;
const before = process.cwd();
test.after.each(() => process.chdir(before));

test("a relative directory is the one of the opening, wherever the process goes", async () => {
  const place = temporaryDirectory();
  mkdirSync(join(place, "elsewhere"));
  process.chdir(place);
  const start = (): Promise<Millrace<typeof handlers>> =>
    open<typeof handlers>({
      handlers: handlersUrl,
      processors: 1,
      journal: { directory: "./data", segmentBytesMax: SEGMENT_BYTES, recordBytesMax: 8192, batchBytesMax: 16_384 },
    });
  const mill = await start();
  process.chdir("elsewhere");
  try {
    // Each of some segments is made, read and given up by its name.
    for (let n = 0; n < RECORDS; n += 1) await mill.publish.echo("x".repeat(7000));
    await mill.drain();
    assert.is(mill.health().status, "ok", JSON.stringify(mill.health()));
    assert.ok(existsSync(join(place, "data", "control.sock")));
    await mill.journal.backup("./copy");
  } finally {
    await mill.close();
  }
  assert.equal(readdirSync(place).toSorted(), ["data", "elsewhere"]);
  // The copy goes where the process is now.
  assert.equal(readdirSync("."), ["copy"]);
  assert.not(existsSync(join(place, "data", "control.sock")));
  process.chdir(place);
  const again = await start();
  assert.is(again.stats().intake?.recovered, 0);
  await again.close();
});

test("so is a relative directory of the storage", async () => {
  const place = temporaryDirectory();
  for (const name of ["log", "elsewhere"]) mkdirSync(join(place, name));
  process.chdir(place);
  const journal = await Journal.open({
    directory: "./lock",
    storage: { directory: "./log" },
    segmentBytesMax: SEGMENT_BYTES,
    recordBytesMax: 8192,
    batchBytesMax: 16_384,
    ringBytes: 32_768,
  });
  process.chdir("elsewhere");
  for (let n = 1; n <= 40; n += 1) assert.is(await journal.append(Buffer.alloc(3000, n)), n);
  assert.is((await journal.get(1))?.payload[0], 1);
  await journal.checkpoint(Buffer.from("c"), 1);
  await journal.close();
  assert.equal(readdirSync("."), []);
  assert.equal(readdirSync(join(place, "lock")), ["LOCK"]);
  assert.ok(readdirSync(join(place, "log")).includes("marks"));
  for (const directory of ["", 7, undefined])
    await rejectsWith(Journal.open({ directory: "./lock", storage: { directory } as never }), "ERR_INVALID_OPTION");
});

test.run();
