/** How often records that aren't over were redriven: origin, times. */
import { decodeRows, encodeRows, type Section } from "./section.ts";

export const redrivenSection: Section = {
  tag: "AGAI",
  encode: ({ redriven }) => encodeRows(redriven, redriven.size, 2),
  decode: (bytes, { redriven }) => {
    for (const [origin, times] of decodeRows(bytes, 2) as Iterable<[number, number]>) redriven.set(origin, times);
  },
};
