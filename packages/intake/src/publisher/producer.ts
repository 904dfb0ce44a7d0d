/**
 * Many records of one source, as JSON text: a source that resumes.
 *
 * Each record has a sequence of the source, such as its line. A sequence that is durable is never
 * delivered twice, across crashes and truncation. Records are gathered and stored in groups, all of
 * a group or none, with one promise a group: a promise per record would cost as much as the rest.
 */
import { baseError } from "@millrace/base";
import { crc32, decode, encode, JSON_HEAD } from "@millrace/codec";
import { RECORD_TYPE } from "@millrace/journal";
import type { AppendWaiter, RecordParts } from "@millrace/journal/kernel";
import { PRIORITY } from "@millrace/scheduler";
import { encodeTerms, PRODUCER_ID_BYTES_MAX } from "../format/record-header.ts";
import { RangeSet } from "../format/range-set.ts";
import { ContentSums, type ProducerSnapshot } from "../states/producer-state.ts";

export interface ProducerOptions {
  /** Stored with every record; the handler gets them as `context.record.headers`. */
  readonly headers?: Readonly<Record<string, unknown>>;
  /** Under this name the headers also have the record's sequence. */
  readonly sequenceHeader?: string;
}

/** The parts of the intake that a producer needs. */
export interface ProducerHost {
  append(records: readonly RecordParts[], waiter: AppendWaiter): void;
  /** The most bytes that header and payload of a record may have together. */
  readonly recordBytesMax: number;
}

/** Records in a group, and their bytes: a batch of the journal takes several groups. */
const GROUP_RECORDS_MAX = 512;
const GROUP_BYTES_MAX: number = 256 * 1024;
const NO_BYTES = new Uint8Array(0);

export class Producer {
  readonly id: string;
  /** The sequences that were durable when the producer was opened. */
  readonly stored: RangeSet = new RangeSet();
  /** Sums over their content; compare them with `ContentSums` over the source as it is now. */
  readonly content: ContentSums;
  readonly #host: ProducerHost;
  readonly #head: HeaderTemplate;
  #bytes: Buffer = Buffer.allocUnsafeSlow(GROUP_BYTES_MAX);
  #used = 0;
  #records: RecordParts[] = [];
  #timeMs = 0;
  #underWay = 0;
  #durable = 0;
  #isRefused = false;
  #failure: unknown;
  /** Called when fewer records are under way. */
  #whenLess: (() => void)[] = [];

  constructor(host: ProducerHost, handler: string, id: string, known: ProducerSnapshot, options: ProducerOptions) {
    const bytes = Buffer.byteLength(id);
    if (bytes === 0 || bytes > PRODUCER_ID_BYTES_MAX) throw invalid("id", id, `1 to ${PRODUCER_ID_BYTES_MAX} bytes`);
    this.id = id;
    this.#host = host;
    this.#head = new HeaderTemplate(handler, id, options);
    for (const [first, last] of known.ranges) this.stored.addRange(first, last);
    this.content = new ContentSums(known.shift, known.sums);
  }

  /** The most bytes of JSON text that a record may have. */
  get jsonBytesMax(): number {
    return this.#host.recordBytesMax - this.#head.bytes - JSON_HEAD.length;
  }

  /** Records that were added and aren't durable yet, and those that are. */
  get underWay(): number {
    return this.#underWay;
  }

  get durable(): number {
    return this.#durable;
  }

  /**
   * Adds the record `bytes[start, end)`, JSON text in UTF-8, at most `jsonBytesMax` of it. The
   * bytes are copied. It is stored with its group: when the group is full, or at `flush`. Throws
   * the error with which an earlier group has failed.
   */
  add(sequence: number, bytes: Buffer, start = 0, end: number = bytes.length): void {
    this.#add(sequence, JSON_HEAD, bytes, start, end);
  }

  /**
   * As `add`, for any value. Returns the bytes that it takes; a value with more than `jsonBytesMax`
   * isn't added. Throws `ERR_VALUE_UNSUPPORTED` as well.
   */
  addValue(sequence: number, value: unknown): number {
    const encoded = Buffer.from(encode(value));
    if (encoded.length <= this.jsonBytesMax) this.#add(sequence, NO_BYTES, encoded, 0, encoded.length);
    return encoded.length;
  }

  /** The fingerprint that the journal keeps of a record, for `ContentSums`. */
  fingerprint(bytes: Buffer, start = 0, end: number = bytes.length): number {
    return crc32(bytes.subarray(start, end), HEAD_CRC);
  }

  valueFingerprint(value: unknown): number {
    return crc32(encode(value));
  }

  #add(sequence: number, head: Uint8Array, bytes: Buffer, start: number, end: number): void {
    if (this.#isRefused) throw this.#failure;
    const headerBytes = this.#head.bytes;
    const length = headerBytes + head.length + end - start;
    if (length > this.#bytes.length - this.#used) {
      this.send();
      if (length > this.#bytes.length) this.#bytes = Buffer.allocUnsafeSlow(length);
    }
    const group = this.#bytes;
    const headerStart = this.#used;
    const payloadStart = headerStart + headerBytes;
    for (let index = 0; index < head.length; index += 1) group[payloadStart + index] = head[index] as number;
    bytes.copy(group, payloadStart + head.length, start, end);
    this.#used += length;
    const payload = group.subarray(payloadStart, this.#used);
    this.#head.write(group, headerStart, sequence, crc32(payload));
    if (this.#records.length === 0) this.#timeMs = Date.now();
    const header = group.subarray(headerStart, payloadStart);
    const { data: type } = RECORD_TYPE;
    this.#records.push({ type, priority: PRIORITY.normal, timeMs: this.#timeMs, header, key: NO_BYTES, payload });
    this.#underWay += 1;
    if (this.#records.length >= GROUP_RECORDS_MAX) this.send();
  }

  /** Sends the last group; resolves when everything is durable. Rejects as `publish` does. */
  async flush(): Promise<void> {
    this.send();
    await this.whenAtMost(0);
  }

  /** Resolves when at most `records` records aren't durable yet. Rejects as `publish` does. */
  async whenAtMost(records: number): Promise<void> {
    while (!this.#isRefused && this.#underWay > records) {
      if (this.#records.length === this.#underWay) this.send();
      await new Promise<void>((resolve) => this.#whenLess.push(resolve));
    }
    if (this.#isRefused) throw this.#failure;
  }

  /** Sends the group that isn't full. */
  send(): void {
    const records = this.#records;
    if (records.length === 0) return;
    // What waits for the disk doesn't hold the records: each collection would move all of them.
    const count = records.length;
    this.#records = [];
    this.#used = 0;
    try {
      this.#host.append(records, {
        durable: () => {
          this.#durable += count;
          this.#less(count);
        },
        failed: (error) => this.#failed(count, error),
      });
    } catch (thrown) {
      this.#failed(count, thrown);
      throw thrown;
    }
  }

  #failed(records: number, error: unknown): void {
    if (!this.#isRefused) this.#failure = error;
    this.#isRefused = true;
    this.#less(records);
  }

  #less(records: number): void {
    this.#underWay -= records;
    for (const resolve of this.#whenLess.splice(0)) resolve();
  }
}

function invalid(name: string, value: unknown, allowed: string): Error {
  const details = { owner: "producer", name, value, allowed };
  return baseError("ERR_INVALID_OPTION", `producer: option "${name}" must be ${allowed}`, { details });
}

const HEAD_CRC: number = crc32(JSON_HEAD);

/**
 * The journal header of a producer's records. They differ in two numbers, or three: so the first
 * one is encoded, and the others are copies of it.
 */
class HeaderTemplate {
  readonly #bytes: Buffer;
  /** Where the sequence and the CRC stand in it. */
  readonly #sequenceAt: number;
  /** Where the headers have the sequence, as a 64-bit float; -1 without. */
  readonly #copyAt: number;

  constructor(handler: string, id: string, { headers = {}, sequenceHeader }: ProducerOptions) {
    const terms = encodeTerms(handler, { producer: { id, sequence: 0, payloadCrc: 0 } });
    this.#sequenceAt = terms.length - SEQUENCE_BYTES - CRC_BYTES;
    const isEmpty = sequenceHeader === undefined && Object.keys(headers).length === 0;
    if (isEmpty) {
      this.#bytes = Buffer.from(terms);
      this.#copyAt = -1;
      return;
    }
    // The last member, so that its number stands at the very end.
    const all = sequenceHeader === undefined ? headers : { ...headers, [sequenceHeader]: ANY_FLOAT };
    const encoded = Buffer.from(encode(all));
    this.#bytes = Buffer.concat([terms, encoded]);
    this.#copyAt = sequenceHeader === undefined ? -1 : this.#bytes.length - SEQUENCE_BYTES;
    if (sequenceHeader === undefined) return;
    encoded.writeDoubleBE(1, encoded.length - SEQUENCE_BYTES);
    const read = decode(encoded) as Record<string, unknown>;
    if (read[sequenceHeader] === 1 && Object.keys(read).length === Object.keys(all).length) return;
    throw invalid("headers", headers, "an object of plain values, without the member that sequenceHeader names");
  }

  get bytes(): number {
    return this.#bytes.length;
  }

  write(into: Buffer, at: number, sequence: number, payloadCrc: number): void {
    this.#bytes.copy(into, at);
    into.writeDoubleLE(sequence, at + this.#sequenceAt);
    into.writeUInt32LE(payloadCrc, at + this.#sequenceAt + SEQUENCE_BYTES);
    if (this.#copyAt >= 0) into.writeDoubleBE(sequence, at + this.#copyAt);
  }
}

const SEQUENCE_BYTES = 8;
const CRC_BYTES = 4;
/** Every encoder writes it as a 64-bit float. */
const ANY_FLOAT = 0.1;
