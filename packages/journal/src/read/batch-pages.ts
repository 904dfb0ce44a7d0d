/**
 * A batch whose records can be read one by one: proven once, by its checksum, and then by the CRCs
 * of its pages (page-cache.ts).
 *
 * The fence of a page is the index, within the batch, of the first record that begins in the page
 * or behind it; the other word says where that is, in bytes from the batch's header. So a record is
 * found by a search among the pages, and a walk over the records of one page.
 */
import { crc32 } from "@millrace/codec";
import { alignUp, frameLength } from "@millrace/shared-memory";
import { BATCH_HEADER_BYTES, type BatchSeal, type SegmentHeader, segmentName } from "../files/format.ts";
import { frameEnd, MALFORMED, RecordCursor } from "../files/records.ts";
import { readFully, type StorageFile } from "../storage/storage.ts";
import { CheckedPages, PAGE_BYTES, type PageCache } from "./page-cache.ts";
import { type JournalRecord, recordAt, recordIn, recordRoom } from "./record.ts";

export class BatchPages extends CheckedPages {
  readonly firstSequence: number;
  readonly records: number;

  constructor(segment: number, offset: number, bytes: number, firstSequence: number, records: number) {
    super(segmentName(segment), offset, bytes);
    this.firstSequence = firstSequence;
    this.records = records;
  }
}

/** Read at once of a batch that is proven: a batch may be too large to be held. */
const PIECE_BYTES: number = 64 * PAGE_BYTES;
/** Of the piece before, for a frame whose first words lie on both sides. */
const CARRY_BYTES = 16;

/** Proves batches; one for all segments, for its memory. */
export class BatchProver {
  #memory: Buffer | undefined;

  /**
   * Reads the batch at `offset`, which must begin with `firstSequence`; a text that says why there
   * is none.
   */
  prove(
    file: StorageFile,
    seal: BatchSeal,
    segment: SegmentHeader,
    offset: number,
    firstSequence: number,
  ): BatchPages | string {
    this.#memory ??= Buffer.allocUnsafeSlow(CARRY_BYTES + PIECE_BYTES);
    const memory = this.#memory;
    const view = new DataView(memory.buffer, memory.byteOffset);
    const piece = memory.subarray(CARRY_BYTES);
    let read = readFully(file, piece, PAGE_BYTES, offset);
    const header = read < BATCH_HEADER_BYTES ? undefined : seal.decode(piece, 0, offset);
    if (header === undefined) return "no valid batch header";
    if (header.firstSequence !== firstSequence) return "a batch with other records";
    if (header.bodyBytes > segment.batchBytesMax) return "the body is larger than the limit";
    const end = BATCH_HEADER_BYTES + header.bodyBytes;
    const pages = new BatchPages(segment.segment, offset, end, firstSequence, header.count);
    const starts = new PageStarts(pages);
    let bodyCrc = 0;
    for (let start = 0; start < end; start += PIECE_BYTES) {
      const wanted = Math.min(PIECE_BYTES, end - start);
      read = start === 0 ? read : 0;
      if (read < wanted) read += readFully(file, piece.subarray(read), wanted - read, offset + start + read);
      if (read < wanted) return "the file ends in the body";
      bodyCrc = crc32(piece.subarray(start === 0 ? BATCH_HEADER_BYTES : 0, wanted), bodyCrc);
      for (let at = 0; at < wanted; at += PAGE_BYTES)
        pages.seal((start + at) / PAGE_BYTES, piece.subarray(at, Math.min(wanted, at + PAGE_BYTES)));
      if (!starts.walk(view, CARRY_BYTES - start, start + wanted, end)) return "the records don't fill the body";
      memory.copyWithin(0, PIECE_BYTES, PIECE_BYTES + CARRY_BYTES);
    }
    if (bodyCrc !== header.bodyCrc) return "the checksum of the body is wrong";
    return starts.finish(header.count, end) ? pages : "the records don't fill the body";
  }
}

/** Walks the frames of a batch, piece by piece, and notes the first of each page. */
class PageStarts {
  readonly #pages: CheckedPages;
  #at: number = BATCH_HEADER_BYTES;
  #records = 0;
  /** The first page without a note. */
  #page = 0;

  constructor(pages: CheckedPages) {
    this.#pages = pages;
  }

  /**
   * Goes as far as the bytes up to `known` say; byte 0 of the batch is at `shift` of the view.
   * False for a frame that can't be.
   */
  walk(view: DataView, shift: number, known: number, end: number): boolean {
    while (this.#at < end && (this.#at + CARRY_BYTES <= known || known === end)) {
      const next = frameEnd(view, this.#at + shift, end + shift);
      if (next === MALFORMED) return false;
      if (this.#at >= this.#page * PAGE_BYTES) this.#note();
      this.#at = next - shift;
      this.#records += 1;
    }
    return true;
  }

  /** Whether these were all, and as many as the header says. */
  finish(records: number, end: number): boolean {
    while (this.#page < this.#pages.count) this.#noteOne();
    return this.#at === end && this.#records === records;
  }

  /** All pages up to the one in which this frame begins. */
  #note(): void {
    while (this.#page * PAGE_BYTES <= this.#at) this.#noteOne();
  }

  #noteOne(): void {
    this.#pages.setFence(this.#page, this.#records, this.#at);
    this.#page += 1;
  }
}

/** A record with more bytes isn't kept from being collected by the cursor that walked it. */
const SHARED_CURSOR_BYTES: number = 16 * PAGE_BYTES;
const cursor = new RecordCursor();

/**
 * The record with this sequence, which the batch must hold; undefined when the file doesn't hold
 * what was proven.
 */
export function recordOf(cache: PageCache, pages: BatchPages, sequence: number): JournalRecord | undefined {
  const index = sequence - pages.firstSequence;
  const page = pages.pageOf(index);
  const next = page + 1 < pages.count ? page + 1 : page;
  // The last record of a page ends where the next one begins, which may be pages away.
  if (pages.fenceOf(next) === index + 1) {
    const last = Math.floor((pages.extraOf(next) - 1) / PAGE_BYTES);
    if (last > page) cache.prefetch(pages, page, last);
  }
  const frame = cache.hold(pages, page);
  if (frame < 0) return undefined;
  const view = cache.viewOf(frame);
  const shift = cache.offsetOf(frame) - page * PAGE_BYTES;
  let at = pages.extraOf(page);
  let end = at + 4 + frameLength(view.getUint32(at + shift, true));
  for (let left = index - pages.fenceOf(page); left > 0; left -= 1) {
    at = alignUp(end, 8);
    end = at + 4 + frameLength(view.getUint32(at + shift, true));
  }
  if (end <= (page + 1) * PAGE_BYTES) {
    cursor.goTo(cache.chunkOf(frame), view, at + shift, sequence);
    return recordAt(cursor);
  }
  const bytes = cache.copy(pages, at, end, recordRoom);
  if (bytes === undefined) return undefined;
  const walker = bytes.length > SHARED_CURSOR_BYTES ? new RecordCursor() : cursor;
  walker.reset(bytes, sequence);
  walker.next();
  return recordIn(walker);
}
