import type { Storage } from "@millrace/journal";
import { LogReader, RecordCursor } from "@millrace/journal/kernel";
import type { LogRecord } from "../format/log-record.ts";
import type { LogWalk } from "./log-walk.ts";

/** Reads records from the segments, batch by batch. */
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
    this.#reader.seek(place);
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
      if (this.#from > known || !this.#reader.next(known)) return undefined;
      this.#cursor.reset(this.#reader.body, this.#reader.batch.firstSequence);
      this.#isInBatch = true;
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
