/**
 * Where the records of one segment are, collected while it is read: the offset of every batch, and
 * the keys by their checksums. In memory, for a segment that has no index file yet.
 */
import { crc32 } from "@millrace/codec";
import { ALIGNMENT } from "../files/format.ts";
import { RecordCursor } from "../files/records.ts";

/** Offset and first sequence of a batch. */
export type BatchPlace = readonly [offset: number, firstSequence: number];

/**
 * Records by the CRC of their keys. A place is a number that only its owner understands; -1 is
 * none.
 */
export interface KeyPlaces {
  /** The newest record whose key may be the one with this CRC. */
  newest(hash: number): number;
  /** The one before it. */
  older(place: number): number;
  sequenceAt(place: number): number;
}

/** A key of so many bytes is hashed sooner here than by a call into zlib, which takes 300 ns. */
const SHORT_BYTES = 32;
const CRC_POLYNOMIAL = 0xedb8_8320;
const CRC_TABLE: Uint32Array = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit += 1) crc = (crc & 1) === 0 ? crc >>> 1 : (crc >>> 1) ^ CRC_POLYNOMIAL;
  return crc;
});

/** The CRC-32 of a key. */
export function keyHash(key: Uint8Array): number {
  if (key.length > SHORT_BYTES) return crc32(key);
  let crc = 0xffff_ffff;
  for (let index = 0; index < key.length; index += 1)
    crc = (CRC_TABLE[(crc ^ (key[index] as number)) & 0xff] as number) ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** Numbers that become more. */
class Numbers {
  #values = new Uint32Array(64);
  length = 0;

  push(value: number): void {
    if (this.length === this.#values.length) {
      const more = new Uint32Array(2 * this.length);
      more.set(this.#values);
      this.#values = more;
    }
    this.#values[this.length] = value;
    this.length += 1;
  }

  at(index: number): number {
    return this.#values[index] as number;
  }

  set(index: number, value: number): void {
    this.#values[index] = value;
  }
}

/** 8 bytes a batch. */
export class BatchList {
  readonly #base: number;
  /** First sequences, less the segment's, and pages; both ascend. */
  readonly #firsts = new Numbers();
  readonly #pages = new Numbers();

  constructor(baseSequence: number) {
    this.#base = baseSequence;
  }

  get count(): number {
    return this.#firsts.length;
  }

  add(firstSequence: number, offset: number): void {
    this.#firsts.push(firstSequence - this.#base);
    this.#pages.push(offset / ALIGNMENT);
  }

  /** Of batch number `index`, as an index file has them. */
  entry(index: number): readonly [first: number, page: number] {
    return [this.#firsts.at(index), this.#pages.at(index)];
  }

  /** The batch that holds `sequence`, or would; undefined when it isn't here. */
  batchOf(sequence: number): BatchPlace | undefined {
    const wanted = sequence - this.#base;
    let low = 0;
    let high = this.#firsts.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      if (this.#firsts.at(middle) <= wanted) low = middle + 1;
      else high = middle - 1;
    }
    return high < 0 ? undefined : [this.#pages.at(high) * ALIGNMENT, this.#firsts.at(high) + this.#base];
  }
}

/** 16 bytes a record with a key: a chain for every few of them, the newest first. */
export class KeyList implements KeyPlaces {
  readonly #base: number;
  readonly #hashes = new Numbers();
  readonly #sequences = new Numbers();
  /** Per entry the one before it in its chain, plus one; 0 at the end. */
  readonly #before = new Numbers();
  /** Per chain its newest entry, plus one. A power of two of chains. */
  #chains = new Uint32Array(64);
  readonly #cursor = new RecordCursor();

  constructor(baseSequence: number) {
    this.#base = baseSequence;
  }

  get count(): number {
    return this.#hashes.length;
  }

  /** The keys of a batch, which has the latest records so far. */
  add(body: Buffer, firstSequence: number): void {
    const cursor = this.#cursor;
    cursor.reset(body, firstSequence);
    while (cursor.next()) {
      if (cursor.keyStart !== cursor.payloadStart) this.#add(keyHash(cursor.key()), cursor.sequence - this.#base);
    }
  }

  /** CRC and sequence, less the segment's first, of entry number `index`. */
  entry(index: number): readonly [hash: number, sequence: number] {
    return [this.#hashes.at(index), this.#sequences.at(index)];
  }

  newest(hash: number): number {
    return this.#sameFrom((this.#chains[hash & (this.#chains.length - 1)] as number) - 1, hash);
  }

  older(place: number): number {
    return this.#sameFrom(this.#before.at(place) - 1, this.#hashes.at(place));
  }

  sequenceAt(place: number): number {
    return this.#sequences.at(place) + this.#base;
  }

  #sameFrom(first: number, hash: number): number {
    let place = first;
    while (place >= 0 && this.#hashes.at(place) !== hash) place = this.#before.at(place) - 1;
    return place;
  }

  #add(hash: number, sequence: number): void {
    if (this.#hashes.length === this.#chains.length) this.#spread();
    const chain = hash & (this.#chains.length - 1);
    this.#hashes.push(hash);
    this.#sequences.push(sequence);
    this.#before.push(this.#chains[chain] as number);
    this.#chains[chain] = this.#hashes.length;
  }

  /** Twice as many chains. */
  #spread(): void {
    const chains = new Uint32Array(2 * this.#chains.length);
    for (let place = 0; place < this.#hashes.length; place += 1) {
      const chain = this.#hashes.at(place) & (chains.length - 1);
      this.#before.set(place, chains[chain] as number);
      chains[chain] = place + 1;
    }
    this.#chains = chains;
  }
}
