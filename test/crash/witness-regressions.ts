// A file that proves that records were durable is believed, whatever happened to the other files.
import * as assert from "uvu/assert";
import { type MillraceError } from "@millrace/base";
import { SimulatedStorage } from "@millrace/journal/internal/storage/simulated.fault";
import { appendTo, darken, keeperOn, type Opened, openOn, rollOver, textsIn, threeSegments } from "./built.ts";
import type { Engine } from "./engine.ts";
import { LIMITS } from "./rig.ts";

const PAGE = 4096;

/** Throws unless opening the disk is refused with this code, and changes nothing. */
function refuses(engine: Engine, disk: SimulatedStorage, code: string, what: string): void {
  const before = disk.fingerprint();
  let found: unknown = "it opened";
  try {
    engine.opening.openLog(disk, LIMITS, () => 1);
  } catch (thrown) {
    found = (thrown as MillraceError).code;
  }
  assert.is(found, code, what);
  assert.is(disk.fingerprint(), before, `${what}: nothing has changed`);
}

/** Puts a file as it was on another disk. */
function putBack(from: SimulatedStorage, to: SimulatedStorage, name: string): void {
  if (to.list().includes(name)) to.remove(name);
  if (!from.list().includes(name)) return;
  const file = to.open(name, "create");
  file.write([from.contentOf(name)], 0);
  file.close();
}

function flipBit(disk: SimulatedStorage, name: string, offset: number): void {
  const byte = disk.contentOf(name).readUInt8(offset);
  disk.corrupt(name, offset, Uint8Array.of(byte ^ 0x10));
}

const isSegment = (name: string): boolean => name.startsWith("log-");

/** Some records, a copy of the directory, more records, a checkpoint behind all of them. */
function withCheckpoint(engine: Engine): { readonly before: SimulatedStorage; readonly opened: Opened } {
  const opened = threeSegments(engine);
  const before = opened.disk.fork();
  for (let number = 4; number <= 9; number += 1) appendTo(engine, opened, `record ${number}`);
  const keeper = keeperOn(engine, opened);
  keeper.checkpoint("everything so far", 10);
  keeper.end();
  return { before, opened };
}

function believesCheckpoints(engine: Engine): void {
  const cases: readonly [what: string, putBackNames: (name: string) => boolean, dropped: readonly string[]][] = [
    ["log and marks of an earlier copy", (name) => isSegment(name) || name === "marks", []],
    ["the log of an earlier copy, no marks", isSegment, ["marks"]],
    ["with one checkpoint of two", (name) => isSegment(name) || name === "marks", ["checkpoint-a"]],
    ["with the other one", (name) => isSegment(name) || name === "marks", ["checkpoint-b"]],
  ];
  for (const [what, isPutBack, dropped] of cases) {
    const { before, opened } = withCheckpoint(engine);
    const disk = darken(opened.disk);
    for (const name of disk.list()) if (isPutBack(name)) putBack(before, disk, name);
    for (const name of dropped) disk.remove(name);
    refuses(engine, disk, "ERR_JOURNAL_DAMAGED", what);
  }
  // A torn snapshot behind a first page that is whole proves as much.
  const { before, opened } = withCheckpoint(engine);
  const disk = darken(opened.disk);
  for (const name of disk.list()) if (isSegment(name) || name === "marks") putBack(before, disk, name);
  for (const name of ["checkpoint-a", "checkpoint-b"]) flipBit(disk, name, PAGE + 3);
  refuses(engine, disk, "ERR_JOURNAL_DAMAGED", "with torn snapshots");
  // Everything put back is an older log, and a sound one.
  assert.equal(textsIn(engine, before), ["record 1", "record 2", "record 3"]);
}

/** A log without segments is a new one only where nothing speaks of an older one. */
function refusesLogsWithoutSegments(engine: Engine): void {
  for (const kept of [["marks"], ["checkpoint-a"], ["checkpoint-b"], ["marks", "checkpoint-a", "checkpoint-b"]]) {
    const disk = darken(withCheckpoint(engine).opened.disk);
    for (const name of disk.list()) if (!kept.includes(name)) disk.remove(name);
    refuses(engine, disk, "ERR_JOURNAL_DAMAGED", `only ${kept.join(", ")}`);
  }
  // Marks of a log that never held a record speak of a log too.
  const disk = openOn(engine, new SimulatedStorage()).disk.fork();
  for (const name of disk.list()) if (isSegment(name)) disk.remove(name);
  refuses(engine, disk, "ERR_JOURNAL_DAMAGED", "marks of an empty log");
}

/** Marks or a checkpoint of another log: nothing is deleted on their word. */
function refusesForeignWitnesses(engine: Engine): void {
  const other = threeSegments(engine);
  for (let number = 4; number <= 6; number += 1) {
    rollOver(engine, other);
    appendTo(engine, other, `record ${number}`);
  }
  const keeper = keeperOn(engine, other);
  keeper.checkpoint("of another log", 7);
  keeper.truncate(7);
  keeper.end();
  assert.ok((engine.marks.readMarks(other.disk)?.firstSegment ?? 0) > 3, "its marks give up what the other log has");
  for (const name of ["marks", "checkpoint-a", "checkpoint-b"]) {
    const disk = darken(threeSegments(engine).disk);
    putBack(other.disk, disk, name);
    refuses(engine, disk, "ERR_JOURNAL_DAMAGED", `${name} of another log`);
  }
  // One that speaks of nothing that this log hasn't.
  const early = threeSegments(engine);
  const first = keeperOn(engine, early);
  first.checkpoint("of another log", 1);
  first.end();
  const mixed = darken(threeSegments(engine).disk);
  putBack(early.disk, mixed, "checkpoint-b");
  refuses(engine, mixed, "ERR_JOURNAL_DAMAGED", "an early checkpoint of another log");
  // Segments of another log in front of this one's: its own marks would have them removed.
  const { opened } = withCheckpoint(engine);
  const given = keeperOn(engine, opened);
  given.truncate(10);
  given.end();
  const mine = darken(opened.disk);
  for (const segment of [1, 2]) putBack(early.disk, mine, engine.format.segmentName(segment));
  refuses(engine, mine, "ERR_JOURNAL_DAMAGED", "segments of another log in front");
  // The same without a word of what was durable.
  const disk = darken(threeSegments(engine).disk);
  disk.remove("marks");
  engine.marks.writeMarks(disk, {
    logId: other.logId,
    generation: 1,
    durableSequence: 0,
    firstSegment: 99,
    firstSequence: 1,
  });
  refuses(engine, disk, "ERR_JOURNAL_DAMAGED", "marks of another log that know of no record");
}

/**
 * After a close a loss at the end is noticed: of the newest segment, or by a cut between two
 * batches.
 */
function missesTheEnd(engine: Engine): void {
  const opened = threeSegments(engine);
  appendTo(engine, opened, "record 4");
  appendTo(engine, opened, "record 5");
  const { endOffset } = { endOffset: 2 * PAGE };
  const keeper = keeperOn(engine, opened);
  opened.log.close();
  keeper.finish();
  keeper.end();
  const newest = opened.disk.list().filter(isSegment).toSorted().at(-1) as string;
  for (const cut of [undefined, endOffset, endOffset + PAGE]) {
    const disk = darken(opened.disk);
    if (cut === undefined) disk.remove(newest);
    else disk.open(newest, "write").truncate(cut);
    refuses(engine, disk, "ERR_JOURNAL_DAMAGED", cut === undefined ? `${newest} is gone` : `${newest} ends at ${cut}`);
  }
  assert.is(textsIn(engine, darken(opened.disk)).length, 5);
}

/** A log that dies right after it was opened has marks, whatever the keeper came to. */
function marksFromTheBeginning(engine: Engine): void {
  const first = openOn(engine, new SimulatedStorage());
  for (let number = 1; number <= 3; number += 1) appendTo(engine, first, `record ${number}`);
  // As a build has left it that wrote marks later, or as a copy without them.
  first.disk.remove("marks");
  const again = openOn(engine, first.disk.fork());
  const newest = again.disk.list().filter(isSegment).toSorted().at(-1) as string;
  const oldest = again.disk.list().filter(isSegment).toSorted()[0] as string;
  const disk = darken(again.disk);
  disk.remove(newest);
  disk.open(oldest, "write").truncate(2 * PAGE);
  refuses(engine, disk, "ERR_JOURNAL_DAMAGED", "two of three records are gone");
}

/** One checkpoint, and the log given up before it; then a bit of one file, or both. */
function neverLeansOnOneCheckpoint(engine: Engine): void {
  const { opened } = withCheckpoint(engine);
  const keeper = keeperOn(engine, opened);
  keeper.truncate(10);
  keeper.end();
  assert.not.ok(opened.disk.list().includes(engine.format.segmentName(1)), "the log was given up");
  const found = (disk: SimulatedStorage): string | undefined => {
    engine.opening.openLog(disk, LIMITS, () => 1);
    return engine.checkpoint.readCheckpoints(disk, opened.logId)[0]?.bytes.toString();
  };
  for (const name of ["checkpoint-a", "checkpoint-b"]) {
    for (const offset of [1, 33, 41, PAGE + 5]) {
      const disk = darken(opened.disk);
      flipBit(disk, name, offset);
      assert.is(found(disk), "everything so far", `a bit of ${name} at ${offset}`);
    }
    const disk = darken(opened.disk);
    disk.remove(name);
    assert.is(found(disk), "everything so far", `${name} is gone`);
  }
  const gone = darken(opened.disk);
  for (const name of ["checkpoint-a", "checkpoint-b"]) gone.remove(name);
  refuses(engine, gone, "ERR_JOURNAL_DAMAGED", "both checkpoints are gone");
  const torn = darken(opened.disk);
  for (const name of ["checkpoint-a", "checkpoint-b"]) flipBit(torn, name, PAGE + 5);
  refuses(engine, torn, "ERR_JOURNAL_DAMAGED", "a bit of both checkpoints");
}

/** A checkpoint that is the only whole one is written again before the log is given up. */
function restoresTheOtherCheckpoint(engine: Engine): void {
  const { opened } = withCheckpoint(engine);
  flipBit(opened.disk, "checkpoint-a", PAGE + 1);
  const keeper = keeperOn(engine, opened);
  keeper.truncate(10);
  keeper.end();
  const disk = darken(opened.disk);
  flipBit(disk, "checkpoint-b", PAGE + 1);
  openOn(engine, disk);
  assert.is(engine.checkpoint.readCheckpoints(disk, opened.logId).length, 1);
}

/** A page that a newer build has written isn't taken for torn or absent. */
function refusesNewerPages(engine: Engine): void {
  const newer = (disk: SimulatedStorage, name: string, page: number, at: number, version: number): void => {
    const bytes = disk.contentOf(name).subarray(page, page + PAGE);
    bytes.writeUInt16LE(version, at);
    bytes.writeUInt32LE(engine.format.crcOfPage(bytes), PAGE - 4);
    disk.corrupt(name, page, bytes);
  };
  const { opened } = withCheckpoint(engine);
  const { generation } = engine.marks.readMarks(opened.disk) as { generation: number };
  const places: readonly [name: string, page: number][] = [
    ["marks", (generation % 2) * PAGE],
    ["marks", ((generation + 1) % 2) * PAGE],
    ["checkpoint-a", 0],
    ["checkpoint-b", 0],
    [engine.format.segmentName(3), 0],
  ];
  for (const [name, page] of places) {
    const disk = darken(opened.disk);
    newer(disk, name, page, 10, 2);
    refuses(engine, disk, "ERR_JOURNAL_VERSION", `${name} at ${page} is for readers of format 2`);
    const other = darken(opened.disk);
    newer(other, name, page, 8, 2);
    if (!isSegment(name)) refuses(engine, other, "ERR_JOURNAL_VERSION", `${name} at ${page} has format 2`);
  }
  // A page is read if its newer build calls it readable by this one.
  const disk = darken(opened.disk);
  newer(disk, "marks", (generation % 2) * PAGE, 10, 1);
  newer(disk, "marks", (generation % 2) * PAGE, 8, 2);
  assert.is(textsIn(engine, disk).length, 9);
}

export const WITNESS_REGRESSIONS: Readonly<Record<string, (engine: Engine) => void>> = {
  "a checkpoint proves what was durable": believesCheckpoints,
  "marks or a checkpoint without any segment refuse the opening": refusesLogsWithoutSegments,
  "marks and checkpoints of another log refuse the opening, and nothing is removed": refusesForeignWitnesses,
  "after a close a lost newest segment is missed, and a cut between two batches": missesTheEnd,
  "an opening writes the marks that a log lacks": marksFromTheBeginning,
  "the log is never given up on the word of one checkpoint": neverLeansOnOneCheckpoint,
  "a checkpoint that is the only whole one is written again before the log is given up": restoresTheOtherCheckpoint,
  "pages of a newer format are refused with a code": refusesNewerPages,
};
