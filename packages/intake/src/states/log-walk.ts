import type { LogRecord } from "../format/log-record.ts";

/** Walks durable records in order, from wherever it is sent. */
export interface LogWalk {
  /** The next record is the first one at `place` or behind it. */
  seek(place: number): void;
  /** As `seek`, where fewer records are read on the way; never backwards. */
  skipTo(place: number): void;
  /**
   * The next record, valid until the next call; undefined behind the last durable one. Throws
   * `ERR_JOURNAL_DAMAGED`.
   */
  next(): LogRecord | undefined;
  /** Gives file and memory back; `seek` begins again. */
  close(): void;
}
