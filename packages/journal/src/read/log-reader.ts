/**
 * Reads batches in order across segments, also while the log is being written. The caller says up
 * to which sequence everything is durable; the reader looks at nothing above it.
 */
import { journalError } from "../errors.ts";
import { type BatchHeader, type SegmentHeader, segmentName } from "../files/format.ts";
import { firstSegmentIn } from "../files/marks.ts";
import { readHeaderIfThere, segmentIds } from "../files/segments.ts";
import { damaged } from "./damage.ts";
import { SegmentReader } from "./segment-reader.ts";
import type { Storage } from "../storage/storage.ts";

export class LogReader {
  readonly #storage: Storage;
  #reader: SegmentReader | undefined;
  /**
   * The next segment's header, which says where this one ends; undefined while this one is the
   * last.
   */
  #successor: SegmentHeader | undefined;

  constructor(storage: Storage) {
    this.#storage = storage;
  }

  /** Whether the reader stands in a segment; otherwise `next` finds nothing until a `seek` does. */
  get isPlaced(): boolean {
    return this.#reader !== undefined;
  }

  /** The batch that `next` found, and its records; valid until the next call. */
  get batch(): BatchHeader {
    return (this.#reader as SegmentReader).batch as BatchHeader;
  }

  get body(): Buffer {
    return (this.#reader as SegmentReader).body;
  }

  /** Segment and file offset of that batch. */
  get segment(): SegmentHeader {
    return (this.#reader as SegmentReader).header;
  }

  get offset(): number {
    return (this.#reader as SegmentReader).batchOffset;
  }

  /** File offset of that batch's end. */
  get end(): number {
    return (this.#reader as SegmentReader).position.offset;
  }

  /** Why `next` found nothing. */
  get reason(): string {
    return this.#reader?.reason ?? "there is no segment";
  }

  /**
   * Moves to the batch that holds `sequence`, or will hold it. False when the log begins later or
   * is empty. Throws `ERR_JOURNAL_DAMAGED`.
   */
  seek(sequence: number): boolean {
    this.close();
    let found: SegmentHeader | undefined;
    for (const header of this.#headers()) {
      if (header.baseSequence > sequence && found !== undefined) break;
      found = header;
      if (header.baseSequence > sequence) break;
    }
    if (found === undefined) return false;
    this.#open(found);
    this.skipTo(sequence);
    return found.baseSequence <= sequence;
  }

  /**
   * Moves forward to the batch that holds `sequence`, or to the end of this segment, reading only
   * batch headers.
   */
  skipTo(sequence: number): void {
    // A segment can end before its last batch, which was then copied to the next one: the skip must
    // end there too.
    const end = this.#successor?.previous.lastSequence ?? Number.MAX_SAFE_INTEGER;
    this.#reader?.skipTo(Math.min(sequence, end));
  }

  /**
   * Moves to the first batch that was written at `timeMs` or later. False when the log is empty.
   * Throws `ERR_JOURNAL_DAMAGED`.
   */
  seekTime(timeMs: number): boolean {
    this.close();
    let found: SegmentHeader | undefined;
    for (const header of this.#headers()) {
      if (header.createdMs > timeMs && found !== undefined) break;
      found = header;
    }
    if (found === undefined) return false;
    this.#open(found);
    const end = this.#successor?.previous.lastSequence ?? Number.MAX_SAFE_INTEGER;
    (this.#reader as unknown as SegmentReader).skipToTime(timeMs, end);
    return true;
  }

  /**
   * Steps to the next batch whose last sequence is at most `durableSequence`; false when there is
   * none yet. Throws `ERR_JOURNAL_DAMAGED` when a batch that must be there isn't valid.
   */
  next(durableSequence: number): boolean {
    // Ends: each turn reads a batch, gives up, or moves to the next segment.
    for (;;) {
      const reader = this.#reader;
      if (reader === undefined) return false;
      if (this.#successor === undefined) {
        // The segment that is being written, unless it was just left for the next one.
        if (reader.position.nextSequence > durableSequence) return false;
        if (reader.next()) return true;
        this.#successor = this.#lookForSuccessor(reader.header.segment);
        if (this.#successor === undefined) throw this.#missingBatch(reader);
      } else if (reader.position.offset < this.#successor.previous.endOffset) {
        if (reader.position.nextSequence > durableSequence) return false;
        if (reader.next()) return true;
        throw this.#missingBatch(reader);
      } else {
        this.#open(this.#successor);
      }
    }
  }

  close(): void {
    this.#reader?.close();
    this.#reader = undefined;
    this.#successor = undefined;
  }

  /**
   * The headers from the log's first segment on, up to one that is invalid: the reading ends there.
   * Throws `ERR_JOURNAL_DAMAGED` when that is the first.
   */
  *#headers(): Generator<SegmentHeader, void> {
    let isFirst = true;
    const kept = firstSegmentIn(this.#storage);
    for (const id of segmentIds(this.#storage)) {
      if (id < kept) continue;
      const name = segmentName(id);
      const header = readHeaderIfThere(this.#storage, name);
      if (header === "gone") continue;
      if (header === undefined) {
        if (!isFirst) return;
        if (this.#isGivenUp(id)) continue;
        throw damaged(name, 0, "the segment's header is invalid");
      }
      isFirst = false;
      yield header;
    }
  }

  /**
   * Throws `ERR_JOURNAL_TRUNCATED` when the segment has been given up since its header was read.
   */
  #open(header: SegmentHeader): void {
    this.close();
    const name = segmentName(header.segment);
    try {
      this.#reader = new SegmentReader(this.#storage.open(name, "read"), header);
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code === "ENOENT") throw givenUp(name, header.baseSequence);
      throw thrown;
    }
    this.#successor = this.#lookForSuccessor(header.segment);
  }

  /** The file of a segment that was given up during the reading may have become another segment. */
  #missingBatch(reader: SegmentReader): Error {
    const { segment } = reader.header;
    const file = segmentName(segment);
    const { offset, nextSequence } = reader.position;
    if (!segmentIds(this.#storage).includes(segment) || this.#isGivenUp(segment)) return givenUp(file, nextSequence);
    return damaged(file, offset, `${reader.reason}, where sequence ${nextSequence} must be`, {
      firstSequence: nextSequence,
    });
  }

  /** The marks say so before its file is cut, and that comes before the file is gone. */
  #isGivenUp(segment: number): boolean {
    return firstSegmentIn(this.#storage) > segment;
  }

  #lookForSuccessor(segment: number): SegmentHeader | undefined {
    if (!segmentIds(this.#storage).includes(segment + 1)) return undefined;
    const header = readHeaderIfThere(this.#storage, segmentName(segment + 1));
    return header === "gone" ? undefined : header;
  }
}

function givenUp(file: string, firstSequence: number): Error {
  return journalError("ERR_JOURNAL_TRUNCATED", `sequence ${firstSequence} was given up while it was read`, {
    details: { file, firstSequence },
  });
}
