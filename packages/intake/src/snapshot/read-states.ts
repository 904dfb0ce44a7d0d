/** Reads the states of the log's records: from the newest checkpoint on, if there is one. */
import { type Checkpoint, RECORD_TYPE, type Storage } from "@millrace/journal";
import { firstSegmentIn, journalError, readCheckpoints, SegmentList } from "@millrace/journal/kernel";
import { WINDOW_DEFAULTS, type WindowLimits } from "../states/dedupe-window.ts";
import { GroupReader } from "../states/groups.ts";
import type { LogWalk } from "../states/log-walk.ts";
import { RecordStates } from "../states/record-states.ts";
import { SegmentWalk } from "../states/segment-walk.ts";
import { decodeStates } from "./snapshot.ts";

export interface StatesSource {
  /** The first place that is still there. */
  readonly firstSequence: number;
  walk(): LogWalk;
}

/** Throws `ERR_RECORD_UNREADABLE`, `ERR_JOURNAL_VERSION` and `ERR_JOURNAL_DAMAGED`. */
export function readStates(
  log: StatesSource,
  checkpoint: Pick<Checkpoint, "bytes" | "from"> | undefined,
  limits: WindowLimits,
): RecordStates {
  const walk = log.walk();
  mustReadOn(log.firstSequence, checkpoint);
  // An empty checkpoint says that the log alone tells.
  const isTold = checkpoint !== undefined && checkpoint.bytes.length > 0;
  const states = isTold
    ? decodeStates(checkpoint.bytes, limits, (place) => entriesAt(walk, place, log.firstSequence, checkpoint.from))
    : new RecordStates(limits, log.firstSequence);
  const from = Math.max(log.firstSequence, isTold ? checkpoint.from : 1);
  walk.seek(from);
  const groups = new GroupReader(states.window);
  for (let record = walk.next(); record !== undefined; record = walk.next()) {
    if (record.sequence >= from) groups.take(record, (member, group) => void states.read(member, group));
  }
  walk.close();
  // Not before: a copy whose first place was given up is no copy of a finished record.
  states.givenUp(log.firstSequence);
  return states;
}

/**
 * Where the front of the log is gone, what it said stands in the checkpoint alone. The journal
 * checks that too, but only where marks name a checkpoint: those of format 1 don't.
 */
function mustReadOn(firstSequence: number, checkpoint: Pick<Checkpoint, "from"> | undefined): void {
  if (firstSequence === 1 || (checkpoint?.from ?? 0) >= firstSequence) return;
  const found = checkpoint === undefined ? "none" : `one from which reading goes on at ${checkpoint.from}`;
  throw journalError(
    "ERR_JOURNAL_DAMAGED",
    `the log begins with sequence ${firstSequence}, and of checkpoints that say what stood before, ${found} can be read`,
    { details: { firstSequence: 1, lastSequence: firstSequence - 1 } },
  );
}

/**
 * The entries of the WINDOW record at `place`. One that a newer checkpoint saw copied forward may
 * be gone there: its copy lies behind `from`.
 */
function entriesAt(walk: LogWalk, place: number, firstPlace: number, from: number): Buffer {
  const isGone = place < firstPlace;
  walk.seek(isGone ? from : place);
  // Ends: at the record, or behind the last one.
  for (let record = walk.next(); record !== undefined; record = walk.next()) {
    const isIt = isGone ? record.type === RECORD_TYPE.window && record.replaces === place : record.sequence === place;
    if (isIt) return Buffer.from(record.payload());
    if (!isGone && record.sequence > place) break;
  }
  throw journalError("ERR_JOURNAL_DAMAGED", `the checkpoint names record ${place}, which isn't in the log`, {
    details: { sequence: place },
  });
}

/** The states of a log that nobody writes to, up to `lastSequence`. Throws as `readStates` does. */
export function readLogStates(storage: Storage, logId: Buffer, lastSequence: number): RecordStates {
  // Files of segments that were given up may still be there.
  const kept = firstSegmentIn(storage);
  const first = new SegmentList(storage).read().find(({ segment }) => segment >= kept);
  const firstSequence = first?.baseSequence ?? 1;
  const source = { firstSequence, walk: () => new SegmentWalk(storage, () => lastSequence) };
  return readStates(source, readCheckpoints(storage, logId)[0], WINDOW_DEFAULTS);
}
