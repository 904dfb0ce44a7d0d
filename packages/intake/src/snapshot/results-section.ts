/** Results that are kept: origin, place of RESULT, until. */
import type { RecordStates } from "../states/record-states.ts";
import { decodeRows, encodeRows, type Section } from "./section.ts";

type Row = readonly [origin: number, place: number, untilMs: number];
const WIDTH = 3;

function* rowsOf({ results }: RecordStates): Generator<Row, void> {
  for (const [origin, { place, untilMs }] of results.all) yield [origin, place, untilMs];
}

export const resultsSection: Section = {
  tag: "RSLT",
  encode: (states) => encodeRows(rowsOf(states), states.results.all.size, WIDTH),
  decode: (bytes, { results }) => {
    for (const [origin, place, untilMs] of decodeRows(bytes, WIDTH) as Iterable<Row>) {
      results.keep(origin, { place, untilMs }, 0);
    }
  },
};
