/**
 * The table through which all threads know an arena's regions, and the names of its blocks.
 *
 * An arena is a list of regions, SharedArrayBuffers of a fixed length. Its table is `ARENA_WORDS`
 * words:
 *
 *   +1…+127  NUMBER  of the region with this index: odd while there is one, even while there is none;
 *                    one more at each change. Written by the arena's owner, read by all
 *   +128     MAPPED  KiB in all regions but the first; written by the owner, read by all
 *   +129     WANTED  1 while the owner waits until blocks are handed back; written by the owner,
 *                    read by every thread that hands blocks back, after it has done so
 *
 * The first region is made with the table and stays. The owner makes others: it stores the number,
 * then sends the buffer to all threads, then hands out blocks. A reader therefore finds the number
 * of a block's region in the table, and the buffer among its messages, before it can know of the
 * block. The owner drops a region only when none of its blocks is in use, so no reader needs an old
 * number. An owner that dies between two of these steps leaves a number that no buffer goes with;
 * its successor takes the next one, so two buffers never have the same number.
 *
 * A block is named by its *reference*: bits 24–30 the index of its region, bits 0–23 the block's
 * offset there in units of 64 bytes. No reference is 0.
 */
export const ARENA_WORDS = 160;
export const MAPPED = 128;
export const WANTED = 129;

export const FIRST_REGION = 1;
/** Room for a few hundred small calls: a runtime with small values needs no other region. */
const FIRST_REGION_BYTES: number = 1 << 20;
/** A slab. */
const FIRST_REGION_BYTES_MIN: number = 1 << 15;
export const REGION_INDEX_MAX = 127;

const INDEX_SHIFT = 24;
const UNIT_SHIFT = 6;
const UNIT_MASK: number = (1 << INDEX_SHIFT) - 1;
/** Blocks begin below this offset. */
export const REGION_OFFSET_MAX: number = 2 ** (INDEX_SHIFT + UNIT_SHIFT);

/** Smallest block: one cache line. */
export const BLOCK_SHIFT_MIN: number = UNIT_SHIFT;
/** Larger blocks are whole pages. */
export const BLOCK_SHIFT_MAX = 12;
export const PAGE_SHIFT = 12;
export const PAGE_BYTES: number = 1 << PAGE_SHIFT;
/** Units of 64 bytes in a page, as a shift. */
export const PAGE_UNIT_SHIFT: number = PAGE_SHIFT - UNIT_SHIFT;

/** Length of the block that is allocated for `bytes` bytes: the rest of it may be used as well. */
export function blockBytes(bytes: number): number {
  if (bytes <= 1 << BLOCK_SHIFT_MIN) return 1 << BLOCK_SHIFT_MIN;
  if (bytes <= 1 << BLOCK_SHIFT_MAX) return 1 << (32 - Math.clz32(bytes - 1));
  return Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;
}

export function referenceOf(region: number, page: number): number {
  return (region << INDEX_SHIFT) | (page << PAGE_UNIT_SHIFT);
}

/** Index of the block's region. */
export function regionOf(reference: number): number {
  return reference >> INDEX_SHIFT;
}

/** Byte offset of the block in its region. */
export function offsetOf(reference: number): number {
  return (reference & UNIT_MASK) << UNIT_SHIFT;
}

/** Size of the first region of an arena for `bytesMax` bytes. */
export function firstRegionBytes(bytesMax: number): number {
  const pages = Math.ceil(bytesMax / PAGE_BYTES);
  return Math.max(FIRST_REGION_BYTES_MIN, Math.min(pages * PAGE_BYTES, FIRST_REGION_BYTES));
}

/** Puts the first region into a new table. */
export function initArenaTable(table: Int32Array, at: number): void {
  table[at + FIRST_REGION] = 1;
}

/**
 * A buffer whose memory is taken up as it is touched and unmapped as a whole. A plain
 * SharedArrayBuffer comes from malloc, which keeps what is freed. Undefined: the system refuses.
 */
export function makeRegion(bytes: number): SharedArrayBuffer | undefined {
  try {
    return new SharedArrayBuffer(bytes, { maxByteLength: bytes });
  } catch {
    return undefined;
  }
}
