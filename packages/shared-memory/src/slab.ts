/** A run of pages cut into blocks of one size, with a stack of those that are free. Owner only. */
import { invariant } from "@millrace/base";
import type { FreeRuns } from "./free-runs.ts";
import { BLOCK_SHIFT_MIN, PAGE_SHIFT, PAGE_UNIT_SHIFT, referenceOf } from "./region-table.ts";

/** 32 KiB: 8 blocks of the largest size, 512 of the smallest. */
export const SLAB_PAGES = 8;

/** The parts of its region that a slab needs. */
export interface SlabRegion {
  readonly index: number;
  /** By page: the slab that it belongs to. */
  readonly slabs: (Slab | undefined)[];
  readonly isRetiring: boolean;
  give(runs: FreeRuns, page: number): number;
}

export class Slab {
  readonly region: SlabRegion;
  readonly page: number;
  /** Logarithm of the size of its blocks. */
  readonly shift: number;
  /** Its place in the list of slabs with room, -1 when it is on none. */
  place = -1;
  readonly #first: number;
  readonly #unitShift: number;
  readonly #free: Uint16Array;
  readonly #isUsed: Uint8Array;
  #top: number;

  constructor(region: SlabRegion, page: number, shift: number) {
    this.region = region;
    this.page = page;
    this.shift = shift;
    this.#first = referenceOf(region.index, page);
    this.#unitShift = shift - BLOCK_SHIFT_MIN;
    const blocks = (SLAB_PAGES << PAGE_SHIFT) >> shift;
    // The lowest block on top.
    this.#free = Uint16Array.from({ length: blocks }, (_, index) => blocks - 1 - index);
    this.#isUsed = new Uint8Array(blocks);
    this.#top = blocks;
    for (let each = page; each < page + SLAB_PAGES; each += 1) region.slabs[each] = this;
  }

  get hasRoom(): boolean {
    return this.#top > 0;
  }

  get isEmpty(): boolean {
    return this.#top === this.#free.length;
  }

  /** Reference of a free block; the slab has room. */
  take(): number {
    this.#top -= 1;
    const block = this.#free[this.#top] as number;
    this.#isUsed[block] = 1;
    return this.#first + (block << this.#unitShift);
  }

  give(reference: number): void {
    const block = (reference - this.#first) >> this.#unitShift;
    invariant(this.#isUsed[block] === 1, "a block that is freed was in use");
    this.#isUsed[block] = 0;
    this.#free[this.#top] = block;
    this.#top += 1;
  }

  /** Its pages hold no slab any more. */
  end(): void {
    for (let page = this.page; page < this.page + SLAB_PAGES; page += 1) this.region.slabs[page] = undefined;
  }
}

/** The page of a block in its region. */
export function pageOf(reference: number): number {
  return (reference & 0xffffff) >> PAGE_UNIT_SHIFT;
}
