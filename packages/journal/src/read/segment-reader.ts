/**
 * Reads one segment from front to back, a batch at a time, and believes nothing that its checksums
 * don't prove.
 */
import { crc32 } from "@millrace/codec";
import {
  BATCH_HEADER_BYTES,
  type BatchHeader,
  batchBytes,
  BatchSeal,
  SEGMENT_HEADER_BYTES,
  type SegmentEnd,
  type SegmentHeader,
} from "../files/format.ts";
import { isWellFormed } from "../files/records.ts";
import { readFully, type StorageFile } from "../storage/storage.ts";

/** Bytes read at once: large enough to hide the cost of a call, small enough to stay in a cache. */
const WINDOW_BYTES = 1 << 20;

/** Where a reader stands. */
export interface SegmentPosition {
  readonly offset: number;
  /** Sequence that the next batch must begin with. */
  readonly nextSequence: number;
  /** Chain value that the next batch must name. */
  readonly chain: number;
}

/** Where a reader begins. */
export function startOf(header: SegmentHeader): SegmentPosition {
  return { offset: SEGMENT_HEADER_BYTES, nextSequence: header.baseSequence, chain: header.chain };
}

export class SegmentReader {
  readonly header: SegmentHeader;
  readonly #file: StorageFile;
  readonly #seal: BatchSeal;
  readonly #windowMax: number;
  #window: Buffer;
  /** File offset of the window and how much of it is filled. */
  #windowStart = 0;
  #windowBytes = 0;

  #offset: number;
  #nextSequence: number;
  #chain: number;

  /** The batch that `next` found, and its records; valid until the next call. */
  batch: BatchHeader | undefined;
  body: Buffer = Buffer.alloc(0);
  /** File offset of that batch. */
  batchOffset = 0;
  /** Why `next` found none. */
  reason = "";

  /**
   * `windowBytes`: how much is read at once; no more than the segment has. `position`: of an
   * earlier reader of this segment.
   */
  constructor(
    file: StorageFile,
    header: SegmentHeader,
    windowBytes: number = WINDOW_BYTES,
    position: SegmentPosition = startOf(header),
  ) {
    this.#windowMax = Math.min(windowBytes, header.segmentBytes);
    this.#window = Buffer.allocUnsafeSlow(this.#windowMax);
    this.#file = file;
    this.header = header;
    this.#seal = new BatchSeal(header.logId, header.segment, header.salt);
    this.#offset = position.offset;
    this.#nextSequence = position.nextSequence;
    this.#chain = position.chain;
  }

  get position(): SegmentPosition {
    return { offset: this.#offset, nextSequence: this.#nextSequence, chain: this.#chain };
  }

  /**
   * Where the batches that were read so far end, as the header of the next segment would name it.
   */
  get end(): SegmentEnd {
    const { segment } = this.header;
    return { segment, endOffset: this.#offset, lastSequence: this.#nextSequence - 1, chain: this.#chain };
  }

  /**
   * Steps to the next batch; false, with `reason`, when none is valid here yet. May be called again
   * later.
   */
  next(): boolean {
    // The window may be older than the batch: a second look reads afresh.
    if (this.#isInWindow(BATCH_HEADER_BYTES) && this.#parse()) return true;
    this.#fill(BATCH_HEADER_BYTES);
    return this.#parse();
  }

  /**
   * Moves to the batch at `offset`, which must begin with `sequence`; without such a batch returns
   * false and stays.
   */
  startAt(offset: number, sequence: number): boolean {
    const before = this.#offset;
    this.#offset = offset;
    this.#fill(BATCH_HEADER_BYTES);
    const batch = this.#isInWindow(BATCH_HEADER_BYTES)
      ? this.#seal.decode(this.#window, this.#offset - this.#windowStart, this.#offset)
      : undefined;
    if (batch === undefined || batch.firstSequence !== sequence) {
      this.#offset = before;
      return false;
    }
    this.#nextSequence = sequence;
    this.#chain = batch.chain;
    return true;
  }

  /**
   * Steps over batches up to `lastSequence` that were written before `timeMs`, by their headers
   * alone.
   */
  skipToTime(timeMs: number, lastSequence: number): void {
    this.#skip((batch) => batch.timeMs < timeMs && batch.firstSequence + batch.count <= lastSequence + 1);
  }

  /** Steps over batches that end before `sequence`, by their headers alone. */
  skipTo(sequence: number): void {
    this.#skip((batch) => batch.firstSequence + batch.count <= sequence);
  }

  #skip(isSkipped: (batch: BatchHeader) => boolean): void {
    for (;;) {
      if (!this.#isInWindow(BATCH_HEADER_BYTES)) this.#fill(BATCH_HEADER_BYTES);
      if (!this.#isInWindow(BATCH_HEADER_BYTES)) return;
      const batch = this.#seal.decode(this.#window, this.#offset - this.#windowStart, this.#offset);
      if (batch === undefined || !isSkipped(batch)) return;
      if (batch.chain !== this.#chain || batch.firstSequence !== this.#nextSequence) return;
      this.#step(batch);
    }
  }

  /**
   * Steps over the next batch by its header alone: its body may be damaged. False, with `reason`,
   * when no header is valid here yet.
   */
  nextHeader(): boolean {
    if (!this.#isInWindow(BATCH_HEADER_BYTES)) this.#fill(BATCH_HEADER_BYTES);
    const batch = this.#parseHeader();
    if (batch === undefined) return false;
    this.batch = batch;
    this.batchOffset = this.#offset;
    this.#step(batch);
    return true;
  }

  close(): void {
    this.#file.close();
  }

  #parse(): boolean {
    this.batch = undefined;
    const batch = this.#parseHeader();
    if (batch === undefined) return false;
    if (batch.bodyBytes > this.header.batchBytesMax) return this.#nothing("the body is larger than the limit");
    if (!this.#isInWindow(BATCH_HEADER_BYTES + batch.bodyBytes)) {
      this.#extend(BATCH_HEADER_BYTES + batch.bodyBytes);
      if (!this.#isInWindow(BATCH_HEADER_BYTES + batch.bodyBytes)) return this.#nothing("the file ends in the body");
    }
    const start = this.#offset - this.#windowStart + BATCH_HEADER_BYTES;
    const body = this.#window.subarray(start, start + batch.bodyBytes);
    if (crc32(body) !== batch.bodyCrc) return this.#nothing("the checksum of the body is wrong");
    if (!isWellFormed(body, batch.count)) return this.#nothing("the records don't fill the body");
    this.batch = batch;
    this.body = body;
    this.batchOffset = this.#offset;
    this.#step(batch);
    return true;
  }

  #parseHeader(): BatchHeader | undefined {
    if (!this.#isInWindow(BATCH_HEADER_BYTES)) return this.#noHeader("the file ends");
    const at = this.#offset - this.#windowStart;
    const batch = this.#seal.decode(this.#window, at, this.#offset);
    if (batch === undefined) {
      const isZero = this.#window.subarray(at, at + BATCH_HEADER_BYTES).every((byte) => byte === 0);
      return this.#noHeader(isZero ? "zeros" : "no valid batch header");
    }
    if (batch.chain !== this.#chain) return this.#noHeader("the batch doesn't follow the one before it");
    return batch.firstSequence === this.#nextSequence ? batch : this.#noHeader("a gap in the sequence");
  }

  #step(batch: BatchHeader): void {
    this.#offset += batchBytes(batch.bodyBytes);
    this.#nextSequence = batch.firstSequence + batch.count;
    this.#chain = batch.nextChain;
  }

  #nothing(reason: string): false {
    this.reason = reason;
    return false;
  }

  #noHeader(reason: string): undefined {
    this.reason = reason;
  }

  #isInWindow(bytes: number): boolean {
    return this.#offset >= this.#windowStart && this.#offset + bytes <= this.#windowStart + this.#windowBytes;
  }

  /** Reads the window afresh, from where the reader stands. */
  #fill(bytes: number): void {
    this.#windowStart = this.#offset;
    this.#windowBytes = 0;
    this.#extend(bytes);
  }

  /**
   * Moves the window to where the reader stands, and reads behind the bytes that it holds: no byte
   * is read twice for a batch that sticks out.
   */
  #extend(bytes: number): void {
    const skipped = this.#offset - this.#windowStart;
    const held = this.#window.subarray(skipped, this.#windowBytes);
    if (bytes > this.#window.length) this.#window = Buffer.allocUnsafeSlow(bytes);
    this.#window.set(held);
    const wanted = Math.max(bytes, this.#windowMax) - held.length;
    const start = this.#offset + held.length;
    this.#windowStart = this.#offset;
    this.#windowBytes = held.length + readFully(this.#file, this.#window.subarray(held.length), wanted, start);
  }
}
