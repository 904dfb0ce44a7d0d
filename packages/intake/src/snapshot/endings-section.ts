/** How processes ended, and what they may have had in hand, as an object of the codec. */
import { decode, encode } from "@millrace/codec";
import type { Endings } from "../states/record-states.ts";
import type { Section } from "./section.ts";

type Pairs = readonly (readonly [number, number])[];
type Saved = Omit<Endings, "suspects" | "named"> & { readonly suspects: Pairs; readonly named?: Pairs };

export const endingsSection: Section = {
  tag: "ENDS",
  encode: ({ endings }) => {
    const { suspects, named } = endings;
    return Buffer.from(encode({ ...endings, suspects: [...suspects], named: [...named] } satisfies Saved));
  },
  decode: (bytes, { endings }) => {
    const { suspects, named = [], uncleanEnds, isOpen, trying, lease } = decode(bytes) as Saved;
    Object.assign(endings, { uncleanEnds, isOpen, trying, lease, suspects: new Map(suspects), named: new Map(named) });
  },
};
