/**
 * One segment as look-ups see it: where its batches and keys are, and the batches that were proven.
 *
 * The places of a finished segment are in its index file. Until the keeper has written that, and
 * for the segment that is being written, they are collected from the segment itself: those of
 * batches from their headers, those of keys from whole batches. The next question goes on where the
 * last one stopped.
 */
import { type BatchHeader, BatchSeal, SEGMENT_HEADER_BYTES, type SegmentHeader, segmentName } from "../files/format.ts";
import type { Storage } from "../storage/storage.ts";
import { type BatchPages, BatchProver, recordOf } from "./batch-pages.ts";
import { IndexFile, keyIndexName } from "./key-index.ts";
import type { OpenFiles } from "./open-files.ts";
import type { PageCache, TableMap } from "./page-cache.ts";
import { BatchList, KeyList, type KeyPlaces } from "./places.ts";
import type { JournalRecord } from "./record.ts";
import { type SegmentPosition, SegmentReader, startOf } from "./segment-reader.ts";

/** Read at once for headers, most of which lie far apart. */
const HEADER_WINDOW_BYTES = 4096;
/** Read at once for keys. */
const KEY_WINDOW_BYTES: number = 2 ** 16;
/** The keeper writes an index at some time; a look for it costs as much as ten readings. */
const LOOKS_BETWEEN = 1024;

/** What all segments of a lookup share. */
export interface SegmentTools {
  readonly storage: Storage;
  readonly files: OpenFiles;
  readonly cache: PageCache;
  readonly prover: BatchProver;
}

/** A place in a segment where something that must be there can't be read. */
export class Unreadable extends Error {
  readonly segment: number;
  readonly offset: number;
  readonly sequence: number;

  constructor(segment: number, offset: number, reason: string, sequence: number) {
    super(reason);
    this.segment = segment;
    this.offset = offset;
    this.sequence = sequence;
  }
}

export class KnownSegment {
  readonly header: SegmentHeader;
  readonly #tools: SegmentTools;
  readonly #name: string;
  readonly #seal: BatchSeal;
  readonly #proven: TableMap<BatchPages> = new Map();
  #index: IndexFile | undefined;
  /** Questions until the next look for an index. */
  #untilLook = 0;
  #batches: BatchList | undefined;
  #batchesEnd: SegmentPosition;
  #keys: KeyList | undefined;
  #keysEnd: SegmentPosition;

  constructor(header: SegmentHeader, tools: SegmentTools) {
    this.header = header;
    this.#tools = tools;
    this.#name = segmentName(header.segment);
    this.#seal = new BatchSeal(header.logId, header.segment, header.salt);
    this.#batchesEnd = startOf(header);
    this.#keysEnd = startOf(header);
  }

  /**
   * The record with this sequence, which this segment must hold. `isNewest`: it is being written,
   * so it has no index. Throws `Unreadable` and `IndexLost`.
   */
  record(sequence: number, isNewest: boolean): JournalRecord {
    const index = this.#indexIf(!isNewest);
    const place = index === undefined ? this.#batchesUpTo(sequence).batchOf(sequence) : index.batchOf(sequence);
    const [offset, firstSequence] = place ?? [SEGMENT_HEADER_BYTES, sequence];
    const proven = this.#proven.get(offset);
    if (proven !== undefined && !isIn(proven, sequence)) throw this.#notThere(offset, sequence);
    // A page that has changed is proven once more: if the batch is damaged, the proof says how.
    const record = proven === undefined ? undefined : this.#in(proven, sequence);
    return record ?? this.#prove(offset, firstSequence, sequence);
  }

  /**
   * The keys up to sequence `last` at least. Throws `Unreadable` where a batch before that is
   * invalid.
   */
  keys(last: number, isNewest: boolean): KeyPlaces {
    return this.#indexIf(!isNewest) ?? this.#keysUpTo(last);
  }

  /** Looks for an index at the next question, and forgets the one that it had. */
  forgetIndex(): void {
    this.#index?.close();
    this.#index = undefined;
    this.#untilLook = 0;
  }

  /** The segment is of no use any more: gives back its files and pages. */
  close(): void {
    this.forgetIndex();
    for (const pages of this.#proven.values()) this.#tools.cache.drop(pages);
    this.#tools.files.close(this.#name);
    this.#tools.files.close(keyIndexName(this.header.segment));
  }

  /** The batch must hold it; undefined when the file doesn't hold what was proven. */
  #in(pages: BatchPages, sequence: number): JournalRecord | undefined {
    const record = recordOf(this.#tools.cache, pages, sequence);
    if (record === undefined) this.#tools.cache.drop(pages);
    return record;
  }

  #prove(offset: number, firstSequence: number, sequence: number): JournalRecord {
    const { files, prover, cache } = this.#tools;
    const pages = prover.prove(files.get(this.#name), this.#seal, this.header, offset, firstSequence);
    if (typeof pages === "string") throw this.#unreadable(offset, pages, sequence);
    const isKept = cache.keep(this.#proven, pages);
    const record = isIn(pages, sequence) ? this.#in(pages, sequence) : undefined;
    if (!isKept) cache.drop(pages);
    if (record === undefined) throw this.#notThere(offset, sequence);
    return record;
  }

  #indexIf(isFinished: boolean): IndexFile | undefined {
    if (!isFinished || this.#index !== undefined) return this.#index;
    this.#untilLook -= 1;
    if (this.#untilLook >= 0) return undefined;
    this.#untilLook = LOOKS_BETWEEN;
    this.#index = IndexFile.open(this.#tools.storage, this.header, this.#tools.cache);
    if (this.#index === undefined) return undefined;
    this.#batches = undefined;
    this.#batchesEnd = startOf(this.header);
    this.#keys = undefined;
    this.#keysEnd = startOf(this.header);
    return this.#index;
  }

  /** The batches up to the one that holds `sequence` at least, by their headers. */
  #batchesUpTo(sequence: number): BatchList {
    const { header } = this;
    this.#batches ??= new BatchList(header.baseSequence);
    if (this.#batchesEnd.nextSequence > sequence) return this.#batches;
    const file = this.#tools.files.get(this.#name);
    const reader = new SegmentReader(file, header, HEADER_WINDOW_BYTES, this.#batchesEnd);
    while (this.#batchesEnd.nextSequence <= sequence) {
      const { offset, nextSequence } = reader.position;
      if (!reader.nextHeader()) throw this.#unreadable(offset, reader.reason, nextSequence);
      this.#batches.add(nextSequence, offset);
      this.#batchesEnd = reader.position;
    }
    return this.#batches;
  }

  #keysUpTo(last: number): KeyList {
    const { header } = this;
    this.#keys ??= new KeyList(header.baseSequence);
    if (this.#keysEnd.nextSequence > last) return this.#keys;
    const file = this.#tools.files.get(this.#name);
    const reader = new SegmentReader(file, header, KEY_WINDOW_BYTES, this.#keysEnd);
    while (this.#keysEnd.nextSequence <= last) {
      const { offset, nextSequence } = reader.position;
      if (!reader.next()) throw this.#unreadable(offset, reader.reason, nextSequence);
      this.#keys.add(reader.body, (reader.batch as BatchHeader).firstSequence);
      this.#keysEnd = reader.position;
    }
    return this.#keys;
  }

  #notThere(offset: number, sequence: number): Unreadable {
    return this.#unreadable(offset, "no batch with that sequence", sequence);
  }

  #unreadable(offset: number, reason: string, sequence: number): Unreadable {
    return new Unreadable(this.header.segment, offset, reason, sequence);
  }
}

/** Whether a batch has a record with this sequence, which isn't before its first. */
function isIn({ firstSequence, records }: BatchPages, sequence: number): boolean {
  return sequence - firstSequence < records;
}
