/** One region of an arena, as its owner keeps it: runs of pages, in use or free, and slabs. */
import { invariant } from "@millrace/base";
import type { FreeRuns, RunPages } from "./free-runs.ts";
import { PAGE_SHIFT, REGION_OFFSET_MAX } from "./region-table.ts";
import type { Slab } from "./slab.ts";

export class Region implements RunPages {
  readonly index: number;
  readonly bytes: Uint8Array;
  readonly pages: number;
  readonly lengths: Int32Array;
  readonly next: Int32Array;
  readonly previous: Int32Array;
  /** By page: the slab that it belongs to. */
  readonly slabs: (Slab | undefined)[];
  usedPages = 0;
  /** It gives no more blocks and is dropped when it is empty; its free runs are on no list. */
  isRetiring = false;

  constructor(index: number, buffer: SharedArrayBuffer) {
    this.index = index;
    this.bytes = new Uint8Array(buffer, 0, buffer.byteLength);
    this.pages = Math.min(buffer.byteLength, REGION_OFFSET_MAX) >>> PAGE_SHIFT;
    this.lengths = new Int32Array(this.pages);
    this.next = new Int32Array(this.pages);
    this.previous = new Int32Array(this.pages);
    this.slabs = new Array<Slab | undefined>(this.pages).fill(undefined);
    this.#markFree(0, this.pages);
  }

  /** Takes `pages` pages off the free run at `page`; the rest stays free. */
  take(runs: FreeRuns, page: number, pages: number): void {
    const { lengths } = this;
    const length = -(lengths[page] as number);
    runs.remove(this, page, length);
    lengths[page + pages - 1] = 0;
    lengths[page] = pages;
    if (length > pages) {
      this.#markFree(page + pages, length - pages);
      runs.add(this, page + pages, length - pages);
    }
    this.usedPages += pages;
  }

  /** Frees the run at `page` and merges it with free neighbours; its pages. */
  give(runs: FreeRuns, page: number): number {
    const { lengths } = this;
    const pages = lengths[page] as number;
    invariant(pages > 0, "a block that is freed was in use");
    this.usedPages -= pages;
    lengths[page] = 0;
    let first = page;
    let length = pages;
    const after = page + pages;
    const following = after < this.pages ? (lengths[after] as number) : 0;
    if (following < 0) {
      if (!this.isRetiring) runs.remove(this, after, -following);
      length -= following;
    }
    const preceding = page > 0 ? (lengths[page - 1] as number) : 0;
    if (preceding < 0) {
      first += preceding;
      if (!this.isRetiring) runs.remove(this, first, -preceding);
      length -= preceding;
    }
    this.#markFree(first, length);
    if (!this.isRetiring) runs.add(this, first, length);
    return pages;
  }

  /** Takes all free runs off the lists. */
  retire(runs: FreeRuns): void {
    this.isRetiring = true;
    this.#eachFree((page, pages) => runs.remove(this, page, pages));
  }

  /** Puts all free runs on the lists. */
  revive(runs: FreeRuns): void {
    this.isRetiring = false;
    this.#eachFree((page, pages) => runs.add(this, page, pages));
  }

  /** Pages of its longest free run. */
  longestFree(): number {
    let longest = 0;
    this.#eachFree((_page, pages) => (longest = Math.max(longest, pages)));
    return longest;
  }

  #eachFree(see: (page: number, pages: number) => void): void {
    // Ends: every run has at least a page.
    for (let page = 0; page < this.pages;) {
      const length = this.lengths[page] as number;
      if (length < 0) see(page, -length);
      page += Math.abs(length);
    }
  }

  #markFree(page: number, pages: number): void {
    this.lengths[page] = -pages;
    this.lengths[page + pages - 1] = -pages;
  }
}
