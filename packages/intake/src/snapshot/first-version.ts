/**
 * Snapshots of version 1, of the first builds: u32 version, three u32 counts, u64 unused, then
 * pairs of f64: settled and droppable ranges, places of DEAD records by origin, places by origin.
 * They are read, and never written.
 */
import { intakeError } from "../errors.ts";
import { REASON } from "../format/state-records.ts";
import type { RecordStates } from "../states/record-states.ts";

export const FIRST_VERSION = 1;
const HEAD_BYTES = 24;
const PAIR_BYTES = 16;

/** Adds what a snapshot of version 1 says. Throws `ERR_RECORD_UNREADABLE`. */
export function decodeFirst(bytes: Buffer, states: RecordStates): void {
  const pairs = (bytes.length - HEAD_BYTES) / PAIR_BYTES;
  const settledEnd = pairs < 0 ? 0 : bytes.readUInt32LE(4);
  const droppableEnd = pairs < 0 ? 0 : settledEnd + bytes.readUInt32LE(8);
  const deadEnd = pairs < 0 ? 0 : droppableEnd + bytes.readUInt32LE(12);
  if (!Number.isInteger(pairs) || pairs < deadEnd) {
    throw intakeError("ERR_RECORD_UNREADABLE", `a checkpoint of version ${FIRST_VERSION} has ${bytes.length} bytes`);
  }
  const dead: [origin: number, place: number][] = [];
  for (let index = 0; index < pairs; index += 1) {
    const left = bytes.readDoubleLE(HEAD_BYTES + index * PAIR_BYTES);
    const right = bytes.readDoubleLE(HEAD_BYTES + index * PAIR_BYTES + 8);
    if (index < settledEnd) states.settled.addRange(left, right);
    else if (index < droppableEnd) states.droppable.addRange(left, right);
    else if (index < deadEnd) dead.push([left, right]);
    else {
      states.places.set(left, right);
      states.origins.set(right, left);
    }
  }
  // It didn't say more. Deaths are numbered in the order of the DEAD records.
  const unsaid = { reason: REASON.exhausted, attempts: 0, atMs: 0, handler: "", keyHash: 0, bytes: 0 };
  for (const [origin, place] of dead.toSorted(([, left], [, right]) => left - right)) {
    states.dead.set(origin, { ...unsaid, place, death: place });
  }
}
