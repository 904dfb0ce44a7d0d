/** States in which the journal once was wrong. The searches beside this file found each of them. */
import * as assert from "uvu/assert";
import { seededRandom } from "@millrace/base";
import type { SimulatedStorage } from "@millrace/journal/internal/storage/simulated.fault";
import { darken, keeperOn, threeSegments } from "./built.ts";
import type { Engine } from "./engine.ts";
import { allSelections } from "./explore.ts";
import { LIMITS, readContent } from "./rig.ts";
import { SPACE_REGRESSIONS } from "./space-regressions.ts";
import { WITNESS_REGRESSIONS } from "./witness-regressions.ts";

/**
 * `run` writes a file and ends at its first sync, of the file or of the directory. The process dies
 * before the sync, or the sync fails and the process ends.
 */
function failAtSync(
  disk: SimulatedStorage,
  fails: boolean,
  run: () => void,
  sync: "sync" | "syncDirectory" = "sync",
): void {
  disk.before = ({ kind }) => {
    if (kind !== sync) return undefined;
    if (fails) return { code: "EIO" };
    throw new Error("killed");
  };
  assert.throws(run);
  disk.before = () => undefined;
}

/**
 * Runs `run`, and looks at every state that a power cut leaves before one of its operations on
 * files of this name. Returns their number.
 */
function cutEverywhere(
  disk: SimulatedStorage,
  name: RegExp,
  run: () => void,
  look: (cut: SimulatedStorage) => void,
): number {
  const random = seededRandom(1);
  let states = 0;
  disk.before = (operation) => {
    if (!name.test(operation.name) || operation.kind === "read") return undefined;
    for (const values of allSelections(disk.choices(), random, 100)) {
      look(disk.crash(values));
      states += 1;
    }
    return undefined;
  };
  run();
  disk.before = () => undefined;
  return states;
}

function deletesOnSureMarksOnly(engine: Engine): void {
  for (const fails of [false, true]) {
    const { disk, logId } = threeSegments(engine);
    const marks = { logId, generation: 1, durableSequence: 3, firstSegment: 1, firstSequence: 1 };
    engine.marks.writeMarks(disk, marks);
    const next = { ...marks, generation: 2, firstSegment: 2, firstSequence: 2 };
    failAtSync(disk, fails, () => engine.marks.writeMarks(disk, next));
    engine.opening.openLog(disk, LIMITS, () => 1);
    assert.not.ok(disk.list().includes(engine.format.segmentName(1)));
    const dark = darken(disk);
    const { recovered } = engine.opening.openLog(dark, LIMITS, () => 1);
    assert.is(recovered.summary.firstSequence, 2);
    assert.equal(readContent(engine, dark, 2, 3).texts, ["record 2", "record 3"]);
  }
}

function deletesOnNamedMarksOnly(engine: Engine): void {
  for (const fails of [false, true]) {
    const { disk, logId } = threeSegments(engine);
    // As an older build has left it, which wrote marks later.
    disk.remove("marks");
    disk.syncDirectory();
    const marks = { logId, generation: 1, durableSequence: 3, firstSegment: 2, firstSequence: 2 };
    failAtSync(disk, fails, () => engine.marks.writeMarks(disk, marks), "syncDirectory");
    const states = cutEverywhere(
      disk,
      /^/,
      () => engine.opening.openLog(disk, LIMITS, () => 1),
      (cut) => {
        const { recovered } = engine.opening.openLog(cut, LIMITS, () => 1);
        assert.ok([1, 2].includes(recovered.summary.firstSequence));
      },
    );
    assert.ok(states > 10, `${states} states`);
  }
}

function opensOnSureMarksOnly(engine: Engine): void {
  for (const fails of [false, true]) {
    const { disk, logId } = threeSegments(engine);
    const marks = { logId, generation: 1, durableSequence: 3, firstSegment: 2, firstSequence: 2 };
    engine.marks.writeMarks(disk, marks);
    engine.marks.writeMarks(disk, { ...marks, generation: 2 });
    disk.remove(engine.format.segmentName(1));
    disk.syncDirectory();
    const next = { ...marks, generation: 3, firstSegment: 3, firstSequence: 3 };
    failAtSync(disk, fails, () => engine.marks.writeMarks(disk, next));
    const states = cutEverywhere(
      disk,
      /^marks$/,
      () => engine.opening.openLog(disk, LIMITS, () => 1),
      (cut) => {
        const { recovered } = engine.opening.openLog(cut, LIMITS, () => 1);
        assert.ok([2, 3].includes(recovered.summary.firstSequence));
      },
    );
    assert.ok(states > 100, `${states} states`);
  }
}

function keepsOnSurePagesOnly(engine: Engine): void {
  for (const fails of [false, true]) {
    const opened = threeSegments(engine);
    const { disk, logId } = opened;
    const marks = { logId, generation: 1, durableSequence: 2, firstSegment: 2, firstSequence: 2 };
    engine.marks.writeMarks(disk, marks);
    disk.remove(engine.format.segmentName(1));
    disk.syncDirectory();
    const checkpoint = { generation: 1, from: 2, timeMs: 1, bytes: Buffer.from("answered") };
    engine.checkpoint.writeCheckpoint(disk, logId, checkpoint);
    failAtSync(disk, fails, () => engine.marks.writeMarks(disk, { ...marks, generation: 2 }));
    const lost = { ...checkpoint, generation: 2, bytes: Buffer.from("not answered") };
    failAtSync(disk, fails, () => engine.checkpoint.writeCheckpoint(disk, logId, lost));
    // As an opening does.
    disk.syncDirectory();

    const keeper = keeperOn(engine, opened);
    const states = cutEverywhere(
      disk,
      /^(marks|checkpoint-[ab])$/,
      () => keeper.checkpoint("the next"),
      (cut) => {
        assert.is(engine.marks.readMarks(cut)?.firstSegment, 2);
        const found = engine.checkpoint.readCheckpoints(cut, logId)[0]?.bytes.toString();
        assert.ok(["answered", "not answered", "the next"].includes(found ?? "none"), found);
      },
    );
    keeper.end();
    assert.ok(states > 100, `${states} states`);
    assert.is(engine.checkpoint.readCheckpoints(darken(disk), logId)[0]?.bytes.toString(), "the next");
    assert.is(engine.marks.readMarks(darken(disk))?.durableSequence, 3);
  }
}

/** Names of properties, and the checks that throw when they don't hold. */
export const REGRESSIONS: Readonly<Record<string, (engine: Engine) => void>> = {
  "segments are not deleted on the word of marks that are only in the page cache": deletesOnSureMarksOnly,
  "segments are not deleted on the word of marks whose name is only in the page cache": deletesOnNamedMarksOnly,
  "an opening doesn't write on one page of marks while the other is only in the page cache": opensOnSureMarksOnly,
  "a keeper doesn't write on one page of marks, or one checkpoint, while the other is only in the page cache":
    keepsOnSurePagesOnly,
  ...WITNESS_REGRESSIONS,
  ...SPACE_REGRESSIONS,
};
