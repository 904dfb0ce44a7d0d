/**
 * The dedupe window: u32 number of WINDOW records, then of each its place and the origin of its
 * last entry, f64; then the entries that no WINDOW record has yet.
 *
 * A WINDOW record that was copied forward stands behind those with later entries. The window takes
 * entries in the order of their origins alone, so the records are read in that order.
 */
import { decodeRows, encodeRows, type Section } from "./section.ts";

const COUNT_BYTES = 4;
const ROW_BYTES = 16;
type Row = readonly [place: number, lastOrigin: number];

function inOrder(rows: Iterable<Row>): Row[] {
  return [...rows].toSorted(([, left], [, right]) => left - right);
}

export const windowSection: Section = {
  tag: "WIND",
  encode: ({ window, windowChunks, windowWrittenUpTo }) => {
    const count = Buffer.alloc(COUNT_BYTES);
    count.writeUInt32LE(windowChunks.size);
    const rest = window.encode(windowWrittenUpTo, Infinity);
    return Buffer.concat([count, encodeRows(inOrder(windowChunks), windowChunks.size, 2), rest]);
  },
  decode: (bytes, { window, windowChunks }, entriesAt) => {
    const end = COUNT_BYTES + bytes.readUInt32LE(0) * ROW_BYTES;
    // Earlier builds wrote them in another order.
    for (const [place, lastOrigin] of inOrder(decodeRows(bytes.subarray(COUNT_BYTES, end), 2) as Iterable<Row>)) {
      window.decode(entriesAt(place));
      windowChunks.set(place, lastOrigin);
    }
    window.decode(bytes.subarray(end));
  },
};
