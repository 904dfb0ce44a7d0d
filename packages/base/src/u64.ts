/**
 * Whole numbers up to 2^53 - 1 in 64 bits, little-endian: sequences, offsets and times on disk.
 * Rejected: BigInt, which allocates for each number.
 */

/** Writes `value` to the 8 bytes from `offset`. */
export function writeU64(bytes: Buffer, value: number, offset: number): void {
  bytes.writeUInt32LE(value % 2 ** 32, offset);
  bytes.writeUInt32LE(Math.floor(value / 2 ** 32), offset + 4);
}

/** The number in the 8 bytes from `offset`. */
export function readU64(bytes: Buffer, offset: number): number {
  return bytes.readUInt32LE(offset) + bytes.readUInt32LE(offset + 4) * 2 ** 32;
}
