/** One source on its way into the journal: reads it, publishes what isn't stored, and counts. */
import type { Producer } from "@millrace/intake";
import { type Format, splitterOf } from "./formats.ts";
import type { Input } from "./input.ts";
import type { Malformed, Place, RecordSink, Splitter, SplitterOptions } from "./splitter.ts";
import { StoredCheck } from "./stored.ts";

/** The figures of a source. */
export interface Counts {
  /** Well-formed records in the input, and parts that are not. */
  records: number;
  malformed: number;
  /** Bytes of the input that the malformed parts take. */
  skippedBytes: number;
  skippedLines: number;
  /** Of the records: stored by an earlier run, published by this one, acknowledged. */
  alreadyStored: number;
  published: number;
  acknowledged: number;
}

const NO_COUNTS: Counts = Object.freeze({
  records: 0,
  malformed: 0,
  skippedBytes: 0,
  skippedLines: 0,
  alreadyStored: 0,
  published: 0,
  acknowledged: 0,
});

/** An input that was opened, with its name. */
export interface Source {
  readonly name: string;
  readonly path: string;
  readonly input: Input;
  readonly format: Format;
  /** Of CSV; undefined: found out. */
  readonly delimiter: string | undefined;
}

export interface FeedOptions extends Omit<SplitterOptions, "recordBytesMax"> {
  readonly inFlight: number;
  /** Told of each malformed part; throws to end the run. */
  readonly malformed: (source: Source, mistake: Malformed) => void;
  readonly onProgress: () => void;
}

/** The bytes of a piece that is split at once, for this many records in flight. */
const PIECE_BYTES_MIN = 1024;
const PIECE_BYTES_PER_RECORD = 32;

export class Feed implements RecordSink {
  readonly source: Source;
  readonly counts: Counts = { ...NO_COUNTS };
  readonly #producer: Producer;
  readonly #options: FeedOptions;
  readonly #check: StoredCheck;
  readonly #splitter: Splitter;

  constructor(source: Source, producer: Producer, options: FeedOptions) {
    this.source = source;
    this.#producer = producer;
    this.#options = options;
    this.#check = new StoredCheck(source.name, producer, source.format === "json" ? "element" : "line");
    this.#splitter = splitterOf(source.format, this, { ...options, recordBytesMax: producer.jsonBytesMax });
  }

  /** The format's own entries in the report. */
  get notes(): Readonly<Record<string, unknown>> {
    return this.#splitter.notes;
  }

  /** Reads the source to its end, or until `stop` aborts. Throws what ends the run. */
  async run(stop: AbortSignal): Promise<void> {
    const { inFlight, onProgress } = this.#options;
    const pieceBytes = Math.max(PIECE_BYTES_MIN, inFlight * PIECE_BYTES_PER_RECORD);
    for await (const chunk of this.source.input.chunks) {
      for (let at = 0; at < chunk.length; at += pieceBytes) {
        this.#splitter.push(chunk.subarray(at, at + pieceBytes));
        // The next bytes may be long in coming.
        this.#producer.send();
        await this.#producer.whenAtMost(inFlight);
        if (stop.aborted) return;
      }
      onProgress();
    }
    if (stop.aborted) return;
    this.#splitter.end();
    this.#check.over();
  }

  /** Waits until what was published is durable. */
  async flush(): Promise<void> {
    try {
      await this.#producer.flush();
    } finally {
      this.counts.acknowledged = this.#producer.durable;
    }
  }

  record(number: number, bytes: Buffer, start: number, end: number, place: () => Place): void {
    const { counts } = this;
    if (this.#check.isStored(number)) {
      counts.records += 1;
      counts.alreadyStored += 1;
      this.#check.again(number, this.#producer.fingerprint(bytes, start, end));
      return;
    }
    if (end - start > this.#producer.jsonBytesMax) {
      this.#tooLarge(number, end - start, place());
      return;
    }
    if (this.#check.isOver(number)) this.#check.over();
    this.#producer.add(number, bytes, start, end);
    counts.records += 1;
    counts.published += 1;
  }

  value(number: number, value: unknown, place: () => Place): void {
    const { counts } = this;
    if (this.#check.isStored(number)) {
      counts.records += 1;
      counts.alreadyStored += 1;
      this.#check.again(number, this.#producer.valueFingerprint(value));
      return;
    }
    if (this.#check.isOver(number)) this.#check.over();
    const bytes = this.#producer.addValue(number, value);
    if (bytes > this.#producer.jsonBytesMax) {
      this.#tooLarge(number, bytes, place());
      return;
    }
    counts.records += 1;
    counts.published += 1;
  }

  /** A record that is too large only with what its form adds. */
  #tooLarge(number: number, bytes: number, place: Place): void {
    const problem = `the record takes ${bytes} bytes; the limit is ${this.#producer.jsonBytesMax}`;
    this.malformed({ number, ...place, problem, bytes, lines: 1 });
  }

  malformed(mistake: Malformed): void {
    this.counts.malformed += 1;
    this.counts.skippedBytes += mistake.bytes;
    this.counts.skippedLines += mistake.lines;
    this.#options.malformed(this.source, mistake);
  }
}
