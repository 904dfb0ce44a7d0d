import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { RangeSet, type RecordStates } from "@millrace/intake";
import { decodeAck } from "@millrace/intake/internal/format/state-records";
import { WINDOW_DEFAULTS } from "@millrace/intake/internal/states/dedupe-window";
import { decodeStates, encodeStates } from "@millrace/intake/internal/snapshot/snapshot";
import { Journal, NodeStorage, RECORD_TYPE } from "@millrace/journal";
import { LogReader, RecordCursor, SegmentList } from "@millrace/journal/kernel";
import { isMillraceError } from "@millrace/base";
import { type Millrace, type MillraceOptions, open } from "millrace";
import type * as recorder from "../fixtures/recorder.ts";
import { rejectsWith, temporaryDirectory, throwsWith, until } from "../support.ts";

type Recorder = Millrace<typeof recorder>;
const recorderUrl = new URL("../fixtures/recorder.js", import.meta.url);
const SMALL = { recordBytesMax: 8192, batchBytesMax: 16_384, segmentBytesMax: 65_536, ringBytes: 32_768 };

function openIn(directory: string, journal: Partial<MillraceOptions["journal"]> = {}): Promise<Recorder> {
  return open<typeof recorder>({
    handlers: recorderUrl,
    processors: 1,
    journal: { directory: join(directory, "journal"), retryBaseMs: 1, failuresMax: 0, ...SMALL, ...journal },
  });
}

function segments(directory: string): string[] {
  return readdirSync(join(directory, "journal")).filter((name) => name.startsWith("log-"));
}

/** The first words of the lines that handlers have written. */
function notes(file: string): string[] {
  if (!existsSync(file)) return [];
  return readFileSync(file, "utf8")
    .split("\n")
    .slice(0, -1)
    .map((line) => line.split(" ")[0] as string);
}

/**
 * Ten rounds of records, and more until `condition` holds: what is worth copying depends on how
 * full the segments got.
 */
async function publishUntil(
  mill: Recorder,
  file: string,
  name: string,
  condition: () => boolean,
  what: string,
): Promise<void> {
  for (let round = 0; round < 10 || (round < 100 && !condition()); round += 1) {
    await publishMany(mill, file, `${name}${round}-`, 80);
  }
  await until(condition, what);
}

async function publishMany(mill: Recorder, file: string, name: string, count: number): Promise<void> {
  await Promise.all(
    Array.from({ length: count }, async (_, n) => {
      const acknowledgement = await mill.publish.note({ file, text: `${name}${n}-${"x".repeat(1000)}` });
      await acknowledgement.done;
    }),
  );
}

function intakeOf(mill: Recorder): NonNullable<ReturnType<Recorder["stats"]>["intake"]> {
  const { intake } = mill.stats();
  if (intake === undefined) throw new Error("there is an intake");
  return intake;
}

test("finished segments are deleted at work, and a restart begins at the checkpoint", async () => {
  const directory = temporaryDirectory();
  const file = join(directory, "notes");
  let mill = await openIn(directory);
  let most = 0;
  for (let round = 0; round < 12; round += 1) {
    await publishMany(mill, file, `${round}-`, 100);
    most = Math.max(most, segments(directory).length);
  }
  await until(() => intakeOf(mill).firstSequence > 800, "finished records are given up");
  // A segment is given up first, and deleted then.
  await until(() => segments(directory).length < 12, "their segments are deleted");
  assert.is(intakeOf(mill).checkpointError, undefined);
  const first = intakeOf(mill).firstSequence;
  await mill.close();

  mill = await openIn(directory);
  assert.ok(intakeOf(mill).firstSequence >= first);
  assert.is(intakeOf(mill).recovered, 0);
  await mill.drain();
  assert.is(notes(file).length, 1200, "nothing is delivered again");
  await publishMany(mill, file, "later", 3);
  await mill.close();
});

test("with retain: all nothing is deleted", async () => {
  const directory = temporaryDirectory();
  const file = join(directory, "notes");
  const mill = await openIn(directory, { retain: "all" });
  await publishMany(mill, file, "n", 400);
  await mill.close();
  const journal = await Journal.open({ directory: join(directory, "journal"), verifyAll: true });
  assert.is(journal.recovery.firstSequence, 1);
  await journal.close();
});

test("a record that waits for its retry is copied forward, and keeps its sequence", async () => {
  const directory = temporaryDirectory();
  const file = join(directory, "notes");
  const failBelow = 6;
  const attempts = { attemptsMax: 20 };
  // It waits for a random part of an hour, then of two and so on: that it fails so often within
  // this test doesn't happen.
  let mill = await openIn(directory, { ...attempts, retryBaseMs: 3_600_000, retryMaxMs: 86_400_000 });
  const poison = await mill.publish.note({ file, text: "poison", failBelow });
  await until(() => intakeOf(mill).waitingRetries === 1, "it waits");
  await publishUntil(mill, file, "", () => intakeOf(mill).copiedForward > 0, "it is copied forward");
  await until(() => intakeOf(mill).firstSequence > poison.sequence, "and its old segment is given up");
  await publishUntil(mill, file, "again", () => intakeOf(mill).copiedForward > 1, "and again");
  const pending = rejectsWith(poison.done, "ERR_INTAKE_CLOSED");
  await mill.close();
  await pending;

  mill = await openIn(directory, attempts);
  assert.is(intakeOf(mill).recovered, 1);
  assert.is((await mill.drain()).waitingRetry, 1, "its due time has outlived the process");
  const lines = readFileSync(file, "utf8").split("\n");
  const handled = lines.filter((line) => line.startsWith("poison "));
  assert.equal(handled, [`poison ${poison.sequence} 1`]);
  await mill.close();
});

test("whoever awaits a record is told when it is done at its new place", async () => {
  const directory = temporaryDirectory();
  const file = join(directory, "notes");
  const obstacle = join(directory, "obstacle");
  writeFileSync(obstacle, "");
  const mill = await openIn(directory, { retryBaseMs: 100, retryMaxMs: 100 });
  // Much of a segment of this size: they are worth copying for what they hold behind them.
  const texts = Array.from({ length: 20 }, (_, index) => `slow${index}`);
  const slow = await Promise.all(texts.map((text) => mill.publish.note({ file, text, failWhile: obstacle })));
  const told: string[] = [];
  const done = Promise.all(
    slow.map(async (acknowledgement, index) => {
      await acknowledgement.done;
      told.push(texts[index] as string);
    }),
  );
  await publishUntil(mill, file, "", () => intakeOf(mill).copiedForward >= slow.length, "they are copied forward");
  assert.equal(told, [], "none of them is done");
  rmSync(obstacle);
  await done;
  assert.equal(told.toSorted(), texts.toSorted());
  await mill.close();
});

test("no ACK names a replaced place, and nothing is copied that has its ACK", async () => {
  const directory = temporaryDirectory();
  const file = join(directory, "notes");
  const kept = join(directory, "kept");
  mkdirSync(kept);
  const mill = await openIn(directory);
  // Those that are given up too soon are missing below.
  const keeping = setInterval(() => keepSegments(directory, kept, 1), 5);
  const slow = await Promise.all(
    Array.from({ length: 300 }, (_, n) => mill.publish.slowly({ file, text: `slow${n}`, waitMs: 1000 + n * 20 })),
  );
  let isOver = false;
  const done = Promise.all(slow.map((acknowledgement) => acknowledgement.done)).then(() => (isOver = true));
  for (let round = 0; !isOver; round += 1) await publishMany(mill, file, `${round}-`, 40);
  await done;
  const { copiedForward } = intakeOf(mill);
  assert.ok(copiedForward > 100, `${copiedForward} copies`);
  await mill.close();
  clearInterval(keeping);
  keepSegments(directory, kept, 0);

  const [replaced, acknowledged] = [new Set<number>(), new RangeSet()];
  let copies = 0;
  for (const cursor of recordsIn(kept)) {
    if (cursor.type === RECORD_TYPE.data && cursor.replaces > 0) {
      copies += 1;
      assert.not(acknowledged.has(cursor.replaces), `${cursor.replaces} has its ACK and is copied`);
      replaced.add(cursor.replaces);
    }
    if (cursor.type !== RECORD_TYPE.ack) continue;
    const ranges = new RangeSet();
    decodeAck(cursor.payload(), ranges);
    for (const place of replaced) assert.not(ranges.has(place), `${place} is replaced and gets its ACK`);
    for (let index = 0; index < ranges.ranges; index += 1) acknowledged.addRange(...ranges.range(index));
  }
  assert.ok(copies > copiedForward / 2, `${copies} copies in the segments that were kept`);
});

/** The records of all segments in a directory, where some may be missing. */
function* recordsIn(directory: string): Generator<RecordCursor, void> {
  const cursor = new RecordCursor();
  const storage = new NodeStorage(directory);
  for (const { baseSequence } of new SegmentList(storage).read()) {
    const reader = new LogReader(storage);
    reader.seek(baseSequence);
    const { segment } = reader.segment;
    while (hasNext(reader) && reader.segment.segment === segment) {
      cursor.reset(reader.body, reader.batch.firstSequence);
      while (cursor.next()) yield cursor;
    }
    reader.close();
  }
}

/** False also where the next segment is missing. */
function hasNext(reader: LogReader): boolean {
  try {
    return reader.next(Number.MAX_SAFE_INTEGER);
  } catch (thrown) {
    if (isMillraceError(thrown, "ERR_JOURNAL_DAMAGED") || isMillraceError(thrown, "ERR_JOURNAL_TRUNCATED"))
      return false;
    throw thrown;
  }
}

/** Keeps copies of the first segments of the log, but the last `left`, that aren't kept yet. */
function keepSegments(directory: string, kept: string, left: number): void {
  const names = segments(directory).toSorted();
  for (const name of names.slice(0, names.length - left)) {
    if (existsSync(join(kept, name))) continue;
    try {
      copyFileSync(join(directory, "journal", name), join(kept, name));
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code !== "ENOENT") throw thrown;
    }
  }
}

test("dead records stay in the journal with their errors, whatever comes after", async () => {
  const directory = temporaryDirectory();
  const file = join(directory, "notes");
  let mill = await openIn(directory, { attemptsMax: 1 });
  const dead = await mill.publish.note({ file, text: "hopeless", failBelow: 100 });
  await rejectsWith(dead.done, "ERR_RECORD_DEAD");
  for (let round = 0; round < 12; round += 1) await publishMany(mill, file, `${round}-`, 80);
  await until(() => intakeOf(mill).firstSequence > dead.sequence, "its segment is given up");
  assert.is(intakeOf(mill).deadKept, 1);
  await mill.close();

  mill = await openIn(directory);
  assert.is(intakeOf(mill).recovered, 0, "it is still dead");
  assert.is(intakeOf(mill).deadKept, 1);
  await mill.close();
  const journal = await Journal.open({ directory: join(directory, "journal"), ...SMALL });
  const kept = new Set<string>();
  for await (const record of journal.read()) {
    if (record.type === 1 && record.origin === dead.sequence) kept.add("record");
    if (record.type === 5) kept.add("error");
  }
  assert.equal([...kept].toSorted(), ["error", "record"]);
  await journal.close();
});

test("the states of records survive a snapshot, and are the same from the log alone", async () => {
  const directory = temporaryDirectory();
  const file = join(directory, "notes");
  const mill = await openIn(directory, { attemptsMax: 1 });
  await publishMany(mill, file, "n", 50);
  await (await mill.publish.note({ file, text: "dead", failBelow: 9 })).done.catch(() => {});
  await mill.close();
  const journal = await Journal.open({ directory: join(directory, "journal"), ...SMALL });
  const checkpoint = await journal.lastCheckpoint();
  await journal.close();
  const decoded = (bytes: Buffer): RecordStates => decodeStates(bytes, WINDOW_DEFAULTS, () => Buffer.alloc(0));
  const states = decoded(checkpoint?.bytes as Buffer);
  assert.is(states.deadCount, 1);
  assert.ok(states.isDead(51) || [...Array(200).keys()].some((sequence) => states.isDead(sequence)));
  assert.equal(encodeStates(decoded(encodeStates(states))), encodeStates(states));
  throwsWith(() => decoded(Buffer.alloc(100, 9)), "ERR_RECORD_UNREADABLE");
});

test.run();
