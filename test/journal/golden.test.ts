// Journals that an earlier build has written: the present one must read them. How they were made:
// golden/generate.ts.
import { appendFileSync, cpSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Journal } from "@millrace/journal";
import { temporaryDirectory } from "../support.ts";
import { type ExpectedRecord, readExpected } from "./golden/generate.ts";

// The files lie beside the source, not beside the compiled test.
const GOLDEN = fileURLToPath(new URL("../../../test/journal/golden/v1", import.meta.url));

function copyOf(name: string): { readonly directory: string; readonly expected: readonly ExpectedRecord[] } {
  const directory = temporaryDirectory();
  cpSync(join(GOLDEN, name), directory, { recursive: true });
  const expected = JSON.parse(readFileSync(join(directory, "expected.json"), "utf8")) as ExpectedRecord[];
  rmSync(join(directory, "expected.json"));
  return { directory, expected };
}

for (const name of ["left", "closed", "recovered"]) {
  test(`a journal of format 1 is read back: ${name}`, async () => {
    const { directory, expected } = copyOf(name);
    assert.ok(expected.length >= 23);
    const journal = await Journal.open({ directory, verifyAll: true });
    assert.is(journal.recovery.hasCleanEnd, name === "closed");
    assert.equal(await readExpected(journal), expected);
    assert.is((await journal.find("a key"))?.sequence, 1);
    const checkpoint = await journal.lastCheckpoint();
    assert.is(checkpoint?.from, 7);
    assert.is(checkpoint?.bytes.toString("latin1"), "a snapshot");
    // And goes on from there.
    assert.is(await journal.append("next"), expected.length + 1);
    await journal.close();
  });
}

test("a journal of format 1 with a torn tail is read back, and the tail set aside", async () => {
  const { directory, expected } = copyOf("left");
  const newest = readdirSync(directory)
    .filter((name) => name.startsWith("log-"))
    .toSorted()
    .at(-1) as string;
  assert.ok(statSync(join(directory, newest)).size >= 65536);
  appendFileSync(join(directory, newest), Buffer.alloc(5000, 0xab));
  const journal = await Journal.open({ directory });
  assert.ok(journal.recovery.tornBytes > 0);
  assert.equal(await readExpected(journal), expected);
  await journal.close();
});

test("the bytes that tell format 1 from another have not moved", () => {
  for (const name of ["left", "closed", "recovered"]) {
    const header = readFileSync(join(GOLDEN, name, "log-0000000000000001.wal")).subarray(0, 4096 + 64);
    assert.is(header.toString("latin1", 0, 8), "MILLRACE");
    assert.is(header.readUInt16LE(8), 1);
    assert.is(header.readUInt32LE(12), 4096);
    assert.is(header.toString("latin1", 4096, 4100), "MRB1");
  }
});

test.run();
