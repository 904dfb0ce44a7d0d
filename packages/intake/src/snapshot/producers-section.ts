/**
 * Sequences that each producer has stored, and sums of what they said, as a list of the codec: id,
 * ranges, shift and sums of `ContentSums`.
 */
import { decode, encode } from "@millrace/codec";
import { ContentSums, ProducerState } from "../states/producer-state.ts";
import { addRanges, encodeRanges, type Section } from "./section.ts";

/** Early builds wrote no sums. */
type Saved = readonly [id: string, ranges: Uint8Array, shift?: number, sums?: Uint32Array];

export const producersSection: Section = {
  tag: "PROD",
  encode: ({ producers }) => {
    const saved = [...producers].map(([id, { sequences, content }]): Saved => {
      return [id, encodeRanges(sequences), content.shift, content.sums];
    });
    return Buffer.from(encode(saved));
  },
  decode: (bytes, { producers }) => {
    for (const [id, ranges, shift, sums] of decode(bytes) as readonly Saved[]) {
      const known = new ProducerState(new ContentSums(shift, sums));
      addRanges(known.sequences, Buffer.from(ranges));
      producers.set(id, known);
    }
  },
};
