/** Names of handlers that are paused, as a list of the codec. */
import { decode, encode } from "@millrace/codec";
import type { Section } from "./section.ts";

export const pausedSection: Section = {
  tag: "PAUS",
  encode: ({ paused }) => Buffer.from(encode([...paused])),
  decode: (bytes, { paused }) => {
    for (const name of decode(bytes) as readonly string[]) paused.add(name);
  },
};
