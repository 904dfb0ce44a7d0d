/** How processes ended, and what they may have had in hand, as an object of the codec. */
import { decode, encode } from "@millrace/codec";
import type { Endings } from "../states/record-states.ts";
import type { Section } from "./section.ts";

type Saved = Omit<Endings, "suspects"> & { readonly suspects: readonly (readonly [number, number])[] };

export const endingsSection: Section = {
  tag: "ENDS",
  encode: ({ endings }) => Buffer.from(encode({ ...endings, suspects: [...endings.suspects] } satisfies Saved)),
  decode: (bytes, { endings }) => {
    const { suspects, uncleanEnds, isOpen, trying, lease } = decode(bytes) as Saved;
    Object.assign(endings, { uncleanEnds, isOpen, trying, lease, suspects: new Map(suspects) });
  },
};
