/** Records that wait for a retry: origin, place of RETRY, attempts, due, pause, age. */
import type { RecordStates } from "../states/record-states.ts";
import { decodeRows, encodeRows, type OlderSection, type Section } from "./section.ts";

type Row = readonly [origin: number, place: number, attempts: number, dueMs: number, pauseMs: number, ageMs: number];
const WIDTH = 6;

function* rowsOf({ retries }: RecordStates): Generator<Row, void> {
  for (const [origin, { place, attempts, dueMs, pauseMs, ageMs }] of retries) {
    yield [origin, place, attempts, dueMs, pauseMs, ageMs];
  }
}

export const retriesSection: Section = {
  tag: "RTRY",
  encode: (states) => encodeRows(rowsOf(states), states.retries.size, WIDTH),
  decode: (bytes, { retries }) => {
    for (const [origin, place, attempts, dueMs, pauseMs, ageMs] of decodeRows(bytes, WIDTH) as Iterable<Row>) {
      retries.set(origin, { place, attempts, dueMs, pauseMs, ageMs });
    }
  },
};

/** As builds before wrote them: with the time of the first failure, which is all that they knew. */
export const olderRetriesSection: OlderSection = {
  tag: "RETR",
  decode: (bytes, { retries }) => {
    for (const [origin, place, attempts, dueMs, firstMs] of decodeRows(bytes, WIDTH - 1) as Iterable<Row>) {
      retries.set(origin, { place, attempts, dueMs, pauseMs: dueMs - firstMs, ageMs: 0 });
    }
  },
};
