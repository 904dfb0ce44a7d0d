/** Dead letters: origin, place of the DEAD record, reason, attempts, time of death. */
import type { RecordStates } from "../states/record-states.ts";
import { decodeRows, encodeRows, type Section } from "./section.ts";

type Row = readonly [origin: number, place: number, reason: number, attempts: number, atMs: number];
const WIDTH = 5;

function* rowsOf({ dead }: RecordStates): Generator<Row, void> {
  for (const [origin, { place, reason, attempts, atMs }] of dead) yield [origin, place, reason, attempts, atMs];
}

export const deadSection: Section = {
  tag: "DEAD",
  encode: (states) => encodeRows(rowsOf(states), states.dead.size, WIDTH),
  decode: (bytes, { dead }) => {
    for (const [origin, place, reason, attempts, atMs] of decodeRows(bytes, WIDTH) as Iterable<Row>) {
      dead.set(origin, { place, reason, attempts, atMs });
    }
  },
};
