/**
 * Sets of small numbers as bits in shared words: the machines that sleep, that search, that died.
 *
 * Rejected: counters. A thread may die at any instruction. The supervisor can clear the bit of a
 * dead thread, and setting or clearing a bit twice changes nothing; a counter would stay wrong.
 *
 * Memory: `maskWords(members)` words from `base`, written by any thread through Atomics.or and
 * Atomics.and.
 */
const WORD_BITS = 32;

/** Words for a mask of `members` bits. */
export function maskWords(members: number): number {
  return Math.ceil(members / WORD_BITS);
}

/** Puts `member` into the set. */
export function setBit(words: Int32Array, base: number, member: number): void {
  Atomics.or(words, base + (member >> 5), 1 << (member & 31));
}

/** Takes `member` out of the set; returns whether the set had it. */
export function clearBit(words: Int32Array, base: number, member: number): boolean {
  const bit = 1 << (member & 31);
  return (Atomics.and(words, base + (member >> 5), ~bit) & bit) !== 0;
}

/** Whether `member` is in the set. */
export function hasBit(words: Int32Array, base: number, member: number): boolean {
  return (Atomics.load(words, base + (member >> 5)) & (1 << (member & 31))) !== 0;
}

/** Whether the set of `count` words is empty. */
export function isMaskEmpty(words: Int32Array, base: number, count: number): boolean {
  for (let index = 0; index < count; index += 1) {
    if (Atomics.load(words, base + index) !== 0) return false;
  }
  return true;
}

/** The number of members in the set of `count` words. */
export function countBits(words: Int32Array, base: number, count: number): number {
  let bits = 0;
  for (let index = 0; index < count; index += 1) {
    let word = Atomics.load(words, base + index);
    while (word !== 0) {
      word &= word - 1;
      bits += 1;
    }
  }
  return bits;
}

/** The number of the lowest bit that is set in `word`, or -1. */
export function lowestBit(word: number): number {
  return 31 - Math.clz32(word & -word);
}
