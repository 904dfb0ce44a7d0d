import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { MessageChannel, receiveMessageOnPort } from "node:worker_threads";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Journal, NodeStorage, type Storage } from "@millrace/journal";
import { backUpFromOutside } from "@millrace/journal/kernel";
import { segmentName, type SegmentHeader } from "@millrace/journal/internal/files/format";
import { type Marks, readMarks, writeMarks } from "@millrace/journal/internal/files/marks";
import { readHeader, segmentIds } from "@millrace/journal/internal/files/segments";
import { reusedSpareName } from "@millrace/journal/internal/files/spare";
import { backUp } from "@millrace/journal/internal/keeper/backup";
import { Keeper } from "@millrace/journal/internal/keeper/keeper";
import { type JournalMemory, OPEN, POISONED, STATE } from "@millrace/journal/internal/memory/control";
import { WRITER_STATS_BYTES, writerStats } from "@millrace/journal/internal/memory/stats";
import type { OpenMode } from "@millrace/journal/internal/storage/storage";
import { rejectsWith, temporaryDirectory, throwsWith } from "../support.ts";

const SMALL = { recordBytesMax: 8192, batchBytesMax: 16_384, segmentBytesMax: 65_536, ringBytes: 32_768 };

/** Of three segments, with checkpoints, and with its first records given up. */
async function closedJournal(): Promise<string> {
  const directory = temporaryDirectory();
  const journal = await Journal.open({ directory, ...SMALL });
  for (let n = 0; n < 40; n += 1) await journal.append(Buffer.alloc(8000, n));
  await journal.checkpoint(Buffer.from("first"), 20);
  await journal.checkpoint(Buffer.from("second"), 20);
  await journal.truncateBefore(10);
  await journal.close();
  return directory;
}

async function opensWhole(copy: string): Promise<void> {
  const opened = await Journal.open({ directory: copy, ...SMALL });
  assert.is(opened.recovery.lastSequence, 40);
  assert.is((await opened.lastCheckpoint())?.bytes.toString(), "second");
  assert.is((await opened.get(40))?.payload[0], 39);
  await opened.close();
}

test("a copy that was broken off at any step is refused, or is whole", async () => {
  const directory = await closedJournal();
  const storage = new NodeStorage(directory);
  const marks = readMarks(storage);
  assert.ok(marks !== undefined && marks.durableSequence >= 40);
  const copy = join(temporaryDirectory(), "copy");
  const steps = backUp(storage, copy, marks, 40);
  let [refused, whole] = [0, 0];
  for (let step = steps.next(); step.done !== true; step = steps.next()) {
    // What is there if the process is killed now.
    const left = join(temporaryDirectory(), "left");
    cpSync(copy, left, { recursive: true });
    if (readdirSync(left).length === 0) continue;
    const opened = await Journal.open({ directory: left, ...SMALL }).catch((thrown: unknown) => {
      assert.is((thrown as { code?: string }).code, "ERR_JOURNAL_DAMAGED");
    });
    if (opened === undefined) {
      refused += 1;
      continue;
    }
    whole += 1;
    assert.is(opened.recovery.lastSequence, 40);
    assert.is((await opened.lastCheckpoint())?.bytes.toString(), "second");
    await opened.close();
  }
  assert.ok(refused >= 2, `${refused} refused`);
  assert.ok(whole <= 1, `${whole} whole`);
});

test("two backups at once into one directory are one copy and a refusal", async () => {
  const directory = await closedJournal();
  const storage = new NodeStorage(directory);
  const marks = readMarks(storage) as Marks;
  for (const stepsBetween of [1, 2, 3]) {
    const copy = join(temporaryDirectory(), "copy");
    const [first, second] = [backUp(storage, copy, marks, 40), backUp(storage, copy, marks, 40)];
    // Both have found it empty.
    for (const steps of [first, second]) assert.not(steps.next().done);
    for (let step = 0; step < stepsBetween; step += 1) first.next();
    throwsWith(() => [...second], "ERR_JOURNAL_STORAGE");
    for (const _ of first);
    await opensWhole(copy);
  }
});

test("a backup that fails leaves the files of others", async () => {
  const directory = await closedJournal();
  const storage = new NodeStorage(directory);
  const marks = readMarks(storage) as Marks;
  const last = readdirSync(directory)
    .filter((name) => name.startsWith("log-"))
    .toSorted()
    .at(-1) as string;
  for (const name of ["marks", "checkpoint-a", "checkpoint-b", last]) {
    const copy = join(temporaryDirectory(), "copy");
    const steps = backUp(storage, copy, marks, 40);
    steps.next();
    for (const foreign of [name, "note"]) writeFileSync(join(copy, foreign), "mine");
    throwsWith(() => [...steps], "ERR_JOURNAL_STORAGE");
    assert.equal(readdirSync(copy).toSorted(), [name, "note"].toSorted());
    for (const foreign of [name, "note"]) assert.is(readFileSync(join(copy, foreign), "utf8"), "mine");
  }
});

test("a backup that fails tells its cause, whatever becomes of its files", async () => {
  const directory = await closedJournal();
  const storage = new NodeStorage(directory);
  const marks = readMarks(storage) as Marks;
  const copy = join(temporaryDirectory(), "copy");
  const steps = backUp(storage, copy, marks, 40);
  while (!existsSync(join(copy, "checkpoint-a"))) steps.next();
  rmSync(join(copy, "checkpoint-a"));
  const next = segmentName(marks.firstSegment + 1);
  writeFileSync(join(copy, next), "mine");
  const error = throwsWith(() => [...steps], "ERR_JOURNAL_STORAGE");
  assert.match(error.message, "EEXIST");
  assert.equal(readdirSync(copy), [next]);
});

test("a segment that its owner gives up while it is copied isn't in the copy", async () => {
  for (const isReused of [true, false]) {
    const directory = await closedJournal();
    const storage = new NodeStorage(directory);
    const marks = readMarks(storage) as Marks;
    const name = segmentName(marks.firstSegment);
    const next = readHeader(storage, segmentName(marks.firstSegment + 1)) as SegmentHeader;
    const copy = join(temporaryDirectory(), "copy");
    const giveUp = (): void => {
      const { generation } = readMarks(storage) as Marks;
      const moved = { firstSegment: next.segment, firstSequence: next.baseSequence };
      for (const step of [1, 2]) writeMarks(storage, { ...marks, ...moved, generation: generation + step });
      const path = join(directory, name);
      const { size } = statSync(path);
      truncateSync(path, isReused ? size : 4096);
      if (!isReused) return;
      renameSync(path, join(directory, reusedSpareName(size, marks.firstSegment)));
      // Its next life.
      writeFileSync(join(directory, reusedSpareName(size, marks.firstSegment)), Buffer.alloc(size, "foreign"));
    };
    // The copying has the file open.
    const isCopied = (opened: string): boolean => opened === name && existsSync(join(copy, name));
    let times = 0;
    const over: Storage = Object.assign(new NodeStorage(directory), {
      open(opened: string, mode: OpenMode) {
        const file = storage.open(opened, mode);
        if (isCopied(opened) && times++ === 0) giveUp();
        return file;
      },
    });
    assert.is(backUpFromOutside(over, directory, copy).firstSequence, next.baseSequence);
    assert.is(times, 1);
    assert.not(existsSync(join(copy, name)));
    await opensWhole(copy);
  }
});

test("no copy has a checkpoint that came after the scan without its records", async () => {
  const directory = await closedJournal();
  const before = join(temporaryDirectory(), "before");
  cpSync(directory, before, { recursive: true });
  const journal = await Journal.open({ directory, ...SMALL });
  for (let n = 41; n <= 50; n += 1) await journal.append(Buffer.alloc(8000, n));
  await journal.checkpoint(Buffer.from("third"), 51);
  await journal.close();
  const copy = join(temporaryDirectory(), "copy");
  const newest = segmentName(segmentIds(new NodeStorage(before)).at(-1) as number);
  let storage = new NodeStorage(before);
  let isScanned = false;
  const over: Storage = Object.assign(new NodeStorage(directory), {
    list: () => storage.list(),
    open(name: string, mode: OpenMode) {
      isScanned ||= name === newest;
      // The journal has gone on.
      if (isScanned && name.startsWith("checkpoint-")) storage = new NodeStorage(directory);
      return storage.open(name, mode);
    },
  });
  assert.is(backUpFromOutside(over, directory, copy).lastSequence, 50);
  const opened = await Journal.open({ directory: copy, ...SMALL });
  assert.is((await opened.lastCheckpoint())?.bytes.toString(), "third");
  await opened.close();
});

test("a segment that is cut while it is copied is damage", async () => {
  const directory = await closedJournal();
  const storage = new NodeStorage(directory);
  const marks = readMarks(storage) as Marks;
  const copy = join(temporaryDirectory(), "copy");
  const steps = backUp(storage, copy, marks, 40);
  const last = segmentName(segmentIds(storage).at(-1) as number);
  while (!existsSync(join(copy, segmentName(marks.firstSegment)))) steps.next();
  truncateSync(join(directory, last), 8192);
  const error = throwsWith(() => [...steps], "ERR_JOURNAL_DAMAGED");
  assert.is(error.details.file, last);
  assert.is(error.details.offset, 8192);
  assert.equal(readdirSync(copy), []);
});

/** A keeper of a closed journal whose only command is a backup, and what it answers. */
function keeperOf(
  directory: string,
  copy: string,
  faults: (control: Int32Array) => Partial<Storage> = () => ({}),
): { readonly keeper: Keeper; readonly answer: () => unknown; readonly close: () => void } {
  const control = new Int32Array(new SharedArrayBuffer(65_536));
  const memory = {
    control: control.buffer,
    stats: new SharedArrayBuffer(WRITER_STATS_BYTES),
    threads: new SharedArrayBuffer(4096),
    keeperThread: 0,
  } as unknown as JournalMemory;
  Atomics.store(control, STATE, OPEN);
  writerStats(memory.stats).set("durableSequence", 40);
  const storage = new NodeStorage(directory);
  const { logId, firstSegment, firstSequence } = readMarks(storage) as Marks;
  const limits = { ...SMALL, segmentBytesFirst: SMALL.segmentBytesMax };
  const start = { directory, logId, firstSegment, firstSequence, unread: [], limits, isReusing: true, isSynced: true };
  const { port1: theirs, port2: ours } = new MessageChannel();
  ours.postMessage({ id: 1, kind: "backup", directory: copy });
  const over: Storage = Object.assign(new NodeStorage(directory), faults(control));
  let now = 0;
  const keeper = new Keeper(over, memory, start, theirs, () => (now += 60));
  return {
    keeper,
    answer: () => (receiveMessageOnPort(ours) as { message: unknown } | undefined)?.message,
    close: () => theirs.close(),
  };
}

test("a backup that the journal's end breaks off leaves nothing", async () => {
  const directory = await closedJournal();
  const copy = join(temporaryDirectory(), "copy");
  const broken = keeperOf(directory, copy, (control) => ({
    open(name, mode) {
      if (existsSync(copy) && readdirSync(copy).includes("marks")) Atomics.store(control, STATE, POISONED);
      return new NodeStorage(directory).open(name, mode);
    },
  }));
  broken.keeper.run();
  assert.is(broken.answer(), undefined);
  assert.equal(readdirSync(copy), []);
  broken.close();
});

test("a backup over which the keeper dies is begun anew by the next one", async () => {
  const directory = await closedJournal();
  const copy = join(temporaryDirectory(), "copy");
  const storage = new NodeStorage(directory);
  const marks = readMarks(storage) as Marks;
  // The log is further than the marks: the keeper is about to write them.
  writeMarks(storage, { ...marks, generation: marks.generation + 1, durableSequence: 39 });
  const first = keeperOf(directory, copy, () => ({
    open(name, mode) {
      const isFailing = name === "marks" && mode === "write" && readdirSync(copy).includes("marks");
      if (isFailing) throw Object.assign(new Error("EIO"), { code: "EIO", errno: -5, syscall: "open" });
      return new NodeStorage(directory).open(name, mode);
    },
  }));
  assert.throws(() => first.keeper.run(), "EIO");
  assert.is(first.answer(), undefined);
  first.close();
  const second = keeperOf(directory, copy);
  let answer: unknown;
  while (answer === undefined) {
    second.keeper.turn();
    answer = second.answer();
  }
  second.close();
  assert.is((answer as { result?: { lastSequence: number } }).result?.lastSequence, 40);
  await opensWhole(copy);
});

test("a backup into the journal's own directory is refused", async () => {
  const directory = temporaryDirectory();
  const journal = await Journal.open({ directory, ...SMALL });
  try {
    const link = join(temporaryDirectory(), "link");
    symlinkSync(directory, link);
    for (const place of [
      directory,
      join(directory, "copy"),
      join(directory, "a", "..", "b", "c"),
      join(link, "copy"),
    ]) {
      await rejectsWith(journal.backup(place), "ERR_JOURNAL_STORAGE");
    }
    assert.equal(
      readdirSync(directory).filter((name) => ["a", "b", "copy"].includes(name)),
      [],
    );
    // Its name only begins like the journal's.
    const beside = `${directory}-copy`;
    mkdirSync(beside);
    assert.is((await journal.backup(beside)).lastSequence, 0);
  } finally {
    await journal.close();
  }
});

test.run();
