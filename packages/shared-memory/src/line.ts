/**
 * Words of different writers lie 128 bytes apart: two cache lines, because CPUs prefetch lines in
 * pairs (crossbeam's CachePadded and Go's sync.Pool give the same reason).
 */
export const LINE_BYTES = 128;
export const LINE_WORDS: number = LINE_BYTES / Int32Array.BYTES_PER_ELEMENT;

/** `bytes` rounded up to a multiple of `alignment`, a power of two. */
export function alignUp(bytes: number, alignment: number): number {
  return (bytes + alignment - 1) & -alignment;
}

/** Whether `value` is a power of two up to 2^30, so that `value - 1` is a 32-bit mask. */
export function isPowerOfTwo(value: number): boolean {
  return Number.isInteger(value) && value > 0 && value <= 2 ** 30 && (value & (value - 1)) === 0;
}
