/** 64-bit hashes as two 32-bit lanes, mixed differently. */

export function mixA(hash: number, value: number): number {
  let mixed = Math.imul(hash ^ value, 0x85ebca6b);
  mixed ^= mixed >>> 13;
  mixed = Math.imul(mixed, 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) + 0x165667b1;
}

export function mixB(hash: number, value: number): number {
  let mixed = Math.imul((hash + 0x27d4eb2f) ^ value, 0x9e3779b1);
  mixed ^= mixed >>> 15;
  mixed = Math.imul(mixed, 0x1b873593);
  return (mixed ^ (mixed >>> 14)) + 0x52dce729;
}

const cell = new Float64Array(1);
const halves = new Int32Array(cell.buffer);

/** A number for what an operation gave to a thread. */
export function hashOf(value: unknown): number {
  if (typeof value === "number") {
    if ((value | 0) === value) return value;
    cell[0] = value;
    return (halves[0] as number) ^ Math.imul(halves[1] as number, 31);
  }
  if (typeof value === "bigint") return Number(BigInt.asIntN(32, value)) ^ Number(BigInt.asIntN(32, value >> 32n));
  if (typeof value === "string") {
    let hash = value.length;
    for (let index = 0; index < value.length; index += 1) hash = Math.imul(hash, 31) + value.charCodeAt(index);
    return hash;
  }
  if (value === true) return 1;
  return value === false ? 2 : 3;
}

/**
 * States that were seen, with the most that was left to spend when each was seen: an
 * open-addressing table.
 */
export class StateCache {
  #mask = (1 << 14) - 1;
  #entries = new Int32Array(3 << 14);
  size = 0;

  /** Whether the state is new, or was seen only with less left; remembers it then. */
  visit(a: number, b: number, left: number): boolean {
    // The two lanes are never both 0 in a used entry.
    const low = (a | b) === 0 ? 1 : a;
    let at = low & this.#mask;
    for (;;) {
      const entry = at * 3;
      const seenA = this.#entries[entry] as number;
      const seenB = this.#entries[entry + 1] as number;
      if (seenA === 0 && seenB === 0) {
        this.#entries[entry] = low;
        this.#entries[entry + 1] = b;
        this.#entries[entry + 2] = left;
        this.size += 1;
        if (this.size * 2 > this.#mask) this.#grow();
        return true;
      }
      if (seenA === low && seenB === b) {
        if ((this.#entries[entry + 2] as number) >= left) return false;
        this.#entries[entry + 2] = left;
        return true;
      }
      at = (at + 1) & this.#mask;
    }
  }

  #grow(): void {
    const old = this.#entries;
    this.#mask = this.#mask * 2 + 1;
    this.#entries = new Int32Array((this.#mask + 1) * 3);
    this.size = 0;
    for (let entry = 0; entry < old.length; entry += 3) {
      if (old[entry] !== 0 || old[entry + 1] !== 0) {
        this.visit(old[entry] as number, old[entry + 1] as number, old[entry + 2] as number);
      }
    }
  }
}
