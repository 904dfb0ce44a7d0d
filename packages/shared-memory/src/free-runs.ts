/**
 * The free runs of pages of an arena's regions, by length. Private to the arena's owner.
 *
 * Source: two-level segregated fit (Masmano, Ripoll, Crespo, Real 2004). Runs below 16 pages have a
 * list per length, longer ones four lists per power of two; a bit per list says whether it is
 * empty. Taking and giving back are a few loads, whatever the number of runs.
 *
 * Each region marks its runs in `lengths`, by page: a run in use has its length at its first page
 * and 0 at its last; a free run has minus its length at both. So a run that is freed finds its free
 * neighbours at once and is merged with them.
 */
const EXACT_BINS = 16;
const EXACT_SHIFT = 4;
const BINS: number = EXACT_BINS + 4 * 20;
const NONE = -1;
const PAGE_BITS = 20;
const PAGE_MASK: number = (1 << PAGE_BITS) - 1;

/** The parts of a region that the lists need. */
export interface RunPages {
  readonly index: number;
  readonly lengths: Int32Array;
  /** Neighbours in the list of a free run, by its first page. */
  readonly next: Int32Array;
  readonly previous: Int32Array;
}

/** The list of free runs of this length. */
function binOf(pages: number): number {
  if (pages < EXACT_BINS) return pages;
  const log = 31 - Math.clz32(pages);
  return EXACT_BINS + (log - EXACT_SHIFT) * 4 + ((pages >> (log - 2)) & 3);
}

/** The first list whose runs all have at least `pages` pages. */
function binAbove(pages: number): number {
  if (pages < EXACT_BINS) return pages;
  return binOf(pages + (1 << (29 - Math.clz32(pages))) - 1);
}

export class FreeRuns {
  readonly #regions: readonly (RunPages | undefined)[];
  readonly #heads: Int32Array = new Int32Array(BINS).fill(NONE);
  readonly #bits = new Int32Array(Math.ceil(BINS / 32));

  /** `regions` by index; the owner changes the list. */
  constructor(regions: readonly (RunPages | undefined)[]) {
    this.#regions = regions;
  }

  /** Lists a free run. */
  add(region: RunPages, page: number, pages: number): void {
    const bin = binOf(pages);
    const head = this.#heads[bin] as number;
    const node = (region.index << PAGE_BITS) | page;
    region.next[page] = head;
    region.previous[page] = NONE;
    if (head !== NONE) (this.#regions[head >> PAGE_BITS] as RunPages).previous[head & PAGE_MASK] = node;
    this.#heads[bin] = node;
    this.#bits[bin >> 5] = (this.#bits[bin >> 5] as number) | (1 << (bin & 31));
  }

  /** Takes a free run off its list. */
  remove(region: RunPages, page: number, pages: number): void {
    const next = region.next[page] as number;
    const previous = region.previous[page] as number;
    if (next !== NONE) (this.#regions[next >> PAGE_BITS] as RunPages).previous[next & PAGE_MASK] = previous;
    if (previous !== NONE) {
      (this.#regions[previous >> PAGE_BITS] as RunPages).next[previous & PAGE_MASK] = next;
      return;
    }
    const bin = binOf(pages);
    this.#heads[bin] = next;
    if (next === NONE) this.#bits[bin >> 5] = (this.#bits[bin >> 5] as number) & ~(1 << (bin & 31));
  }

  /** A free run of at least `pages` pages: its region's index and first page, or false. */
  find(pages: number): boolean {
    const bin = this.#nonEmptyFrom(binAbove(pages));
    if (bin !== NONE) return this.#found(this.#heads[bin] as number);
    // Runs of about this length: some may be long enough. Ends: a list is finite.
    let node = pages < EXACT_BINS ? NONE : (this.#heads[binOf(pages)] as number);
    while (node !== NONE) {
      const region = this.#regions[node >> PAGE_BITS] as RunPages;
      if (-(region.lengths[node & PAGE_MASK] as number) >= pages) return this.#found(node);
      node = region.next[node & PAGE_MASK] as number;
    }
    return false;
  }

  /** The result of `find`. */
  region = 0;
  page = 0;

  #found(node: number): true {
    this.region = node >> PAGE_BITS;
    this.page = node & PAGE_MASK;
    return true;
  }

  #nonEmptyFrom(bin: number): number {
    let word = bin >> 5;
    let bits = (this.#bits[word] ?? 0) & (-1 << (bin & 31));
    while (bits === 0) {
      word += 1;
      if (word >= this.#bits.length) return NONE;
      bits = this.#bits[word] as number;
    }
    return word * 32 + (31 - Math.clz32(bits & -bits));
  }
}
