/** Places that nobody needs any more: first and last of each range. */
import { addRanges, encodeRanges, type Section } from "./section.ts";

export const droppableSection: Section = {
  tag: "DROP",
  encode: (states) => encodeRanges(states.droppable),
  decode: (bytes, states) => addRanges(states.droppable, bytes),
};
