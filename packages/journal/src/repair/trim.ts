/**
 * Gives back the room that a closed log doesn't use: spares, and the part of the newest segment
 * behind its last batch.
 *
 * The next opening begins a segment of its own and never writes there. Bytes behind a torn batch
 * stay: an opening sets them aside.
 */
import { segmentName } from "../files/format.ts";
import { listSpares } from "../files/spare.ts";
import { scanLog } from "../read/scan.ts";
import type { Storage } from "../storage/storage.ts";

/** The caller holds the directory's lock. Throws `ERR_JOURNAL_DAMAGED`. */
export function trimLog(storage: Storage): void {
  for (const { name } of listSpares(storage)) storage.remove(name);
  const { segments, torn, isTornUnknown } = scanLog(storage, { everything: false, isLocked: true });
  const last = segments.at(-1);
  if (last !== undefined && torn.length === 0 && !isTornUnknown) {
    const file = storage.open(segmentName(last.header.segment), "write");
    try {
      file.truncate(last.end.endOffset);
      file.sync();
    } finally {
      file.close();
    }
  }
  storage.syncDirectory();
}
