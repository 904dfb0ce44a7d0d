// The room that a journal takes on a disk, the room that it leaves, and its work when there is
// none.
import * as assert from "uvu/assert";
import { SimulatedStorage } from "@millrace/journal/internal/storage/simulated.fault";
import type { JournalLimits } from "@millrace/journal/internal/files/limits";
import { appendTo, keeperOn, openOn, operationsOf, rollOver, textsIn, threeSegments } from "./built.ts";
import type { Engine } from "./engine.ts";
import { LIMITS } from "./rig.ts";

const PAGE = 4096;
const isSegment = (name: string): boolean => name.startsWith("log-");

function bytesOf(disk: SimulatedStorage, isCounted: (name: string) => boolean = () => true): number {
  return disk
    .list()
    .filter(isCounted)
    .reduce((sum, name) => sum + disk.contentOf(name).length, 0);
}

/**
 * Processes die one after the other, each with one small record. The next gives back what each has
 * prepared and not used.
 */
function leaksNothing(engine: Engine): void {
  let disk = new SimulatedStorage();
  const sizes: number[] = [];
  for (let life = 1; life <= 12; life += 1) {
    const opened = openOn(engine, disk);
    appendTo(engine, opened, `record ${life}`);
    const keeper = keeperOn(engine, opened);
    assert.ok(keeper.wantSpare(opened.log.nextSegmentBytes(0)));
    keeper.end();
    disk = disk.fork();
    sizes.push(bytesOf(disk));
  }
  // Header, the batch that was repeated, the record: two or three pages a life.
  for (const [life, size] of sizes.entries())
    if (life > 1) assert.ok(size - (sizes[life - 1] as number) <= 3 * PAGE, `life ${life + 1} took ${sizes.join()}`);
  assert.is(textsIn(engine, disk).length, 12);
}

/** As an older build has left it: segments of many lives, each as large as it was prepared. */
function cutsWhatOlderBuildsLeft(engine: Engine): void {
  let disk = new SimulatedStorage();
  for (let life = 1; life <= 5; life += 1) {
    appendTo(engine, openOn(engine, disk), `record ${life}`);
    disk = disk.fork();
    for (const name of disk.list().filter(isSegment)) disk.open(name, "write").truncate(LIMITS.segmentBytesMax);
  }
  openOn(engine, disk);
  const names = disk.list().filter(isSegment).toSorted();
  // The last but one keeps the batch that the last one repeats.
  for (const name of names.slice(0, -3)) assert.ok(disk.contentOf(name).length <= 3 * PAGE, `${name} was cut`);
  assert.is(textsIn(engine, disk.fork()).length, 5);
}

/** Torn bytes behind the end stay, also when there is no room for a copy. */
function keepsWhatIsTorn(engine: Engine): void {
  for (const isFull of [false, true]) {
    const opened = openOn(engine, new SimulatedStorage());
    appendTo(engine, opened, "whole");
    const { disk } = opened;
    const name = engine.format.segmentName(1);
    const end = 2 * PAGE + PAGE;
    disk.corrupt(name, end - PAGE + 7, Buffer.from("torn"));
    const cut = disk.fork();
    if (isFull)
      cut.before = ({ kind, name: path }) =>
        kind === "write" && path.startsWith("quarantine") ? { code: "ENOSPC", bytes: 5 } : undefined;
    const { recovered } = openOn(engine, cut);
    assert.is(recovered.summary.tornBytes, 11);
    assert.is(recovered.summary.quarantined.length, isFull ? 0 : 1);
    assert.is(
      cut
        .contentOf(name)
        .subarray(end - PAGE + 7, end - PAGE + 11)
        .toString(),
      "torn",
    );
    assert.is(cut.contentOf(name).length, end);
  }
}

/** Openings one after the other on a disk that another program keeps full. */
function opensOnAFullDisk(engine: Engine): void {
  for (const hasReserve of [false, true]) {
    let opened = openOn(engine, new SimulatedStorage());
    if (hasReserve) {
      const bytes = engine.limits.reserveBytes(LIMITS);
      engine.spare.makeSpare(opened.disk, bytes);
      opened.disk.rename(engine.spare.spareName(bytes), engine.spare.reserveName(bytes));
      opened.disk.syncDirectory();
    }
    opened.disk.blocksMax = 500;
    appendTo(engine, opened, "a record");
    let openings = 0;
    // Each opening takes a header and the repeated batch from what the one before hasn't used.
    for (; openings < 12; openings += 1) {
      opened.disk.fill("neighbour");
      const disk = opened.disk.fork();
      try {
        opened = openOn(engine, disk);
      } catch (thrown) {
        assert.is((thrown as NodeJS.ErrnoException).code, "ENOSPC");
        break;
      }
      assert.is(opened.recovered.summary.lastSequence, 1, `opening ${openings + 2}`);
    }
    const pages = (2 + Number(hasReserve)) * (LIMITS.segmentBytesMax / PAGE);
    assert.ok(openings >= pages / 4, `${openings} openings on a full disk`);
  }
}

/** Where nothing can be taken, an opening says that the disk is full, and changes nothing. */
function saysThatTheDiskIsFull(engine: Engine): void {
  const disk = new SimulatedStorage();
  disk.blocksMax = 2;
  assert.throws(
    () => openOn(engine, disk),
    (thrown: { readonly code?: string }) => thrown.code === "ENOSPC",
  );
  assert.equal(disk.list(), []);
  const closed = threeSegments(engine);
  closed.log.close();
  const full = closed.disk.fork();
  full.blocksMax = 10;
  full.fill("neighbour");
  const before = full.fingerprint();
  assert.throws(() => openOn(engine, full));
  assert.is(full.fingerprint(), before);
  full.remove("neighbour");
  full.blocksMax = 1000;
  assert.is(textsIn(engine, full).length, 3);
}

/**
 * A spare that the keeper prepares never takes the last room of a disk; the keeper doesn't begin
 * one that would.
 */
function leavesAMargin(engine: Engine): void {
  const opened = openOn(engine, new SimulatedStorage());
  const { disk } = opened;
  disk.blocksMax = 64 * 100;
  const keeper = keeperOn(engine, opened);
  const margin = 100 * PAGE;
  for (const spare of [0, 1, 4, 12]) {
    const file = disk.open("neighbour", "replace");
    file.write([new Uint8Array(disk.space().freeBytes - margin - spare * PAGE + PAGE)], 0);
    file.sync();
    const operations = operationsOf(disk, () => keeper.wantSpare(LIMITS.segmentBytesMax));
    assert.ok(disk.space().freeBytes >= margin - PAGE, `${disk.space().freeBytes} bytes are left`);
    const writes = operations.filter(({ kind, name }) => kind === "write" && /^(spare|reserve)-/.test(name));
    assert.equal(writes, [], "nothing is written to see whether there is room");
  }
  disk.remove("neighbour");
  assert.ok(keeper.wantSpare(LIMITS.segmentBytesMax));
  keeper.end();
}

/** A disk with room for less than a full-grown segment: a smaller one will do. */
function goesOnWithASmallerSegment(engine: Engine): void {
  const limits: JournalLimits = { ...LIMITS, segmentBytesMax: 64 * 49_152, segmentBytesFirst: 49_152 };
  const opened = openOn(engine, new SimulatedStorage(), limits);
  const { disk, log } = opened;
  const keeper = keeperOn(engine, opened, limits);
  disk.blocksMax = 3000;
  assert.ok(keeper.wantSpare(49_152), "the reserve and a spare");
  const file = disk.open("neighbour", "create");
  file.write([new Uint8Array(disk.space().freeBytes - 46 * PAGE - 10 * 49_152)], 0);
  file.sync();
  assert.ok(keeper.wantSpare(64 * 49_152), "a smaller spare is made");
  const bytes = log.findSmallerSpare(0);
  assert.ok(bytes !== undefined && bytes >= 4 * 49_152 && bytes < 64 * 49_152, `${bytes} bytes`);
  log.roll(bytes as number);
  appendTo(engine, opened, "in a small segment");
  keeper.end();
  assert.is(textsIn(engine, disk.fork()).length, 1);
}

/** Segments grow when one was filled, not with each opening. */
function growsByWhatIsWritten(engine: Engine): void {
  const limits: JournalLimits = { ...LIMITS, segmentBytesMax: 32 * 49_152, segmentBytesFirst: 49_152 };
  let disk = new SimulatedStorage();
  for (let life = 1; life <= 6; life += 1) {
    const opened = openOn(engine, disk, limits);
    const keeper = keeperOn(engine, opened, limits);
    assert.is(opened.log.nextSegmentBytes(0), 2 * 49_152, `life ${life}`);
    assert.is(disk.contentOf(engine.format.segmentName(life)).length, 49_152, `life ${life}`);
    keeper.wantSpare(opened.log.nextSegmentBytes(0));
    keeper.end();
    appendTo(engine, opened, `record ${life}`);
    disk = disk.fork();
  }
  const prepared = bytesOf(disk, (name) => /^(spare|reserve)-/.test(name));
  assert.ok(prepared <= 3 * 49_152, `${prepared} bytes are prepared`);
  const opened = openOn(engine, disk, limits);
  rollOver(engine, opened);
  assert.is(opened.log.nextSegmentBytes(0), 4 * 49_152);
}

/** Somebody else has begun the next segment: it isn't replaced. */
function replacesNobodysSegment(engine: Engine): void {
  const opened = openOn(engine, new SimulatedStorage());
  appendTo(engine, opened, "mine");
  const other = openOn(engine, opened.disk);
  appendTo(engine, other, "theirs");
  engine.spare.makeSpare(opened.disk, opened.log.nextSegmentBytes(0));
  assert.throws(
    () => opened.log.roll(opened.log.nextSegmentBytes(0)),
    (thrown: { readonly code?: string }) => thrown.code === "ERR_JOURNAL_LOCKED",
  );
  assert.equal(textsIn(engine, opened.disk.fork()), ["mine", "theirs"]);
}

/** Files of others, and files that a copy has cut: not removed, not used. */
function leavesForeignFilesAlone(engine: Engine): void {
  const opened = openOn(engine, new SimulatedStorage());
  appendTo(engine, opened, "record");
  const disk = opened.disk.fork();
  disk.makeDirectory("x.tmp");
  disk.makeDirectory("notes");
  for (const name of ["report.tmp", "log-1.wal.tmp", "marks.tmp.old", "spare-x.wal.tmp", "checkpoint-c"]) {
    const file = disk.open(name, "create");
    file.write([Buffer.from("mine")], 0);
    file.close();
  }
  const bytes = engine.limits.nextSegmentBytes(LIMITS, 0, 0);
  const cut = disk.open(engine.spare.spareName(bytes), "create");
  cut.write([Buffer.from("cut")], 0);
  cut.close();
  const before = disk.list();
  openOn(engine, disk);
  for (const name of before) if (!/^(spare|reserve)-\d/.test(name)) assert.ok(disk.list().includes(name), name);
  const segment = engine.format.segmentName(2);
  assert.is(disk.contentOf(segment).length, bytes, "a spare that was cut isn't used");
  assert.equal(textsIn(engine, disk.fork()), ["record"]);
}

/** A directory in the place of a file of ours: refused with the system's error, and still there. */
function refusesDirectories(engine: Engine): void {
  for (const name of [
    "marks.tmp",
    `${engine.format.segmentName(1)}.tmp`,
    "checkpoint-a",
    engine.format.segmentName(2),
  ]) {
    const disk = openOn(engine, new SimulatedStorage()).disk.fork();
    disk.makeDirectory(name);
    assert.throws(
      () => openOn(engine, disk),
      (thrown: { readonly code?: string }) => thrown.code === "EISDIR",
    );
    assert.ok(disk.list().includes(name), name);
  }
}

/**
 * The log refuses a batch without room, which leaves nothing behind. The next one takes its place.
 */
function goesOnAfterAWriteWithoutRoom(engine: Engine): void {
  for (const bytes of [0, 1, PAGE, 2 * PAGE, 3 * PAGE]) {
    const opened = openOn(engine, new SimulatedStorage());
    const { disk, log } = opened;
    appendTo(engine, opened, "before");
    let isArmed = true;
    disk.before = ({ kind, name }) => {
      if (!isArmed || kind !== "write" || !name.startsWith("log-")) return undefined;
      isArmed = false;
      return { code: "ENOSPC", bytes };
    };
    assert.throws(() => appendTo(engine, opened, "without room ".padEnd(9000, "x")));
    disk.before = () => undefined;
    // The batch may be there in spite of the error. Then nobody can refuse it, and the log writes
    // no more.
    assert.is(log.isSound, bytes < 3 * PAGE, `after ${bytes} bytes`);
    if (!log.isSound) continue;
    appendTo(engine, opened, "after");
    for (const state of [disk.fork(), disk.crash(disk.choices().map(() => 0))])
      assert.equal(textsIn(engine, state), ["before", "after"], `after ${bytes} bytes`);
  }
}

export const SPACE_REGRESSIONS: Readonly<Record<string, (engine: Engine) => void>> = {
  "processes that die leak no prepared space": leaksNothing,
  "what older builds left prepared is cut": cutsWhatOlderBuildsLeft,
  "what is torn stays where it is, with a copy where there is room for one": keepsWhatIsTorn,
  "a journal opens again and again on a full disk": opensOnAFullDisk,
  "an opening that finds no room at all says so and changes nothing": saysThatTheDiskIsFull,
  "spares leave a margin, and aren't begun where they would take it": leavesAMargin,
  "a disk without room for the next segment takes a smaller one": goesOnWithASmallerSegment,
  "segments grow by what is written, not by openings": growsByWhatIsWritten,
  "a segment never takes the place of another": replacesNobodysSegment,
  "files of others are left alone": leavesForeignFilesAlone,
  "a directory with the name of a file of ours is refused and kept": refusesDirectories,
  "a batch that found no room is gone, and the next one takes its place": goesOnAfterAWriteWithoutRoom,
};
