/**
 * Writes the newest checkpoint again with other bytes that say the same, for an upgrade of what the
 * log's user has written. Reading goes on where it did.
 *
 * What each step promises if the power goes right after it:
 *
 *   written over the older one   both say the same; the newer one counts
 *   written over the other one   the same
 *   marks name it                from now on an opening without it is refused
 */
import { readCheckpoints } from "../files/checkpoint.ts";
import { readMarks, writeMarks } from "../files/marks.ts";
import type { Storage } from "../storage/storage.ts";
import { CheckpointWriter } from "./checkpoint-writer.ts";

const FILES = 2;

/**
 * The caller holds the directory's lock, and has read the checkpoint. Throws `ERR_JOURNAL_VERSION`.
 */
export function replaceCheckpoint(storage: Storage, logId: Buffer, bytes: Uint8Array): void {
  const [newest] = readCheckpoints(storage, logId);
  if (newest === undefined) return;
  const marks = readMarks(storage);
  const writer = new CheckpointWriter(storage, logId);
  for (let file = 0; file < FILES; file += 1) {
    for (const _ of writer.write(bytes, newest.from, marks?.checkpoint ?? 0));
  }
  // Without marks the next opening writes them.
  if (marks === undefined) return;
  writeMarks(storage, { ...marks, generation: marks.generation + 1, checkpoint: writer.sureGeneration });
}
