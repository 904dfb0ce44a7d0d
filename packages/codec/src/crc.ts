/**
 * CRC-32 (IEEE 802.3, reflected, as in zip and zlib), computed by the zlib in Node with the CPU's carry-less multiply.
 *
 * Against CRC-32C both miss a random change with a chance of 2^-32; this one is built in (docs/adr/0003-crc-32.md).
 */
import { crc32 as zlibCrc32 } from "node:zlib";

/** The CRC-32 of `bytes` as an unsigned number; `seed` is the CRC of what came before, to go on from. */
export function crc32(bytes: Uint8Array, seed = 0): number {
  return zlibCrc32(bytes, seed);
}
