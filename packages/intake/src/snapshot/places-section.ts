/** Where records are that were copied forward: origin and place. */
import { decodeRows, encodeRows, type Section } from "./section.ts";

export const placesSection: Section = {
  tag: "PLAC",
  encode: ({ places }) => encodeRows(places, places.size, 2),
  decode: (bytes, { places, origins }) => {
    for (const [origin, place] of decodeRows(bytes, 2) as Iterable<[number, number]>) {
      places.set(origin, place);
      origins.set(place, origin);
    }
  },
};
