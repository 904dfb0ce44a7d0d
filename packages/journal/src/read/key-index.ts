/**
 * Where the records of one segment are: the offset of every batch, and the keys by their checksums.
 *
 * `index-<id>.idx` beside a finished segment; the keeper writes it, and it can be deleted at any
 * time:
 *
 *   0     8   magic "MILLINDX"                  8   u16 format version
 *   16    u64 segment                           24  8 salt of the segment
 *   32    u64 base sequence B
 *   40    u32 number of batches                 44  u32 number of keys
 *   48    u32 CRC of everything after byte 64   60  u32 CRC of bytes 0–59
 *   64    per batch: u32 first sequence − B, u32 offset / 4096, in order
 *         per record with a key: u32 CRC of the key, u32 sequence − B, sorted
 *
 * An index is advice, never the truth: the lookup reads the record at the place that it names, and
 * compares. An index that can't be read, or doesn't match its checksum or its segment, is ignored.
 * A lookup reads it once as a whole; then it keeps the first entry of each page, 0.4 % of the
 * index, and reads pages.
 */
import { endianness } from "node:os";
import { crc32 } from "@millrace/codec";
import { readU64, writeU64 } from "@millrace/base";
import { ALIGNMENT, FORMAT_VERSION, type SegmentHeader } from "../files/format.ts";
import { withFile } from "../files/segments.ts";
import { CheckedPages, guess, GUESSES, PAGE_BYTES, type PageCache } from "./page-cache.ts";
import type { BatchList, BatchPlace, KeyList, KeyPlaces } from "./places.ts";
import { isNotThere } from "../storage/not-there.ts";
import { readFully, type Storage, type StorageFile, writeFully } from "../storage/storage.ts";

const MAGIC: Buffer = Buffer.from("MILLINDX", "latin1");
const HEADER_BYTES = 64;
const ENTRY_BYTES = 8;
const PAGE_ENTRIES: number = PAGE_BYTES / ENTRY_BYTES;

export function keyIndexName(segment: number): string {
  return `index-${segment.toString(16).padStart(16, "0")}.idx`;
}

/** The index file is no longer what it was when it was opened; the lookup does without it. */
export class IndexLost extends Error {}

/** An index file that was checked as a whole once. Its methods throw `IndexLost`. */
export class IndexFile implements KeyPlaces {
  readonly #cache: PageCache;
  readonly #base: number;
  readonly #batches: Entries;
  readonly #keys: Entries;

  private constructor(cache: PageCache, name: string, bytes: Buffer) {
    this.#cache = cache;
    this.#base = readU64(bytes, 32);
    const keysStart = HEADER_BYTES + bytes.readUInt32LE(40) * ENTRY_BYTES;
    this.#batches = new Entries(cache, name, bytes, HEADER_BYTES, keysStart);
    this.#keys = new Entries(cache, name, bytes, keysStart, keysStart + bytes.readUInt32LE(44) * ENTRY_BYTES);
  }

  /** The index of a segment; undefined without a valid one. */
  static open(storage: Storage, header: SegmentHeader, cache: PageCache): IndexFile | undefined {
    const bytes = readIndex(storage, header);
    return bytes === undefined ? undefined : new IndexFile(cache, keyIndexName(header.segment), bytes);
  }

  /** Gives its pages back. */
  close(): void {
    this.#cache.drop(this.#batches.table);
    this.#cache.drop(this.#keys.table);
  }

  /** The batch that holds `sequence`, or would; undefined when it isn't here. */
  batchOf(sequence: number): BatchPlace | undefined {
    const at = this.#batches.lastAtMost(sequence - this.#base);
    return at < 0 ? undefined : [this.#batches.second(at) * ALIGNMENT, this.#batches.first(at) + this.#base];
  }

  newest(hash: number): number {
    const at = this.#keys.lastAtMost(hash);
    return at >= 0 && this.#keys.first(at) === hash ? at : -1;
  }

  older(place: number): number {
    return place > 0 && this.#keys.first(place - 1) === this.#keys.first(place) ? place - 1 : -1;
  }

  sequenceAt(place: number): number {
    return this.#keys.second(place) + this.#base;
  }
}

/** A list of entries, sorted by the first of their two numbers. */
class Entries {
  readonly #cache: PageCache;
  readonly table: CheckedPages;

  constructor(cache: PageCache, name: string, bytes: Buffer, start: number, end: number) {
    this.#cache = cache;
    this.table = new CheckedPages(name, start, end - start);
    for (let page = 0; page < this.table.count; page += 1) {
      const at = start + page * PAGE_BYTES;
      this.table.seal(page, bytes.subarray(at, at + this.table.bytesIn(page)));
      this.table.setFence(page, bytes.readUInt32LE(at), 0);
    }
  }

  /** Number of the last entry whose first number is at most `wanted`; -1 without. */
  lastAtMost(wanted: number): number {
    const page = this.table.pageOf(wanted);
    if (page < 0) return -1;
    const frame = this.#hold(page);
    const view = this.#cache.viewOf(frame);
    const offset = this.#cache.offsetOf(frame);
    let low = 0;
    let high = this.table.bytesIn(page) / ENTRY_BYTES - 1;
    for (let step = 0; low <= high; step += 1) {
      const least = view.getUint32(offset + low * ENTRY_BYTES, true);
      const most = view.getUint32(offset + high * ENTRY_BYTES, true);
      if (least > wanted) high = low - 1;
      else if (most <= wanted) low = high + 1;
      else {
        const middle = step < GUESSES ? low + guess(wanted - least, most - least, high - low) : (low + high) >> 1;
        if (view.getUint32(offset + middle * ENTRY_BYTES, true) <= wanted) low = middle + 1;
        else high = middle - 1;
      }
    }
    return page * PAGE_ENTRIES + high;
  }

  first(index: number): number {
    return this.#word(index, 0);
  }

  second(index: number): number {
    return this.#word(index, 4);
  }

  #word(index: number, within: number): number {
    const frame = this.#hold(Math.floor(index / PAGE_ENTRIES));
    const offset = this.#cache.offsetOf(frame) + (index % PAGE_ENTRIES) * ENTRY_BYTES;
    return this.#cache.viewOf(frame).getUint32(offset + within, true);
  }

  #hold(page: number): number {
    const frame = readOr(-1, () => this.#cache.hold(this.table, page));
    if (frame < 0) throw new IndexLost(`${this.table.file} has changed`);
    return frame;
  }
}

/** The bytes of a segment's index; undefined without a valid one that can be read. */
export function readIndex(storage: Storage, header: SegmentHeader): Buffer | undefined {
  const name = keyIndexName(header.segment);
  const bytes = readOr(undefined, () => withFile(storage, name, readWhole));
  if (bytes === undefined || bytes.length < HEADER_BYTES || !bytes.subarray(0, 8).equals(MAGIC)) return undefined;
  if (crc32(bytes.subarray(0, HEADER_BYTES - 4)) !== bytes.readUInt32LE(HEADER_BYTES - 4)) return undefined;
  const hasRest =
    bytes.readUInt16LE(8) === FORMAT_VERSION && crc32(bytes.subarray(HEADER_BYTES)) === bytes.readUInt32LE(48);
  const isOfSegment = readU64(bytes, 16) === header.segment && header.salt.compare(bytes, 24, 32) === 0;
  return hasRest && isOfSegment ? bytes : undefined;
}

function readWhole(file: StorageFile): Buffer {
  const bytes = Buffer.alloc(file.size());
  return bytes.subarray(0, readFully(file, bytes, bytes.length, 0));
}

/** What `read` returns, `other` where the system has an error: nobody needs an index. */
function readOr<T, U>(other: U, read: () => T): T | U {
  try {
    return read();
  } catch (thrown) {
    if (isNotThere(thrown) || (thrown as NodeJS.ErrnoException).syscall !== undefined) return other;
    throw thrown;
  }
}

/**
 * Writes the index of a finished segment. A torn index fails its checksum, so it needs neither a
 * sync nor a rename.
 */
export function writeKeyIndex(storage: Storage, header: SegmentHeader, batches: BatchList, keys: KeyList): void {
  const file = storage.open(keyIndexName(header.segment), "replace");
  try {
    writeFully(file, [encodeIndex(header, batches, keys)], 0);
  } finally {
    file.close();
  }
}

function encodeIndex(header: SegmentHeader, batches: BatchList, keys: KeyList): Buffer {
  const keysStart = HEADER_BYTES + batches.count * ENTRY_BYTES;
  const bytes = Buffer.alloc(keysStart + keys.count * ENTRY_BYTES);
  MAGIC.copy(bytes);
  bytes.writeUInt16LE(FORMAT_VERSION, 8);
  writeU64(bytes, header.segment, 16);
  header.salt.copy(bytes, 24);
  writeU64(bytes, header.baseSequence, 32);
  bytes.writeUInt32LE(batches.count, 40);
  bytes.writeUInt32LE(keys.count, 44);
  for (let index = 0; index < batches.count; index += 1) {
    const [first, page] = batches.entry(index);
    bytes.writeUInt32LE(first, HEADER_BYTES + index * ENTRY_BYTES);
    bytes.writeUInt32LE(page, HEADER_BYTES + index * ENTRY_BYTES + 4);
  }
  const sorted = sortedKeys(keys);
  for (let index = 0; index < keys.count; index += 1) {
    bytes.writeUInt32LE(sorted[2 * index + 1 - LOW] as number, keysStart + index * ENTRY_BYTES);
    bytes.writeUInt32LE(sorted[2 * index + LOW] as number, keysStart + index * ENTRY_BYTES + 4);
  }
  bytes.writeUInt32LE(crc32(bytes.subarray(HEADER_BYTES)), 48);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, HEADER_BYTES - 4)), HEADER_BYTES - 4);
  return bytes;
}

/** Which word of a number of 64 bits is the low one on this machine. */
const LOW: number = endianness() === "LE" ? 0 : 1;

/**
 * CRC and sequence of every key, as the high and the low word of a number of 64 bits, in ascending
 * order.
 */
function sortedKeys(keys: KeyList): Uint32Array {
  const words = new Uint32Array(2 * keys.count);
  for (let index = 0; index < keys.count; index += 1) {
    const [hash, sequence] = keys.entry(index);
    words[2 * index + LOW] = sequence;
    words[2 * index + 1 - LOW] = hash;
  }
  new BigUint64Array(words.buffer).sort();
  return words;
}
