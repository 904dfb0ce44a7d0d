/** What a machine loads to give handlers their records: `context.record`. */
import { TaskHeader } from "../format/task-header.ts";

/** What a handler learns about the record that it handles. */
export interface DeliveredRecord {
  /**
   * The same at every delivery of this record, and unlike that of any other journal: a key for
   * consumers downstream.
   */
  readonly id: string;
  /** The record's number in the journal: unique, the same at every delivery. */
  readonly sequence: number;
  readonly publishedAtMs: number;
  /** 1 for the first delivery; counted across restarts. */
  readonly attempt: number;
  /** The order key; undefined without. */
  readonly key: string | undefined;
  /** The sequence of the record that this one replays; undefined for a record of its own. */
  readonly replayOf: number | undefined;
  /** What the publisher passed as `headers`. */
  readonly headers: unknown;
}

/**
 * Reads a task header; the scheduler's machines load this module for it. `runsBefore`: how often
 * the scheduler has begun the task before, because its thread died.
 */
export function readHeader(bytes: Uint8Array, runsBefore: number): DeliveredRecord {
  const header = new TaskHeader(bytes);
  return {
    id: header.id,
    sequence: header.sequence,
    publishedAtMs: header.timeMs,
    attempt: header.attempt + runsBefore,
    key: header.key,
    replayOf: header.replayOf,
    headers: header.headers,
  };
}
