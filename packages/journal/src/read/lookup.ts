/**
 * Finds single records by sequence and by key, for the opener's thread: a question reads a few
 * pages.
 *
 * The place of a record in a finished segment is in the segment's index file. Until the keeper has
 * written that file, and for the segment that is being written, the lookup reads the segment itself
 * and collects the places; the next question continues where the last one stopped.
 */
import { type BatchHeader, SEGMENT_HEADER_BYTES, type SegmentHeader, segmentName } from "../files/format.ts";
import { RecordCursor, recordStarts } from "../files/records.ts";
import { damaged } from "./damage.ts";
import { IndexFile, keyHash, SegmentPlaces } from "./key-index.ts";
import { type JournalRecord, recordAt } from "./record.ts";
import { SegmentReader } from "./segment-reader.ts";
import type { Storage } from "../storage/storage.ts";
import { readHeaderIfThere, segmentIds } from "../files/segments.ts";

/** Read for one record: a small batch. */
const WINDOW_BYTES = 1 << 16;
/**
 * Bytes of checked batches that are kept. A batch has one checksum, so a question costs as much as
 * its whole batch; without the cache each neighbour would pay that again. One batch is kept in any
 * case.
 */
const CACHE_BYTES: number = 16 * 2 ** 20;

interface Known {
  readonly header: SegmentHeader;
  /** The index file, once the keeper has written it; the newest segment has none. */
  index: IndexFile | undefined;
  places: SegmentPlaces | undefined;
  /** Stands behind the last batch in `places`. */
  reader: SegmentReader | undefined;
}

/** A batch that was checked, and where its records begin. */
interface CheckedBatch {
  readonly body: Buffer;
  readonly starts: Uint32Array;
}

/**
 * The latest batches, by segment and offset. Durable bytes don't change, and a segment's id is
 * never used again.
 */
class BatchCache {
  readonly #batches = new Map<string, CheckedBatch>();
  #bytes = 0;

  get(segment: number, offset: number): CheckedBatch | undefined {
    const place = `${segment}/${offset}`;
    const batch = this.#batches.get(place);
    if (batch === undefined) return undefined;
    // A map keeps the order of insertion: the first entry is the least recently used one.
    this.#batches.delete(place);
    this.#batches.set(place, batch);
    return batch;
  }

  add(segment: number, offset: number, batch: CheckedBatch): void {
    this.#bytes += bytesOf(batch);
    for (const [place, oldest] of this.#batches) {
      if (this.#bytes <= CACHE_BYTES) break;
      this.#bytes -= bytesOf(oldest);
      this.#batches.delete(place);
    }
    this.#batches.set(`${segment}/${offset}`, batch);
  }

  clear(): void {
    this.#batches.clear();
    this.#bytes = 0;
  }
}

function bytesOf({ body, starts }: CheckedBatch): number {
  return body.length + starts.byteLength;
}

export class Lookup {
  readonly #storage: Storage;
  readonly #cache = new BatchCache();
  readonly #cursor = new RecordCursor();
  readonly #segments = new Map<number, Known>();
  /** The same in order, and the state of the log at the last look at the directory. */
  #inOrder: readonly Known[] = [];
  #newest: number | undefined;
  #durableThen = -1;
  #firstThen = -1;

  constructor(storage: Storage) {
    this.#storage = storage;
  }

  /**
   * The record with this sequence; undefined when it was given up, or isn't durable yet. Throws
   * `ERR_JOURNAL_DAMAGED` when it must be there and can't be read.
   */
  get(sequence: number, durableSequence: number, firstSequence: number): JournalRecord | undefined {
    if (sequence < 1 || sequence > durableSequence) return undefined;
    return this.#again(() => this.#get(sequence, this.#refresh(durableSequence, firstSequence)));
  }

  /**
   * The newest record with this key. Throws `ERR_JOURNAL_DAMAGED` when a record that can't be read
   * may be a newer one.
   */
  find(key: Uint8Array, durableSequence: number, firstSequence: number): JournalRecord | undefined {
    return this.#again(() => this.#find(key, this.#refresh(durableSequence, firstSequence), durableSequence));
  }

  close(): void {
    for (const { reader } of this.#segments.values()) reader?.close();
    this.#segments.clear();
    this.#inOrder = [];
    this.forget();
    this.#cache.clear();
  }

  #get(sequence: number, segments: readonly Known[]): JournalRecord | undefined {
    // An opening may have repeated a segment's last batch in the next segment; the newest copy
    // counts.
    const known = segments.findLast(({ header }) => header.baseSequence <= sequence);
    return known === undefined ? undefined : this.#read(known, sequence, sequence);
  }

  #find(key: Uint8Array, segments: readonly Known[], durableSequence: number): JournalRecord | undefined {
    const hash = keyHash(key);
    let last = durableSequence;
    for (const known of segments.toReversed()) {
      for (const sequence of this.#placesOf(known, last).sequencesOf(hash).toReversed()) {
        // An opening has repeated the records above in the next segment.
        if (sequence > last) continue;
        const record = this.#read(known, sequence, last);
        if (record.key.equals(key)) return record;
      }
      last = Math.min(last, known.header.baseSequence - 1);
    }
    return undefined;
  }

  /** A record in a segment that is readable up to `last`, or else throws. */
  #read(known: Known, sequence: number, last: number): JournalRecord {
    const [offset, firstSequence] = this.#placesOf(known, last).batchOf(sequence) ?? [SEGMENT_HEADER_BYTES, sequence];
    const batch = this.#cache.get(known.header.segment, offset) ?? this.#readBatch(known, offset, firstSequence);
    const start = batch?.starts[sequence - firstSequence];
    if (batch === undefined || start === undefined) throw this.#unreadable(known, offset, "no valid batch", sequence);
    const cursor = this.#cursor;
    cursor.reset(batch.body, sequence);
    cursor.at(start);
    return recordAt(cursor);
  }

  /** The batch at `offset`; undefined when there is none that begins with `firstSequence`. */
  #readBatch({ header }: Known, offset: number, firstSequence: number): CheckedBatch | undefined {
    const file = this.#storage.open(segmentName(header.segment), "read");
    const reader = new SegmentReader(file, header, WINDOW_BYTES);
    try {
      if (!reader.startAt(offset, firstSequence) || !reader.next()) return undefined;
      const { body } = reader;
      const batch = {
        // A large body keeps the window that it was read into; for a small body that would waste
        // memory.
        body: body.length * 2 < body.buffer.byteLength ? Buffer.from(body) : body,
        starts: recordStarts(body, (reader.batch as BatchHeader).count),
      };
      this.#cache.add(header.segment, offset, batch);
      return batch;
    } finally {
      reader.close();
    }
  }

  /**
   * The segments that are there now, in order. Listing the directory costs more than a small batch:
   * only after changes.
   */
  #refresh(durableSequence: number, firstSequence: number): readonly Known[] {
    if (durableSequence === this.#durableThen && firstSequence === this.#firstThen) return this.#inOrder;
    const ids = segmentIds(this.#storage);
    this.#newest = ids.at(-1);
    for (const [id, { reader }] of this.#segments) {
      if (ids.includes(id)) continue;
      reader?.close();
      this.#segments.delete(id);
    }
    this.#inOrder = ids.flatMap((id) => {
      const known = this.#segments.get(id);
      if (known !== undefined) return [known];
      const header = readHeaderIfThere(this.#storage, segmentName(id));
      if (header === undefined || header === "gone") return [];
      const fresh: Known = { header, index: undefined, places: undefined, reader: undefined };
      this.#segments.set(id, fresh);
      return [fresh];
    });
    this.#durableThen = durableSequence;
    this.#firstThen = firstSequence;
    return this.#inOrder;
  }

  /** The log was changed from its front. */
  forget(): void {
    this.#durableThen = -1;
    for (const known of this.#segments.values()) known.index = undefined;
  }

  /**
   * Looks again when a segment or an index was removed between the listing and the opening of its
   * file.
   */
  #again<T>(look: () => T): T {
    // Ends: each further turn means that one more of the known segments or indexes has gone.
    for (let left = Number.POSITIVE_INFINITY; ; left -= 1) {
      try {
        return look();
      } catch (thrown) {
        if (!hasGone(thrown) || left <= 0) throw thrown;
        left = Math.min(left, 2 * this.#inOrder.length + 1);
        this.forget();
      }
    }
  }

  /**
   * The places of a segment, up to sequence `last` at least. Throws where a batch before that is
   * invalid.
   */
  #placesOf(known: Known, last: number): IndexFile | SegmentPlaces {
    if (known.header.segment !== this.#newest) known.index ??= IndexFile.open(this.#storage, known.header);
    if (known.index !== undefined) {
      known.reader?.close();
      known.reader = undefined;
      known.places = undefined;
      return known.index;
    }
    known.places ??= new SegmentPlaces(known.header);
    known.reader ??= new SegmentReader(this.#storage.open(segmentName(known.header.segment), "read"), known.header);
    const { reader, places } = known;
    while (reader.position.nextSequence <= last) {
      const { offset, nextSequence } = reader.position;
      if (!reader.next()) throw this.#unreadable(known, offset, reader.reason, nextSequence);
      places.add(reader);
    }
    return places;
  }

  /** Damage; or a segment that was given up meanwhile, and whose file may be another's by now. */
  #unreadable({ header }: Known, offset: number, reason: string, sequence: number): Error {
    const file = segmentName(header.segment);
    if (!segmentIds(this.#storage).includes(header.segment)) return new SegmentGone(file);
    return damaged(file, offset, `${reason}, where sequence ${sequence} must be`, { firstSequence: sequence });
  }
}

/** A segment was given up during a look. */
class SegmentGone extends Error {}

function hasGone(thrown: unknown): boolean {
  return thrown instanceof SegmentGone || (thrown as NodeJS.ErrnoException).code === "ENOENT";
}
