import {
  closeSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { crc32 } from "@millrace/codec";
import { temporaryDirectory, throwsWith } from "../support.ts";
import { readAll, recover, TestLog } from "./support.ts";

/** Changes one byte of a file. */
function flip(path: string, offset: number): void {
  const fd = openSync(path, "r+");
  const byte = Buffer.alloc(1);
  readSync(fd, byte, 0, 1, offset);
  byte[0] = (byte[0] as number) ^ 0x40;
  writeSync(fd, byte, 0, 1, offset);
  closeSync(fd);
}

function zero(path: string, start: number, bytes: number): void {
  const fd = openSync(path, "r+");
  writeSync(fd, Buffer.alloc(bytes), 0, bytes, start);
  closeSync(fd);
}

test("an empty directory is an empty log", () => {
  const log = new TestLog(temporaryDirectory());
  assert.is(log.writer.nextSequence, 1);
  log.append("a", "b");
  log.append("c");
  assert.equal(readAll(log.storage, 3), ["a", "b", "c"]);
});

test("what was appended is there after a crash and after a clean end", () => {
  const log = new TestLog(temporaryDirectory());
  log.append("a");
  log.append("b", "c");
  for (let round = 0; round < 4; round += 1) {
    if (round % 2 === 1) log.writer.close();
    const { summary } = recover(log.storage);
    assert.is(summary.hasCleanEnd, round % 2 === 1);
    assert.is(summary.lastSequence, 3 + round);
    log.open();
    assert.is(log.writer.nextSequence, 4 + round);
    log.append(`round ${round}`);
  }
  assert.equal(readAll(log.storage, 7), ["a", "b", "c", "round 0", "round 1", "round 2", "round 3"]);
});

test("a clean end gives the unused space of its segment back", () => {
  const log = new TestLog(temporaryDirectory());
  log.append("a");
  log.writer.close();
  assert.is(statSync(log.path(log.segments()[0] as string)).size, 3 * 4096);
});

test("a clean end that was never on disk is no damage", () => {
  const log = new TestLog(temporaryDirectory());
  log.append("a");
  log.writer.close();
  log.open();
  log.append("b");
  // Its sync had failed, the opening read it from the page cache, and then the power went.
  const path = log.path(log.segments()[0] as string);
  zero(path, 8192, 4096);
  assert.is(recover(log.storage).nextSequence, 3);
  truncateSync(path, 8192);
  assert.is(recover(log.storage).nextSequence, 3);
  assert.equal(readAll(log.storage, 2), ["a", "b"]);
});

test("the log goes on over many segments", () => {
  const log = new TestLog(temporaryDirectory());
  const payloads = Array.from({ length: 100 }, (_, n) => `${n}`.repeat(1000));
  for (const payload of payloads) log.append(payload);
  assert.ok(log.segments().length > 5);
  log.open();
  assert.equal(readAll(log.storage, 100), payloads);
});

test("recovery only looks: a second one finds the same", () => {
  const log = new TestLog(temporaryDirectory());
  log.append("a");
  log.append("b");
  const { durationMs: _, ...first } = recover(log.storage).summary;
  const { durationMs: __, ...second } = recover(log.storage).summary;
  assert.equal(second, first);
});

test("a torn last batch is set aside, whatever part of it is missing", () => {
  const base = new TestLog(temporaryDirectory());
  base.append("kept");
  base.append("x".repeat(7000));
  const name = base.segments()[0] as string;
  // The second batch lies at 8192: header and first part on its first page, the rest on a second.
  const tears: [string, (path: string) => void][] = [
    ["its first page", (path) => zero(path, 8192, 4096)],
    ["its second page", (path) => zero(path, 12288, 4096)],
    ["half a sector", (path) => zero(path, 8192 + 512, 512)],
    ["one bit of its header", (path) => flip(path, 8192 + 20)],
    ["one bit of its body", (path) => flip(path, 8192 + 3000)],
    ["the file's end", (path) => truncateSync(path, 12288)],
  ];
  for (const [what, tear] of tears) {
    const log = base.copyTo(temporaryDirectory());
    tear(log.path(name));
    const { summary, nextSequence } = recover(log.storage);
    assert.is(nextSequence, 2, what);
    assert.is(summary.tornBytes > 0, true, what);
    assert.ok(readFileSync(join(log.directory, summary.quarantined[0] as string)).length > 0, what);
    log.open();
    log.append("next");
    assert.equal(readAll(log.storage, 2), ["kept", "next"], what);
  }
});

test("a batch that never reached the disk leaves no trace", () => {
  const log = new TestLog(temporaryDirectory());
  log.append("kept");
  log.append("gone");
  zero(log.path(log.segments()[0] as string), 8192, 4096);
  const { summary } = recover(log.storage);
  assert.is(summary.tornBytes, 0);
  assert.is(summary.lastSequence, 1);
});

test("damage before the last batch refuses to open and names the place", () => {
  const base = new TestLog(temporaryDirectory());
  for (const payload of ["first", "second", "third"]) base.append(payload);
  const name = base.segments()[0] as string;
  const damages: [string, (path: string) => void][] = [
    ["a bit of the body", (path) => flip(path, 8192 + 64 + 25)],
    ["a bit of the header", (path) => flip(path, 8192 + 17)],
    ["a whole page", (path) => zero(path, 8192, 4096)],
  ];
  for (const [what, damage] of damages) {
    const log = base.copyTo(temporaryDirectory());
    damage(log.path(name));
    const error = throwsWith(() => recover(log.storage), "ERR_JOURNAL_DAMAGED");
    assert.is(error.details.file, name, what);
    assert.is(error.details.offset, 8192, what);
    assert.is(error.details.firstSequence, 2, what);
  }
});

test("damage in an older segment, a missing one, and a foreign one refuse to open", () => {
  const base = new TestLog(temporaryDirectory());
  for (let n = 0; n < 60; n += 1) base.append(`${n}`.repeat(1000));
  const names = base.segments();
  assert.ok(names.length >= 4);

  const flipped = base.copyTo(temporaryDirectory());
  flip(flipped.path(names[1] as string), 4096 + 100);
  assert.is(throwsWith(() => recover(flipped.storage), "ERR_JOURNAL_DAMAGED").details.file, names[1]);

  const headless = base.copyTo(temporaryDirectory());
  flip(headless.path(names[1] as string), 20);
  assert.is(throwsWith(() => recover(headless.storage), "ERR_JOURNAL_DAMAGED").details.file, names[1]);

  const headlessLast = base.copyTo(temporaryDirectory());
  flip(headlessLast.path(names.at(-1) as string), 20);
  throwsWith(() => recover(headlessLast.storage), "ERR_JOURNAL_DAMAGED");

  const missing = base.copyTo(temporaryDirectory());
  rmSync(missing.path(names[1] as string));
  assert.match(throwsWith(() => recover(missing.storage), "ERR_JOURNAL_DAMAGED").message, "is missing");

  const foreign = base.copyTo(temporaryDirectory());
  const other = new TestLog(temporaryDirectory());
  for (let n = 0; n < 60; n += 1) other.append(`${n}`.repeat(1000));
  writeFileSync(foreign.path(names[1] as string), readFileSync(other.path(names[1] as string)));
  throwsWith(() => recover(foreign.storage), "ERR_JOURNAL_DAMAGED");

  const swapped = base.copyTo(temporaryDirectory());
  renameSync(swapped.path(names[1] as string), swapped.path("x"));
  renameSync(swapped.path(names[2] as string), swapped.path(names[1] as string));
  renameSync(swapped.path("x"), swapped.path(names[2] as string));
  throwsWith(() => recover(swapped.storage), "ERR_JOURNAL_DAMAGED");
});

test("a block that landed at another offset is not taken for a batch", () => {
  const log = new TestLog(temporaryDirectory());
  log.append("first");
  log.append("second");
  const path = log.path(log.segments()[0] as string);
  const block = readFileSync(path).subarray(8192, 12288);
  const fd = openSync(path, "r+");
  writeSync(fd, block, 0, 4096, 12288);
  closeSync(fd);
  const { summary, nextSequence } = recover(log.storage);
  assert.is(nextSequence, 3);
  assert.ok(summary.tornBytes > 0);
});

test("a last batch without witness is written again, and a crash there loses nothing", () => {
  const base = new TestLog(temporaryDirectory());
  base.append("first");
  base.append("last", "and its neighbour");
  const oldName = base.segments()[0] as string;
  base.open();
  const newName = base.segments()[1] as string;
  assert.equal(readAll(base.storage, 3), ["first", "last", "and its neighbour"]);

  // The new segment has its name, but what it repeats is not readable: the old one still has it.
  for (const tear of [(path: string) => zero(path, 4096, 4096), (path: string) => truncateSync(path, 4096)]) {
    const log = base.copyTo(temporaryDirectory());
    tear(log.path(newName));
    const { nextSequence, nextSegment, summary } = recover(log.storage);
    assert.is(nextSequence, 4);
    assert.is(nextSegment, 2);
    assert.ok(summary.quarantined.some((quarantined) => quarantined.endsWith(newName)));
    log.open();
    log.append("next");
    assert.is(recover(log.storage).nextSequence, 5);
    assert.equal(readAll(log.storage, 4), ["first", "last", "and its neighbour", "next"]);
  }

  // The new segment exists as a temporary file only.
  const early = base.copyTo(temporaryDirectory());
  renameSync(early.path(newName), early.path(`${newName}.tmp`));
  assert.is(recover(early.storage).nextSequence, 4);
  assert.equal(early.segments(), [oldName]);
});

test("a newer format is refused as such", () => {
  const log = new TestLog(temporaryDirectory());
  log.append("a");
  const path = log.path(log.segments()[0] as string);
  const header = readFileSync(path).subarray(0, 4096);
  header.writeUInt16LE(2, 10);
  header.writeUInt32LE(crc32(header.subarray(0, 4092)), 4092);
  const fd = openSync(path, "r+");
  writeSync(fd, header, 0, 4096, 0);
  closeSync(fd);
  throwsWith(() => recover(log.storage), "ERR_JOURNAL_VERSION");
});

test.run();
