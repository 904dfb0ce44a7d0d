/**
 * Payloads computed from the record's number, so that an altered one is found without keeping
 * copies.
 */
import { crc32 } from "@millrace/codec";

/** Fills `payload` with bytes that depend on the record's id and the run's seed. */
export function fillPayload(payload: Buffer, id: number, seed: number): void {
  let state = (Math.imul(id + 1, 0x9e3779b1) ^ seed) | 0 || 1;
  for (let offset = 0; offset < payload.length; offset += 4) {
    // xorshift32 (Marsaglia).
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    if (offset + 4 <= payload.length) payload.writeInt32LE(state, offset);
    else payload.fill(state & 0xff, offset);
  }
}

/** The checksum that the payload of a record must have. */
export function payloadCrc(bytes: number, id: number, seed: number): number {
  const payload = Buffer.alloc(bytes);
  fillPayload(payload, id, seed);
  return crc32(payload);
}
