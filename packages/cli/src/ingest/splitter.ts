/** The interface of a format's splitter: bytes in, records and mistakes out, in order. */

/** Where something stands in the input, decoded and decompressed. */
export interface Place {
  /** Line, from 1, and bytes before it in the input, from 0. */
  readonly line: number;
  readonly offset: number;
}

/** A part of the input that is no record. */
export interface Malformed extends Place {
  /** The number that the record would have had: its line, or its place in a JSON array. */
  readonly number: number;
  readonly problem: string;
  /** Bytes that are skipped because of it. */
  readonly bytes: number;
  readonly lines: number;
}

/** A record that is too long to be kept: where it begins, and its bytes so far. */
export interface LongPart extends Place {
  bytes: number;
}

export interface RecordSink {
  /** A record: JSON text in UTF-8 in `bytes[start, end)`, valid until the call returns. */
  record(number: number, bytes: Buffer, start: number, end: number, place: () => Place): void;
  /** A record that JSON has no form for. */
  value(number: number, value: unknown, place: () => Place): void;
  /** Throws to end the reading. */
  malformed(mistake: Malformed): void;
}

export interface Splitter {
  /** Takes the next bytes. An error that it throws ends the reading. */
  push(chunk: Buffer): void;
  /** The input has ended. */
  end(): void;
  /** The format's own entries in the report, beside the records. */
  readonly notes: Readonly<Record<string, unknown>>;
}

export interface SplitterOptions {
  /** The most bytes of input that one record may have; longer ones are malformed. */
  readonly recordBytesMax: number;
  /** The most bytes that one quoted field, or the search behind a mistake, may take. */
  readonly quoteBytesMax: number;
  /** How to treat numbers that a double doesn't hold. */
  readonly bigNumbers: BigNumbers;
  readonly delimiter: string | undefined;
}

export type BigNumbers = "refuse" | "text" | "bigint";
