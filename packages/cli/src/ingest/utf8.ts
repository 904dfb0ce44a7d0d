/** Whether bytes are UTF-8, and where they stop being so. */
import { isUtf8 } from "node:buffer";

/** Offset of the first byte in `bytes[start, end)` that isn't UTF-8; -1 when all of them are. */
export function firstInvalid(bytes: Buffer, start: number, end: number): number {
  if (isUtf8(bytes.subarray(start, end))) return -1;
  let at = start;
  while (at < end) {
    const next = at + lengthAt(bytes[at] as number);
    if (next > end || (next > at + 1 && !isUtf8(bytes.subarray(at, next))) || isLoneByte(bytes[at] as number))
      return at;
    at = next;
  }
  return -1;
}

/** A byte that begins no character. */
function isLoneByte(byte: number): boolean {
  return (byte >= 0x80 && byte < 0xc2) || byte > 0xf4;
}

function lengthAt(byte: number): number {
  if (byte < 0xc2 || byte > 0xf4) return 1;
  if (byte >= 0xf0) return 4;
  return byte >= 0xe0 ? 3 : 2;
}

/** Number of bytes at the end that begin an incomplete character. */
export function incompleteTail(bytes: Buffer): number {
  for (let back = 1; back <= 3 && back <= bytes.length; back += 1) {
    const byte = bytes[bytes.length - back] as number;
    if (byte < 0x80) return 0;
    if (byte >= 0xc0) return lengthAt(byte) > back ? back : 0;
  }
  return 0;
}
