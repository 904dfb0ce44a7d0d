/** Sequences that each producer has stored, as a list of the codec: id, ranges. */
import { decode, encode } from "@millrace/codec";
import { RangeSet } from "../format/range-set.ts";
import { addRanges, encodeRanges, type Section } from "./section.ts";

export const producersSection: Section = {
  tag: "PROD",
  encode: ({ producers }) => Buffer.from(encode([...producers].map(([id, ranges]) => [id, encodeRanges(ranges)]))),
  decode: (bytes, { producers }) => {
    for (const [id, ranges] of decode(bytes) as readonly [string, Uint8Array][]) {
      const sequences = new RangeSet();
      addRanges(sequences, Buffer.from(ranges));
      producers.set(id, sequences);
    }
  },
};
