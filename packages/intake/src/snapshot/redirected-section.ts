/** Handlers of redriven records, instead of their own, as a list of the codec: origin, name. */
import { decode, encode } from "@millrace/codec";
import type { Section } from "./section.ts";

export const redirectedSection: Section = {
  tag: "REDI",
  encode: ({ redirected }) => Buffer.from(encode([...redirected])),
  decode: (bytes, { redirected }) => {
    for (const [origin, name] of decode(bytes) as readonly [number, string][]) redirected.set(origin, name);
  },
};
