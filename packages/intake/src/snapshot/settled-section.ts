/** Places that need no delivery: first and last of each range. */
import { addRanges, encodeRanges, type Section } from "./section.ts";

export const settledSection: Section = {
  tag: "SETT",
  encode: (states) => encodeRanges(states.settled),
  decode: (bytes, states) => addRanges(states.settled, bytes),
};
