/** Records that wait for a retry: origin, place of RETRY, attempts, due, first failure. */
import type { RecordStates } from "../states/record-states.ts";
import { decodeRows, encodeRows, type Section } from "./section.ts";

type Row = readonly [origin: number, place: number, attempts: number, dueMs: number, firstMs: number];
const WIDTH = 5;

function* rowsOf({ retries }: RecordStates): Generator<Row, void> {
  for (const [origin, { place, attempts, dueMs, firstMs }] of retries) yield [origin, place, attempts, dueMs, firstMs];
}

export const retriesSection: Section = {
  tag: "RETR",
  encode: (states) => encodeRows(rowsOf(states), states.retries.size, WIDTH),
  decode: (bytes, { retries }) => {
    for (const [origin, place, attempts, dueMs, firstMs] of decodeRows(bytes, WIDTH) as Iterable<Row>) {
      retries.set(origin, { place, attempts, dueMs, firstMs });
    }
  },
};
