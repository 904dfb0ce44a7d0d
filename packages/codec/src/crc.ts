/**
 * CRC-32 (IEEE 802.3, reflected, as in zip and zlib), computed by the zlib in Node with the CPU's
 * carry-less multiply. The call costs more than a few bytes do: those are summed here, four at a
 * time ("slicing by 4": Kounavis and Berry, "A Systematic Approach to Building High Performance
 * Software-Based CRC Generators", 2005).
 *
 * CRC-32C misses a random change with the same chance, 2^-32, but isn't built in
 * (docs/adr/0003-crc-32.md).
 */
import { crc32 as zlibCrc32 } from "node:zlib";

/** Up to this many bytes the tables are faster; measured on Node 20. */
const SHORT_BYTES = 96;
/** Reflected. */
const POLYNOMIAL = 0xedb88320;
/** `TABLES[256 * t + b]`: what the byte b does to the sum when t bytes follow it in its four. */
const TABLES: Int32Array = tables();

function tables(): Int32Array {
  const made = new Int32Array(4 * 256);
  for (let byte = 0; byte < 256; byte += 1) {
    let sum = byte;
    for (let bit = 0; bit < 8; bit += 1) sum = (sum & 1) === 0 ? sum >>> 1 : (sum >>> 1) ^ POLYNOMIAL;
    made[byte] = sum;
  }
  for (let index = 256; index < made.length; index += 1) {
    const before = made[index - 256] as number;
    made[index] = (made[before & 255] as number) ^ (before >>> 8);
  }
  return made;
}

/** The CRC-32 of `bytes` as an unsigned number; `seed` is the CRC of the bytes before them. */
export function crc32(bytes: Uint8Array, seed = 0): number {
  return bytes.length > SHORT_BYTES ? zlibCrc32(bytes, seed) : shortCrc32(bytes, seed);
}

function shortCrc32(bytes: Uint8Array, seed: number): number {
  const { length } = bytes;
  const fours = length & ~3;
  let sum = ~seed;
  for (let at = 0; at < fours; at += 4) {
    sum ^=
      (bytes[at] as number) |
      ((bytes[at + 1] as number) << 8) |
      ((bytes[at + 2] as number) << 16) |
      ((bytes[at + 3] as number) << 24);
    sum =
      (TABLES[768 + (sum & 255)] as number) ^
      (TABLES[512 + ((sum >>> 8) & 255)] as number) ^
      (TABLES[256 + ((sum >>> 16) & 255)] as number) ^
      (TABLES[sum >>> 24] as number);
  }
  for (let at = fours; at < length; at += 1) {
    sum = (TABLES[(sum ^ (bytes[at] as number)) & 255] as number) ^ (sum >>> 8);
  }
  return ~sum >>> 0;
}
