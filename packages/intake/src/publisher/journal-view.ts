import { checkArgument, integer, text } from "@millrace/base";
import { decode } from "@millrace/codec";
import { type BackupSummary, type Journal, type JournalRecord, type ReadOptions, RECORD_TYPE } from "@millrace/journal";
import { encodedHeaders, handlerName } from "../format/record-header.ts";
import type { Redactor } from "../letters/redact.ts";
import { shownRecord, type ShownRecord } from "../letters/shown-record.ts";
import { type Timeline, timelineOf, type TimelineOptions } from "../letters/timeline.ts";

/** A record of a handler as it lies in the journal, finished or not. */
export interface StoredRecord {
  /** The record's number: the one that its publish resolved with. */
  readonly sequence: number;
  /** Where it lies: the same, unless it was written again so that older ones could be deleted. */
  readonly place: number;
  readonly publishedAtMs: number;
  readonly handler: string;
  /** The order key; undefined without. */
  readonly key: string | undefined;
  readonly payload: unknown;
  readonly headers: unknown;
}

/** The journal of a running intake, for reading. */
export interface JournalView {
  readonly directory: string;
  /** Everything up to this place is durable. */
  readonly durableSequence: number;
  /** The first place that is still there; one more than the last one when there is none. */
  readonly firstSequence: number;
  /**
   * Records of handlers in the order of their places. Nothing is given up that a reader hasn't read
   * yet, so leave the loop or call `return`. Throws `ERR_JOURNAL_DAMAGED` where a record is
   * missing, and the signal's reason.
   */
  read(options?: ReadOptions): AsyncGenerator<StoredRecord, void>;
  /**
   * The record at this place; undefined when it isn't durable yet, was given up, or belongs to no
   * handler. Throws `ERR_JOURNAL_DAMAGED`.
   */
  get(place: number): Promise<StoredRecord | undefined>;
  /** The newest record with this order key, or undefined. Throws `ERR_JOURNAL_DAMAGED`. */
  find(key: string): Promise<StoredRecord | undefined>;
  /**
   * The record with this sequence as it may be shown: redacted as the handler's option `redact`
   * says. Undefined when it isn't there any more, or belongs to no handler.
   */
  show(sequence: number): Promise<ShownRecord | undefined>;
  /** The newest record with this order key, in the same way. */
  showByKey(key: string): Promise<ShownRecord | undefined>;
  /**
   * The story of a record: each failed attempt with its error, each wait, its end. Reads the
   * journal from the record on. Undefined as of `show`. Throws `ERR_INVALID_OPTION`,
   * `ERR_JOURNAL_DAMAGED`.
   */
  timeline(sequence: number, options?: TimelineOptions): Promise<Timeline | undefined>;
  /** As `mill.backup`. */
  backup(directory: string): Promise<BackupSummary>;
}

/** Appends stay out of reach: a state record by another hand would be a wrong one. */
export function journalView(journal: Journal, redactor: Redactor): JournalView {
  const shown = (record: JournalRecord | undefined): ShownRecord | undefined => {
    if (record === undefined || record.type !== RECORD_TYPE.data) return undefined;
    return shownRecord(record, (handler, value) => redactor.redacted(handler, value));
  };
  return {
    directory: journal.directory,
    get durableSequence() {
      return journal.durableSequence;
    },
    get firstSequence() {
      return journal.firstSequence;
    },
    async *read(options) {
      for await (const record of journal.read(options)) {
        const stored = storedRecord(record);
        if (stored !== undefined) yield stored;
      }
    },
    get: async (place) => {
      checkArgument("journal.get", "the place", integer(0, Number.MAX_SAFE_INTEGER), place);
      return storedRecord(await journal.get(place));
    },
    find: async (key) => {
      checkArgument("journal.find", "the key", text(), key);
      return storedRecord(await journal.find(key));
    },
    show: async (sequence) => {
      checkArgument("journal.show", "the sequence", integer(1, Number.MAX_SAFE_INTEGER), sequence);
      const record = await journal.get(sequence);
      // A copy has a place of its own, and the sequence of its original.
      return record?.origin === sequence ? shown(record) : undefined;
    },
    showByKey: async (key) => {
      checkArgument("journal.showByKey", "the key", text(), key);
      return shown(await journal.find(key));
    },
    timeline: (sequence, options) => timelineOf(journal, sequence, options),
    backup: (directory) => journal.backup(directory),
  };
}

function storedRecord(record: JournalRecord | undefined): StoredRecord | undefined {
  if (record === undefined || record.type !== RECORD_TYPE.data) return undefined;
  const headers = encodedHeaders(record.header);
  return {
    sequence: record.origin,
    place: record.sequence,
    publishedAtMs: record.timeMs,
    handler: handlerName(record.header),
    key: record.key.length === 0 ? undefined : record.key.toString(),
    payload: decode(record.payload),
    headers: headers.length === 0 ? undefined : decode(headers),
  };
}
