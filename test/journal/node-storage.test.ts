import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { NodeStorage } from "@millrace/journal";
import { temporaryDirectory } from "../support.ts";

const BYTES = 8192;

test("zeros go only into the file that is open, whatever has its name by now", () => {
  const directory = join(temporaryDirectory(), "journal");
  mkdirSync(directory);
  const file = new NodeStorage(directory).open("spare", "create");
  renameSync(directory, `${directory}-moved`);
  mkdirSync(directory);
  writeFileSync(join(directory, "spare"), Buffer.alloc(BYTES, "foreign"));
  for (let step = 0; step < 2; step += 1) assert.is(file.writeZeros?.(0, BYTES), false);
  file.close();
  assert.ok(readFileSync(join(directory, "spare")).equals(Buffer.alloc(BYTES, "foreign")));
});

test("a file that can't be opened a second time takes zeros through the page cache", () => {
  const directory = join(temporaryDirectory(), "journal");
  mkdirSync(directory);
  const file = new NodeStorage(directory).open("spare", "create");
  renameSync(directory, `${directory}-moved`);
  assert.is(file.writeZeros?.(0, BYTES), false);
  assert.is(file.write([Buffer.alloc(BYTES)], 0), BYTES);
  assert.is(file.writeZeros?.(0, BYTES), false);
  file.close();
});

test.run();
