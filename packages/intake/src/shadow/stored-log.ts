/** The log of a directory, read and never written: whether a process has it open or not. */
import type { JournalRecord, ReadOptions, Storage } from "@millrace/journal";
import { LogReader, readCheckpoints, RecordCursor, recordAt, scanLog } from "@millrace/journal/kernel";
import type { RecordedLog } from "../replay/recorded.ts";

/** Records read before other events get their turn. */
const RECORDS_PER_TURN = 256;

export class StoredLog implements RecordedLog {
  readonly #storage: Storage;
  readonly logId: Buffer;
  readonly firstSequence: number;
  /** When it was opened here. */
  readonly durableSequence: number;

  /** Throws `ERR_JOURNAL_DAMAGED`, and what the storage throws. */
  constructor(storage: Storage) {
    const { segments } = scanLog(storage, { everything: false });
    this.#storage = storage;
    this.logId = segments.at(-1)?.header.logId ?? Buffer.alloc(16);
    this.firstSequence = segments[0]?.header.baseSequence ?? 1;
    this.durableSequence = segments.at(-1)?.end.lastSequence ?? 0;
  }

  async lastCheckpoint(): ReturnType<RecordedLog["lastCheckpoint"]> {
    return readCheckpoints(this.#storage, this.logId)[0];
  }

  /**
   * By sequences. Throws `ERR_JOURNAL_TRUNCATED` when a process that has it open has given up what
   * comes next, and the signal's reason.
   */
  async *read({ from, to, signal }: ReadOptions = {}): AsyncGenerator<JournalRecord, void> {
    const first = Math.max(typeof from === "number" ? from : 0, this.firstSequence);
    const last = typeof to === "number" ? to : this.durableSequence;
    const reader = new LogReader(this.#storage);
    const cursor = new RecordCursor();
    let records = 0;
    try {
      reader.seek(first);
      while (reader.next(last)) {
        cursor.reset(reader.body, reader.batch.firstSequence);
        while (cursor.next()) {
          if (cursor.sequence > last) return;
          if (cursor.sequence < first) continue;
          yield recordAt(cursor);
          records += 1;
          if (records % RECORDS_PER_TURN > 0) continue;
          await new Promise((resolve) => setImmediate(resolve));
          signal?.throwIfAborted();
        }
      }
    } finally {
      reader.close();
    }
  }
}
