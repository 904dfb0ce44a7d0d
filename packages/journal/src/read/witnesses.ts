/**
 * Files beside the segments that prove that records were durable: `marks` and the checkpoints.
 *
 *   marks         everything up to their durable sequence is in the log; if they name a checkpoint,
 *                 one from which the log can be read on is there
 *   a checkpoint  everything before its sequence is in the log, or was given up
 *
 * If a log contradicts one of them, somebody else has changed it: a copy was put back in part, or a
 * file is lost. Records appended to it would take sequences that a checkpoint calls finished.
 */
import { type CheckpointPage, isWhole, readCheckpointPages } from "../files/checkpoint.ts";
import { type Marks, MARKS_NAME, readMarks } from "../files/marks.ts";
import type { Storage } from "../storage/storage.ts";
import { damaged } from "./damage.ts";

export interface Witnesses {
  readonly marks: Marks | undefined;
  /** The valid first pages, newest first. */
  readonly checkpoints: readonly CheckpointPage[];
  /** Everything up to this sequence was durable; 0 when nobody says so. */
  readonly durable: number;
  /** The file that says so. */
  readonly durableFile: string;
}

/**
 * Read them before the segments: beside a running journal the log then holds at least what they
 * name. Throws `ERR_JOURNAL_VERSION`.
 */
export function readWitnesses(storage: Storage): Witnesses {
  const marks = readMarks(storage);
  const checkpoints = readCheckpointPages(storage);
  let durable = marks?.durableSequence ?? 0;
  let durableFile: string = MARKS_NAME;
  for (const { name, from } of checkpoints) {
    if (from - 1 <= durable) continue;
    durable = from - 1;
    durableFile = name;
  }
  return { marks, checkpoints, durable, durableFile };
}

/** Throws `ERR_JOURNAL_DAMAGED` when a witness belongs to another log. */
export function checkOrigin({ marks, checkpoints }: Witnesses, logId: Buffer): void {
  if (marks !== undefined && !marks.logId.equals(logId)) throw damaged(MARKS_NAME, 0, "it belongs to another log");
  const foreign = checkpoints.find((page) => !page.logId.equals(logId));
  if (foreign !== undefined) throw damaged(foreign.name, 0, "it belongs to another log");
}

/**
 * Throws `ERR_JOURNAL_DAMAGED` when marks name a checkpoint, and none is left from which the log
 * can be read on.
 */
export function checkCheckpoints(storage: Storage, witnesses: Witnesses, firstSequence: number): void {
  const { marks } = witnesses;
  if (!lacksCheckpoint(storage, witnesses, firstSequence)) return;
  const file = witnesses.checkpoints[0]?.name ?? "checkpoint-a";
  throw damaged(
    file,
    0,
    `the file marks names checkpoint ${marks?.checkpoint}, and no whole one is there from which the log, which begins with sequence ${firstSequence}, can be read on`,
    { firstSequence: 1, lastSequence: firstSequence - 1, generation: marks?.checkpoint },
  );
}

/**
 * Whether marks name a checkpoint, and none is left from which a log that begins with
 * `firstSequence` can be read on. An older one than they name will do: the log is kept from there.
 */
function lacksCheckpoint(storage: Storage, witnesses: Witnesses, firstSequence: number): boolean {
  return (witnesses.marks?.checkpoint ?? 0) > 0 && !hasCheckpoint(storage, witnesses, firstSequence);
}

/** Whether a whole checkpoint is there from which a log that begins so can be read on. */
export function hasCheckpoint(storage: Storage, { checkpoints }: Witnesses, firstSequence: number): boolean {
  return checkpoints.some((page) => page.from >= firstSequence && isWhole(storage, page));
}
