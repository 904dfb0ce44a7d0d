import { isMillraceError } from "@millrace/base";
import type { Storage } from "@millrace/journal";
import { LogReader, RecordCursor } from "@millrace/journal/kernel";
import type { LogRecord } from "../format/log-record.ts";
import type { LogWalk } from "./log-walk.ts";

/**
 * Reads records from the segments, batch by batch. A walk may rest for long, and the segment in
 * which it stands may be given up meanwhile: it goes on in the first one that has what it wants.
 * What must still be read is never given up.
 */
export class SegmentWalk implements LogWalk {
  readonly #reader: LogReader;
  readonly #cursor = new RecordCursor();
  readonly #known: () => number;
  #isInBatch = false;
  /** Records before it are passed over. */
  #from = 0;

  constructor(storage: Storage, known: () => number) {
    this.#reader = new LogReader(storage);
    this.#known = known;
  }

  seek(place: number): void {
    this.#isInBatch = false;
    this.#from = place;
    this.#unlessGivenUp(() => this.#reader.seek(place));
  }

  skipTo(place: number): void {
    if (place <= this.#from) return;
    this.#from = place;
    if (this.#isInBatch && this.#endOfBatch() >= place) return;
    this.#isInBatch = false;
    this.#reader.skipTo(place);
  }

  next(): LogRecord | undefined {
    // Ends: every turn steps to the next record, to the next batch, or stops.
    for (;;) {
      if (this.#isInBatch && this.#cursor.next()) {
        if (this.#cursor.sequence < this.#from) continue;
        this.#from = this.#cursor.sequence + 1;
        return this.#cursor;
      }
      this.#isInBatch = false;
      const known = this.#known();
      if (this.#from > known || !this.#unlessGivenUp(() => this.#reader.next(known))) return undefined;
      this.#cursor.reset(this.#reader.body, this.#reader.batch.firstSequence);
      this.#isInBatch = true;
    }
  }

  #unlessGivenUp(step: () => boolean): boolean {
    // Ends: each further turn means that one more segment has gone.
    for (;;) {
      try {
        return step();
      } catch (thrown) {
        if (!isMillraceError(thrown, "ERR_JOURNAL_TRUNCATED")) throw thrown;
      }
      this.seek(this.#from);
    }
  }

  #endOfBatch(): number {
    const { firstSequence, count } = this.#reader.batch;
    return firstSequence + count - 1;
  }

  close(): void {
    this.#isInBatch = false;
    this.#reader.close();
  }
}
