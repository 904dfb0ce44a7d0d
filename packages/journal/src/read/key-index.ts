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
 * compares. An index that doesn't match its checksum or its segment is ignored.
 */
import { crc32 } from "@millrace/codec";
import { readU64, writeU64 } from "@millrace/base";
import { ALIGNMENT, FORMAT_VERSION, type SegmentHeader } from "../files/format.ts";
import { RecordCursor } from "../files/records.ts";
import type { SegmentReader } from "./segment-reader.ts";
import { readFully, type Storage, writeFully } from "../storage/storage.ts";

const MAGIC: Buffer = Buffer.from("MILLINDX", "latin1");
const HEADER_BYTES = 64;
const ENTRY_BYTES = 8;

export function keyIndexName(segment: number): string {
  return `index-${segment.toString(16).padStart(16, "0")}.idx`;
}

export function keyHash(key: Uint8Array): number {
  return crc32(key);
}

/** Collects the places of a segment's records while it is read. */
export class SegmentPlaces {
  readonly #base: number;
  readonly #batches: [sequence: number, page: number][] = [];
  readonly #keys: [hash: number, sequence: number][] = [];
  readonly #byHash = new Map<number, number[]>();
  readonly #cursor = new RecordCursor();

  constructor(header: SegmentHeader) {
    this.#base = header.baseSequence;
  }

  /** Adds the batch that `reader` stands on. */
  add(reader: SegmentReader): void {
    const first = (reader.batch as { firstSequence: number }).firstSequence;
    this.#batches.push([first - this.#base, reader.batchOffset / ALIGNMENT]);
    const cursor = this.#cursor;
    cursor.reset(reader.body, first);
    while (cursor.next()) {
      if (cursor.keyStart === cursor.payloadStart) continue;
      const hash = keyHash(cursor.key());
      this.#keys.push([hash, cursor.sequence - this.#base]);
      const known = this.#byHash.get(hash);
      if (known === undefined) this.#byHash.set(hash, [cursor.sequence]);
      else known.push(cursor.sequence);
    }
  }

  /** Offset and first sequence of the batch that holds `sequence`; undefined when it isn't here. */
  batchOf(sequence: number): readonly [offset: number, firstSequence: number] | undefined {
    const index = lastAtMost(
      this.#batches.length,
      (at) => (this.#batches[at] as [number, number])[0],
      sequence - this.#base,
    );
    const batch = this.#batches[index];
    return batch === undefined ? undefined : [batch[1] * ALIGNMENT, batch[0] + this.#base];
  }

  /** Sequences of the records whose key may be the one with this hash, oldest first. */
  sequencesOf(hash: number): readonly number[] {
    return this.#byHash.get(hash) ?? [];
  }

  encode(header: SegmentHeader): Buffer {
    const keys = this.#keys.toSorted((left, right) => left[0] - right[0] || left[1] - right[1]);
    const bytes = Buffer.alloc(HEADER_BYTES + (this.#batches.length + keys.length) * ENTRY_BYTES);
    MAGIC.copy(bytes);
    bytes.writeUInt16LE(FORMAT_VERSION, 8);
    writeU64(bytes, header.segment, 16);
    header.salt.copy(bytes, 24);
    writeU64(bytes, this.#base, 32);
    bytes.writeUInt32LE(this.#batches.length, 40);
    bytes.writeUInt32LE(keys.length, 44);
    let offset = HEADER_BYTES;
    for (const [first, second] of [...this.#batches, ...keys]) {
      bytes.writeUInt32LE(first, offset);
      bytes.writeUInt32LE(second, offset + 4);
      offset += ENTRY_BYTES;
    }
    bytes.writeUInt32LE(crc32(bytes.subarray(HEADER_BYTES)), 48);
    bytes.writeUInt32LE(crc32(bytes.subarray(0, HEADER_BYTES - 4)), HEADER_BYTES - 4);
    return bytes;
  }
}

/** An index file that was checked once; looked up by reading a few entries of it. */
export class IndexFile {
  readonly #storage: Storage;
  readonly #name: string;
  readonly #base: number;
  readonly #batches: number;
  readonly #keys: number;

  private constructor(storage: Storage, name: string, base: number, batches: number, keys: number) {
    this.#storage = storage;
    this.#name = name;
    this.#base = base;
    this.#batches = batches;
    this.#keys = keys;
  }

  /** The index of a segment; undefined without a valid one. */
  static open(storage: Storage, header: SegmentHeader): IndexFile | undefined {
    const name = keyIndexName(header.segment);
    if (!storage.list().includes(name)) return undefined;
    const file = storage.open(name, "read");
    try {
      const bytes = Buffer.alloc(file.size());
      readFully(file, bytes, bytes.length, 0);
      if (bytes.length < HEADER_BYTES || !bytes.subarray(0, 8).equals(MAGIC)) return undefined;
      if (crc32(bytes.subarray(0, HEADER_BYTES - 4)) !== bytes.readUInt32LE(HEADER_BYTES - 4)) return undefined;
      if (bytes.readUInt16LE(8) !== FORMAT_VERSION || crc32(bytes.subarray(HEADER_BYTES)) !== bytes.readUInt32LE(48))
        return undefined;
      if (readU64(bytes, 16) !== header.segment || header.salt.compare(bytes, 24, 32) !== 0) return undefined;
      return new IndexFile(storage, name, readU64(bytes, 32), bytes.readUInt32LE(40), bytes.readUInt32LE(44));
    } finally {
      file.close();
    }
  }

  batchOf(sequence: number): readonly [offset: number, firstSequence: number] | undefined {
    return this.#withEntries((at) => {
      const index = lastAtMost(this.#batches, (entry) => at(entry)[0], sequence - this.#base);
      if (index < 0) return undefined;
      const [first, page] = at(index);
      return [page * ALIGNMENT, first + this.#base];
    });
  }

  sequencesOf(hash: number): readonly number[] {
    return this.#withEntries((at) => {
      const sequences: number[] = [];
      let index = lastAtMost(this.#keys, (entry) => at(this.#batches + entry)[0], hash);
      for (; index >= 0; index -= 1) {
        const [found, sequence] = at(this.#batches + index);
        if (found !== hash) break;
        sequences.unshift(sequence + this.#base);
      }
      return sequences;
    });
  }

  #withEntries<T>(look: (at: (index: number) => readonly [number, number]) => T): T {
    const file = this.#storage.open(this.#name, "read");
    const entry = Buffer.alloc(ENTRY_BYTES);
    try {
      return look((index) => {
        readFully(file, entry, ENTRY_BYTES, HEADER_BYTES + index * ENTRY_BYTES);
        return [entry.readUInt32LE(0), entry.readUInt32LE(4)];
      });
    } finally {
      file.close();
    }
  }
}

/**
 * Writes the index of a finished segment. A torn index fails its checksum, so it needs neither a
 * sync nor a rename.
 */
export function writeKeyIndex(storage: Storage, header: SegmentHeader, places: SegmentPlaces): void {
  const file = storage.open(keyIndexName(header.segment), "replace");
  try {
    writeFully(file, [places.encode(header)], 0);
  } finally {
    file.close();
  }
}

/** Index of the last of `count` ascending values that is at most `wanted`; -1 without. */
function lastAtMost(count: number, value: (index: number) => number, wanted: number): number {
  let low = 0;
  let high = count - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    if (value(middle) <= wanted) low = middle + 1;
    else high = middle - 1;
  }
  return high;
}
