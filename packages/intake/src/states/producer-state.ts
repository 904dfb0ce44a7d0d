/**
 * The durable state of a producer: which of its sequences are stored, and sums of their content.
 *
 * A source that resumes must know whether it is still the same source. A fingerprint per record
 * would grow with the source, and one over all of it would name no place. So sequences stand in
 * blocks of equal size, at most `BLOCKS_MAX` of them, with one sum each. When a source outgrows
 * them, pairs of blocks become one. A sum doesn't depend on the order of its records, so a gap may
 * be filled later.
 */
import { RangeSet } from "../format/range-set.ts";

/** 4 KiB per producer at most; a source of up to 1024 records has a sum for each. */
const BLOCKS_MAX = 1024;

/** The durable state of a producer, for people. */
export interface ProducerInfo {
  readonly id: string;
  /** Sequences that are stored. */
  readonly records: number;
  /** The highest of them. */
  readonly lastSequence: number;
}

/** Sums over blocks of `2 ** shift` sequences. */
export class ContentSums {
  #shift: number;
  /** Sequences in a block. */
  #size: number;
  #sums: Uint32Array;

  constructor(shift = 0, sums: Uint32Array = new Uint32Array(0)) {
    this.#shift = shift;
    this.#size = 2 ** shift;
    this.#sums = Uint32Array.from(sums);
  }

  get shift(): number {
    return this.#shift;
  }

  get sums(): Uint32Array {
    return this.#sums;
  }

  blockOf(sequence: number): number {
    return Math.floor(sequence / this.#size);
  }

  /** First and last sequence of a block. */
  range(block: number): readonly [first: number, last: number] {
    return [block * this.#size, (block + 1) * this.#size - 1];
  }

  sumOf(block: number): number {
    return this.#sums[block] ?? 0;
  }

  add(sequence: number, payloadCrc: number): void {
    let block = this.blockOf(sequence);
    while (block >= BLOCKS_MAX) {
      this.#merge();
      block = this.blockOf(sequence);
    }
    if (block >= this.#sums.length) this.#grow(block);
    // The array takes it modulo 2^32.
    this.#sums[block] = (this.#sums[block] as number) + mixed(sequence, payloadCrc);
  }

  #grow(block: number): void {
    const larger = new Uint32Array(Math.min(BLOCKS_MAX, Math.max(16, 2 ** Math.ceil(Math.log2(block + 1)))));
    larger.set(this.#sums);
    this.#sums = larger;
  }

  #merge(): void {
    const merged = new Uint32Array(this.#sums.length);
    for (const [block, sum] of this.#sums.entries()) merged[block >> 1] = (merged[block >> 1] as number) + sum;
    this.#sums = merged;
    this.#shift += 1;
    this.#size *= 2;
  }
}

/** So that two records that change places change the sum. */
function mixed(sequence: number, payloadCrc: number): number {
  const place = Math.imul(sequence >>> 0, 0x9e3779b1) ^ Math.imul(Math.floor(sequence / 2 ** 32), 0x85ebca6b);
  const hash = Math.imul((payloadCrc ^ place) >>> 0, 0xc2b2ae35);
  return (hash ^ (hash >>> 15)) >>> 0;
}

/** The durable state of a producer, as a plain value. */
export interface ProducerSnapshot {
  /** First and last sequence of each range. */
  readonly ranges: readonly (readonly [number, number])[];
  readonly shift: number;
  readonly sums: Uint32Array;
}

export class ProducerState {
  readonly sequences: RangeSet = new RangeSet();
  readonly content: ContentSums;

  constructor(content: ContentSums = new ContentSums()) {
    this.content = content;
  }

  /** `payloadCrc`: undefined for a record of a build that kept none. */
  add(sequence: number, payloadCrc: number | undefined): void {
    this.sequences.add(sequence);
    if (payloadCrc !== undefined) this.content.add(sequence, payloadCrc);
  }

  snapshot(): ProducerSnapshot {
    const { sequences, content } = this;
    const ranges = Array.from({ length: sequences.ranges }, (_, index) => sequences.range(index));
    return { ranges, shift: content.shift, sums: content.sums };
  }
}
