/**
 * A section of a snapshot: what the states know of one kind of thing, as bytes of its own.
 *
 * A section whose bytes change gets another tag, and the old one is read on. No section relies on
 * another.
 */
import type { RangeSet } from "../format/range-set.ts";
import type { RecordStates } from "../states/record-states.ts";

export interface Section {
  /** Four letters. */
  readonly tag: string;
  encode(states: RecordStates): Buffer;
  /** Adds what `encode` wrote. `entriesAt` reads the WINDOW record at a place. */
  decode(bytes: Buffer, states: RecordStates, entriesAt: (place: number) => Buffer): void;
}

/** One that this build only reads. */
export type OlderSection = Omit<Section, "encode">;

const NUMBER_BYTES = 8;

/** Rows of numbers, f64 each, without anything between them. */
export function encodeRows(rows: Iterable<readonly number[]>, count: number, width: number): Buffer {
  const bytes = Buffer.alloc(count * width * NUMBER_BYTES);
  let offset = 0;
  for (const row of rows) for (const value of row) offset = bytes.writeDoubleLE(value, offset);
  return bytes;
}

export function* decodeRows(bytes: Buffer, width: number): Generator<readonly number[], void> {
  for (let offset = 0; offset < bytes.length; offset += width * NUMBER_BYTES) {
    yield Array.from({ length: width }, (_, column) => bytes.readDoubleLE(offset + column * NUMBER_BYTES));
  }
}

function* rangesOf(set: RangeSet): Generator<readonly [first: number, last: number], void> {
  for (let index = 0; index < set.ranges; index += 1) yield set.range(index);
}

export function encodeRanges(set: RangeSet): Buffer {
  return encodeRows(rangesOf(set), set.ranges, 2);
}

export function addRanges(set: RangeSet, bytes: Buffer): void {
  for (const [first, last] of decodeRows(bytes, 2)) set.addRange(first as number, last as number);
}
