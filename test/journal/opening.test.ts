import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Journal, NodeStorage, storageKind } from "@millrace/journal";
import { segmentName } from "@millrace/journal/internal/files/format";
import { readMarks, writeMarks } from "@millrace/journal/internal/files/marks";
import { recover as recoverWith } from "@millrace/journal/internal/writer/recovery";
import { reserveName, reusedReserveName, reusedSpareName } from "@millrace/journal/internal/files/spare";
import { giveUpSegments } from "@millrace/journal/internal/keeper/truncate";
import { guardStorage, kindOf } from "@millrace/journal/internal/storage/storage-guard";
import { rejectsWith, temporaryDirectory, throwsWith, until } from "../support.ts";
import { readAll, recover, TestLog } from "./support.ts";

const LAST_BATCH = 8192;

/** Changes one byte of a file. */
function flip(path: string, offset: number): void {
  const bytes = readFileSync(path).subarray(offset, offset + 1);
  const fd = openSync(path, "r+");
  writeSync(fd, Buffer.of((bytes[0] as number) ^ 0x40), 0, 1, offset);
  closeSync(fd);
}

function mark(log: TestLog, durableSequence: number, firstSegment = 1, firstSequence = 1): void {
  const { logId } = recoverOf(log);
  const generation = (readMarks(log.storage)?.generation ?? 0) + 1;
  writeMarks(log.storage, { logId, generation, durableSequence, firstSegment, firstSequence });
}

function recoverOf(log: TestLog): ReturnType<typeof recover> {
  return recover(log.storage);
}

function twoBatches(): { log: TestLog; path: string } {
  const log = new TestLog(temporaryDirectory());
  log.append("first");
  log.append("last");
  return { log, path: log.path(log.segments()[0] as string) };
}

test("a flipped bit in the last batch is damage when marks know it as durable", () => {
  const { log, path } = twoBatches();
  const unmarked = log.copyTo(temporaryDirectory());
  flip(unmarked.path(log.segments()[0] as string), LAST_BATCH + 70);
  assert.is(recover(unmarked.storage).summary.lastSequence, 1, "without marks it looks like a torn tail");

  mark(log, 2);
  flip(path, LAST_BATCH + 70);
  const error = throwsWith(() => recover(log.storage), "ERR_JOURNAL_DAMAGED");
  assert.is(error.details.firstSequence, 2);
  assert.is(error.details.lastSequence, 2);
  assert.is(error.details.offset, LAST_BATCH);
});

test("marks that lag behind leave a torn tail what it is", () => {
  const { log, path } = twoBatches();
  mark(log, 1);
  flip(path, LAST_BATCH + 70);
  assert.is(recover(log.storage).summary.lastSequence, 1);
});

test("a torn page of marks leaves the other one", () => {
  const { log } = twoBatches();
  mark(log, 1);
  mark(log, 2);
  const { generation } = readMarks(log.storage) as { generation: number };
  flip(log.path("marks"), (generation % 2) * 4096 + 41);
  assert.is(readMarks(log.storage)?.durableSequence, 1);
  flip(log.path("marks"), ((generation + 1) % 2) * 4096 + 41);
  assert.is(readMarks(log.storage), undefined);
  assert.is(recover(log.storage).summary.lastSequence, 2, "a log that begins with its first segment needs none");
});

test("strict refuses a torn tail and nothing else", () => {
  const { log, path } = twoBatches();
  assert.is(recoverWith(log.storage, { strict: true }).summary.lastSequence, 2);
  flip(path, LAST_BATCH + 70);
  const error = throwsWith(() => recoverWith(log.storage, { strict: true }), "ERR_JOURNAL_TORN");
  assert.is(error.details.offset, LAST_BATCH);
  assert.is(recoverWith(log.storage, { strict: false }).summary.lastSequence, 1);
});

function longLog(): TestLog {
  const log = new TestLog(temporaryDirectory());
  for (let n = 1; n <= 60; n += 1) log.append(`${n}`.padEnd(1000, "."));
  assert.ok(log.segments().length >= 4);
  return log;
}

test("segments missing at the front are damage unless marks say they were given up", () => {
  const log = longLog();
  const [first, second] = log.segments() as [string, string];
  const base = recoverOf(log).segments[1]?.baseSequence as number;

  const lost = log.copyTo(temporaryDirectory());
  rmSync(lost.path(first));
  throwsWith(() => recover(lost.storage), "ERR_JOURNAL_DAMAGED");

  const marked = log.copyTo(temporaryDirectory());
  mark(marked, 60);
  rmSync(marked.path(first));
  const error = throwsWith(() => recover(marked.storage), "ERR_JOURNAL_DAMAGED");
  assert.is(error.details.file, first);
  assert.is(error.details.firstSequence, 1);
  assert.is(error.details.lastSequence, base - 1);

  // The segments are given up, and the crash came before the file was deleted; then without it;
  // then with a hole where only the second was deleted.
  const givenUp = log.copyTo(temporaryDirectory());
  mark(givenUp, 60, 3, recoverOf(log).segments[2]?.baseSequence as number);
  rmSync(givenUp.path(second));
  assert.is(recover(givenUp.storage).summary.firstSequence, recoverOf(log).segments[2]?.baseSequence);
  assert.not.ok(givenUp.segments().includes(first), "the opening removes what was given up");
  assert.is(recover(givenUp.storage).summary.lastSequence, 60);
});

test("a log whose segments are all gone isn't taken for a new one", () => {
  const log = longLog();
  mark(log, 60);
  for (const name of log.segments()) rmSync(log.path(name));
  assert.is(throwsWith(() => recover(log.storage), "ERR_JOURNAL_DAMAGED").details.lastSequence, 60);
});

test("marks of another log are refused", () => {
  const log = longLog();
  const other = longLog();
  mark(other, 60);
  writeFileSync(log.path("marks"), readFileSync(other.path("marks")));
  throwsWith(() => recover(log.storage), "ERR_JOURNAL_DAMAGED");
});

test("segments that marks know as durable are judged by headers, bodies on demand", () => {
  const log = longLog();
  mark(log, 60);
  const names = log.segments();
  const { summary } = recover(log.storage);
  assert.is(summary.segments, names.length);
  assert.is(summary.segmentsRead, 1);
  assert.is(summary.records, 60);

  const flipped = log.copyTo(temporaryDirectory());
  flip(flipped.path(names[1] as string), 4096 + 100);
  assert.is(recover(flipped.storage).summary.lastSequence, 60);
  assert.is(
    throwsWith(() => recoverWith(flipped.storage, { everything: true }), "ERR_JOURNAL_DAMAGED").details.file,
    names[1],
  );

  const headless = log.copyTo(temporaryDirectory());
  flip(headless.path(names[1] as string), 20);
  assert.is(throwsWith(() => recover(headless.storage), "ERR_JOURNAL_DAMAGED").details.file, names[1]);

  const short = log.copyTo(temporaryDirectory());
  truncateSync(short.path(names[1] as string), 8192);
  assert.is(throwsWith(() => recover(short.storage), "ERR_JOURNAL_DAMAGED").details.file, names[1]);
});

/**
 * A log whose last segment was made from a used file: the first segment of another life, full of
 * batches.
 */
function logInUsedFile(): TestLog {
  const older = longLog();
  const used = readFileSync(older.path(older.segments()[0] as string));
  const log = new TestLog(temporaryDirectory());
  const name = log.segments()[0] as string;
  writeFileSync(log.path(reusedSpareName(used.length, 1)), used);
  log.append("before");
  log.writer.roll(used.length);
  assert.equal(
    readdirSync(log.directory).filter((each) => each.startsWith("spare-")),
    [],
  );
  assert.not.equal(log.segments(), [name]);
  return log;
}

test("leftovers in a used file are neither records nor a torn tail", () => {
  const log = logInUsedFile();
  log.append("a");
  log.append("b");
  for (let round = 0; round < 2; round += 1) {
    const { summary } = recover(log.storage);
    assert.is(summary.lastSequence, 3);
    assert.is(summary.tornBytes, 0);
  }
  assert.equal(readAll(log.storage, 3), ["before", "a", "b"]);
  throwsWith(() => recoverWith(log.storage, { strict: true }), "ERR_JOURNAL_TORN");
});

test("a torn batch in a used file is set aside, and damage before it is still seen", () => {
  const log = logInUsedFile();
  log.append("a");
  log.append("b".repeat(7000));
  const name = log.segments().at(-1) as string;
  const torn = log.copyTo(temporaryDirectory());
  flip(torn.path(name), 8192 + 5000);
  const { summary } = recover(torn.storage);
  assert.is(summary.lastSequence, 2);
  assert.ok(summary.tornBytes > 7000 && summary.tornBytes <= 8192, `${summary.tornBytes}`);
  flip(log.path(name), 4096 + 70);
  assert.is(throwsWith(() => recover(log.storage), "ERR_JOURNAL_DAMAGED").details.file, name);
});

test("a repeated batch that is gone here and there is damage", () => {
  const { log } = twoBatches();
  const [first] = log.segments() as [string];
  log.open();
  const second = log.segments()[1] as string;
  flip(log.path(second), 4096 + 70);
  assert.is(recover(log.copyTo(temporaryDirectory()).storage).nextSequence, 3, "its old copy counts");
  flip(log.path(first), LAST_BATCH + 70);
  throwsWith(() => recover(log.storage), "ERR_JOURNAL_DAMAGED");
});

test("a crash between any two steps of an opening leaves a log that opens whole", () => {
  const { log } = twoBatches();
  const before = log.copyTo(temporaryDirectory());
  log.open();
  const segment = log.segments()[1] as string;
  const whole = readFileSync(log.path(segment));
  const states: [string, (copy: TestLog) => void][] = [
    ["the temporary file only", (copy) => writeFileSync(copy.path(`${segment}.tmp`), whole)],
    ["half of the temporary file", (copy) => writeFileSync(copy.path(`${segment}.tmp`), whole.subarray(0, 4096))],
    ["the name, without what it repeats", (copy) => writeFileSync(copy.path(segment), whole.subarray(0, 4096))],
    ["the name, with nothing", (copy) => writeFileSync(copy.path(segment), Buffer.alloc(whole.length))],
    ["everything", (copy) => writeFileSync(copy.path(segment), whole)],
  ];
  for (const [what, bring] of states) {
    const copy = before.copyTo(temporaryDirectory());
    bring(copy);
    for (let crash = 0; crash < 3; crash += 1) {
      assert.is(recover(copy.storage).nextSequence, 3 + crash, what);
      copy.open();
      copy.append(`after ${crash}`);
    }
    assert.equal(readAll(copy.storage, 5), ["first", "last", "after 0", "after 1", "after 2"], what);
  }
});

test("unsafe file systems are refused, doubtful ones warned of", () => {
  for (const [magic, name, trust] of [
    [0x01021994, "tmpfs", "unsafe"],
    [-2_054_924_042, "ramfs", "unsafe"],
    [0x6969, "nfs", "unsafe"],
    [0xff534d42 | 0, "cifs", "unsafe"],
    [0x01021997, "9p", "unsafe"],
    [0xfe534d42 | 0, "smb2", "unsafe"],
    [0x794c7630, "overlay", "doubtful"],
    [0x61756673, "aufs", "doubtful"],
    [0x65735546, "fuse", "doubtful"],
    [0x2fc12fc1, "zfs", "safe"],
    [0xef53, "ext4", "safe"],
    [12345, "unknown", "unknown"],
  ] as const) {
    const kind = kindOf(magic);
    assert.is(kind.fileSystem, name);
    assert.is(kind.trust, trust);
    if (trust === "unsafe") throwsWith(() => guardStorage("/data", kind, false), "ERR_JOURNAL_UNSAFE_STORAGE");
    else guardStorage("/data", kind, false);
    guardStorage("/data", kind, true);
  }
});

test("a doubtful file system is warned of, once for a directory, unless allowed", async () => {
  const warnings: string[] = [];
  const listener = (warning: Error & { code?: string }): void =>
    void warnings.push(`${warning.code} ${warning.message}`);
  process.on("warning", listener);
  try {
    const overlay = kindOf(0x794c7630);
    guardStorage("/allowed", overlay, true);
    guardStorage("/container", overlay, false);
    guardStorage("/container", overlay, false);
    guardStorage("/mounted", kindOf(0x65735546), false);
    guardStorage("/safe", kindOf(0xef53), false);
    // Warnings are told in the next turn.
    await new Promise((resolve) => setImmediate(resolve));
  } finally {
    process.off("warning", listener);
  }
  // The test before has left a warning of /data.
  const own = warnings.filter((warning) => !warning.includes("/data"));
  assert.is(own.length, 2);
  assert.match(own[0] as string, /^MILLRACE_DOUBTFUL_STORAGE \/container is on overlay: /);
  assert.match(own[1] as string, "/mounted is on fuse");
});

test("a journal on a memory file system opens only when that is allowed, and says so", async () => {
  let isMemory = false;
  try {
    isMemory = storageKind("/dev/shm").fileSystem === "tmpfs";
  } catch {
    // Not on this system.
  }
  if (!isMemory) {
    console.log("# skipped: /dev/shm is no tmpfs here");
    return;
  }
  const directory = join("/dev/shm", `millrace-test-${process.pid}`);
  try {
    await rejectsWith(Journal.open({ directory: join(directory, "deep") }), "ERR_JOURNAL_UNSAFE_STORAGE");
    assert.is(existsSync(directory), false, "what is refused leaves nothing");
    const journal = await Journal.open({ directory, allowUnsafeStorage: true });
    assert.is(journal.stats().storage.fileSystem, "tmpfs");
    assert.match(journal.health().warnings.join("\n"), "tmpfs");
    await journal.close();
    // The same place as a storage, with the lock on a disk.
    const beside = { directory: join(temporaryDirectory(), "lock"), storage: { directory } };
    await rejectsWith(Journal.open(beside), "ERR_JOURNAL_UNSAFE_STORAGE");
    assert.is(existsSync(beside.directory), false, "what is refused leaves nothing");
    const again = await Journal.open({ ...beside, allowUnsafeStorage: true });
    assert.is(again.stats().storage.fileSystem, "tmpfs");
    await rejectsWith(again.backup(join(directory, "copy")), "ERR_JOURNAL_STORAGE");
    await again.close();
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

test("the keeper marks what is durable soon after the log goes idle", async () => {
  const directory = temporaryDirectory();
  const journal = await Journal.open({ directory });
  await Promise.all(Array.from({ length: 100 }, () => journal.append(Buffer.from("x"))));
  const storage = new NodeStorage(directory);
  await until(() => readMarks(storage)?.durableSequence === 100, "marks know of 100 records");
  await journal.append(Buffer.from("y"));
  await until(() => readMarks(storage)?.durableSequence === 101, "marks know of one more");
  await journal.close();
  const name = readdirSync(directory).find((each) => each.startsWith("log-")) as string;
  renameSync(join(directory, name), join(directory, "gone"));
  await rejectsWith(Journal.open({ directory }), "ERR_JOURNAL_DAMAGED");
});

test("a reserve that an opening can't use is removed, and another one made", async () => {
  const small = { recordBytesMax: 8192, batchBytesMax: 16_384, segmentBytesMax: 65_536, ringBytes: 32_768 };
  const unusable = [
    { recovery: "strict", left: reusedReserveName(65_536, 7) },
    { recovery: "tolerateTornTail", left: reserveName(4096) },
  ] as const;
  for (const { recovery, left } of unusable) {
    const directory = temporaryDirectory();
    const names = (): string[] => readdirSync(directory);
    let journal = await Journal.open({ directory, ...small });
    await until(() => names().includes(reserveName(65_536)), "the reserve is there");
    await journal.close();
    renameSync(join(directory, reserveName(65_536)), join(directory, left));
    writeFileSync(join(directory, reusedSpareName(65_536, 8)), Buffer.alloc(65_536, 1));
    journal = await Journal.open({ directory, ...small, recovery });
    assert.not(names().includes(left));
    if (recovery === "strict") assert.not(names().includes(reusedSpareName(65_536, 8)));
    await until(() => names().includes(reserveName(65_536)), "another reserve is made");
    await journal.append(Buffer.from("a"));
    await journal.close();
  }
});

test("what is given up becomes a reserve of the right size first, then spares", () => {
  const directory = temporaryDirectory();
  const storage = new NodeStorage(directory);
  for (let id = 1; id <= 5; id += 1) writeFileSync(join(directory, segmentName(id)), Buffer.alloc(16_384, id));
  const reuse = { isReusing: true, wanted: 16_384, most: 16_384, reserve: 8192 };
  for (const step of giveUpSegments(storage, 5, reuse)) assert.is(step, undefined);
  assert.equal(readdirSync(directory).toSorted(), [
    segmentName(5),
    reusedReserveName(8192, 1),
    reusedSpareName(16_384, 2),
    reusedSpareName(16_384, 3),
  ]);
  assert.is(readFileSync(join(directory, reusedReserveName(8192, 1))).length, 8192);
  rmSync(join(directory, reusedReserveName(8192, 1)));
  for (const step of giveUpSegments(storage, 6, { ...reuse, isReusing: false })) assert.is(step, undefined);
  assert.equal(readdirSync(directory).length, 2, "without reuse it is removed");
});

test.run();
