/**
 * Dead letters: u32 bytes of a list of the codec with the names of their handlers, that list, then
 * rows of origin, place of the DEAD record, reason, attempts, time of death, number of the death,
 * index of the handler, CRC-32 of the key, bytes.
 */
import { decode, encode } from "@millrace/codec";
import type { RecordStates } from "../states/record-states.ts";
import { decodeRows, encodeRows, type Section } from "./section.ts";

const WIDTH = 9;
const LENGTH_BYTES = 4;

function* rowsOf({ dead }: RecordStates, names: Map<string, number>): Generator<readonly number[], void> {
  for (const [origin, { place, reason, attempts, atMs, death, handler, keyHash, bytes }] of dead) {
    const name = names.get(handler) ?? names.size;
    names.set(handler, name);
    yield [origin, place, reason, attempts, atMs, death, name, keyHash, bytes];
  }
}

export const deadSection: Section = {
  tag: "DEAD",
  encode: (states) => {
    const names = new Map<string, number>();
    const rows = encodeRows(rowsOf(states, names), states.dead.size, WIDTH);
    const list = Buffer.from(encode([...names.keys()]));
    const length = Buffer.alloc(LENGTH_BYTES);
    length.writeUInt32LE(list.length);
    return Buffer.concat([length, list, rows]);
  },
  decode: (section, { dead }) => {
    const rowsStart = LENGTH_BYTES + section.readUInt32LE(0);
    const names = decode(section.subarray(LENGTH_BYTES, rowsStart)) as readonly string[];
    for (const row of decodeRows(section.subarray(rowsStart), WIDTH)) {
      const [origin, place, reason, attempts, atMs, death, name, keyHash, bytes] = row as Row;
      dead.set(origin, { place, reason, attempts, atMs, death, handler: names[name] as string, keyHash, bytes });
    }
  },
};

type Row = readonly [number, number, number, number, number, number, number, number, number];
