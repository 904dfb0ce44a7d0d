/** What the log says about its records: from the newest checkpoint on, if there is one. */
import type { Checkpoint, Storage } from "@millrace/journal";
import { journalError, readCheckpoints, SegmentList } from "@millrace/journal/kernel";
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
  // An empty checkpoint says that the log alone tells.
  const isTold = checkpoint !== undefined && checkpoint.bytes.length > 0;
  const states = isTold
    ? decodeStates(checkpoint.bytes, limits, (place) => payloadAt(walk, place))
    : new RecordStates(limits);
  states.settled.addRange(1, log.firstSequence - 1);
  states.droppable.addRange(1, log.firstSequence - 1);
  const from = Math.max(log.firstSequence, isTold ? checkpoint.from : 1);
  walk.seek(from);
  const groups = new GroupReader(states.window);
  for (let record = walk.next(); record !== undefined; record = walk.next()) {
    if (record.sequence >= from) groups.take(record, (member, group) => void states.read(member, group));
  }
  walk.close();
  return states;
}

function payloadAt(walk: LogWalk, place: number): Buffer {
  walk.seek(place);
  const record = walk.next();
  if (record?.sequence !== place) {
    throw journalError("ERR_JOURNAL_DAMAGED", `the checkpoint names record ${place}, which isn't in the log`, {
      details: { sequence: place },
    });
  }
  return Buffer.from(record.payload());
}

/** The states of a log that nobody writes to, up to `lastSequence`. Throws as `readStates` does. */
export function readLogStates(storage: Storage, logId: Buffer, lastSequence: number): RecordStates {
  const firstSequence = new SegmentList(storage).read()[0]?.baseSequence ?? 1;
  const source = { firstSequence, walk: () => new SegmentWalk(storage, () => lastSequence) };
  return readStates(source, readCheckpoints(storage, logId)[0], WINDOW_DEFAULTS);
}
