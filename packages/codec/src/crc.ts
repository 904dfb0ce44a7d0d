/**
 * CRC-32 (IEEE 802.3, reflected, as in zip and zlib), computed by the zlib in Node with the CPU's
 * carry-less multiply.
 *
 * CRC-32C misses a random change with the same chance, 2^-32, but isn't built in
 * (docs/adr/0003-crc-32.md).
 */
import { crc32 as zlibCrc32 } from "node:zlib";

/** The CRC-32 of `bytes` as an unsigned number; `seed` is the CRC of the bytes before them. */
export function crc32(bytes: Uint8Array, seed = 0): number {
  return zlibCrc32(bytes, seed);
}
