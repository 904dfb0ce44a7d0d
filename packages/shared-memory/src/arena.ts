/**
 * Memory for values of any size, allocated and freed by one thread, read by all: the owner's end.
 *
 * An arena is a list of regions (region-table.ts). Blocks up to 4 KiB come from slabs, as in
 * mimalloc; larger ones are runs of pages, split off the shortest free run that is long enough and
 * merged with their neighbours when they are freed (free-runs.ts). All bookkeeping is private, so
 * `allocate` and `free` need no atomics; only the numbers of the regions are shared words.
 *
 * When no free run is long enough the arena makes another region, as large as the block and at
 * least an eighth of what it has. `tick` gives regions back that were not needed for a while.
 *
 * The owner frees a block when it knows that no other thread reads it any more. An owner that dies
 * loses the bookkeeping; its successor begins anew over the same table, after `forgetArena`.
 *
 * Why so, and what was rejected: docs/adr/0015-memory-comes-back.md.
 */
import { invariant } from "@millrace/base";
import { FreeRuns } from "./free-runs.ts";
import { Region } from "./region.ts";
import {
  BLOCK_SHIFT_MAX,
  BLOCK_SHIFT_MIN,
  FIRST_REGION,
  MAPPED,
  PAGE_BYTES,
  referenceOf,
  REGION_INDEX_MAX,
  regionOf,
} from "./region-table.ts";
import { pageOf, Slab, SLAB_PAGES } from "./slab.ts";
import { REFUSED } from "./status.ts";

/**
 * A region is at least this large: making one costs a call to the system and a message per thread.
 */
const REGION_BYTES_MIN: number = 1 << 20;
/** A new region has at least this part of the arena's memory, so that their number stays small. */
const GROWTH_PART = 8;
/** Ticks for which an arena keeps what it has needed. */
export const GIVE_BACK_TICKS = 4;

/**
 * Makes the buffer of a new region and sends it to all threads, after `number` was stored in the
 * table. Undefined: the system refuses.
 */
export type CreateRegion = (index: number, number: number, bytes: number) => SharedArrayBuffer | undefined;

export class Arena {
  readonly #table: Int32Array;
  readonly #at: number;
  readonly #create: CreateRegion;
  readonly #regions: (Region | undefined)[] = [];
  readonly #runs: FreeRuns = new FreeRuns(this.#regions);
  /** By size: slabs with room; blocks come from the last one. */
  readonly #slabs: Slab[][] = Array.from({ length: BLOCK_SHIFT_MAX + 1 }, () => []);
  #usedBytes = 0;
  #mappedBytes: number;
  /** The most bytes in use since the last tick, and in the ticks before. */
  #peakBytes = 0;
  readonly #peaks: Float64Array = new Float64Array(GIVE_BACK_TICKS);
  #ticks = 0;

  /** `table[at…]` is the arena's table, `first` its first region. */
  constructor(table: Int32Array, at: number, first: SharedArrayBuffer, create: CreateRegion) {
    this.#table = table;
    this.#at = at;
    this.#create = create;
    this.#mappedBytes = first.byteLength;
    this.#adopt(new Region(FIRST_REGION, first));
  }

  /** Bytes in blocks that are in use. */
  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** Bytes of all regions. */
  get mappedBytes(): number {
    return this.#mappedBytes;
  }

  /** The region of a block. */
  bytesOf(reference: number): Uint8Array {
    return (this.#regions[regionOf(reference)] as Region).bytes;
  }

  /** Reference of a block of `blockBytes(bytes)` bytes, or `REFUSED`. */
  allocate(bytes: number): number {
    if (bytes > 1 << BLOCK_SHIFT_MAX) return this.#allocateRun(Math.ceil(bytes / PAGE_BYTES));
    const shift = bytes <= 1 << BLOCK_SHIFT_MIN ? BLOCK_SHIFT_MIN : 32 - Math.clz32(bytes - 1);
    const slabs = this.#slabs[shift] as Slab[];
    if (slabs.length === 0 && !this.#addSlab(slabs, shift)) return REFUSED;
    const slab = slabs[slabs.length - 1] as Slab;
    const reference = slab.take();
    if (!slab.hasRoom) {
      slab.place = -1;
      slabs.pop();
    }
    this.#uses(1 << shift);
    return reference;
  }

  #addSlab(slabs: Slab[], shift: number): boolean {
    const reference = this.#takeRun(SLAB_PAGES);
    if (reference === REFUSED) return false;
    list(slabs, new Slab(this.#regions[regionOf(reference)] as Region, pageOf(reference), shift));
    return true;
  }

  #allocateRun(pages: number): number {
    const reference = this.#takeRun(pages);
    if (reference !== REFUSED) this.#uses(pages * PAGE_BYTES);
    return reference;
  }

  #uses(bytes: number): void {
    this.#usedBytes += bytes;
    if (this.#usedBytes > this.#peakBytes) this.#peakBytes = this.#usedBytes;
  }

  #takeRun(pages: number): number {
    if (!this.#runs.find(pages) && !this.#findAfterAll(pages)) return REFUSED;
    const region = this.#regions[this.#runs.region] as Region;
    const { page } = this.#runs;
    region.take(this.#runs, page, pages);
    return referenceOf(region.index, page);
  }

  /** Gives a block back; nobody may read it any more. Its bytes. */
  free(reference: number): number {
    const region = this.#regions[regionOf(reference)];
    invariant(region !== undefined, "a block that is freed lies in a region");
    const page = pageOf(reference);
    const slab = region.slabs[page];
    const bytes = slab === undefined ? region.give(this.#runs, page) * PAGE_BYTES : this.#freeSmall(slab, reference);
    this.#usedBytes -= bytes;
    if (region.isRetiring && region.usedPages === 0) this.#drop(region);
    return bytes;
  }

  #freeSmall(slab: Slab, reference: number): number {
    slab.give(reference);
    const slabs = this.#slabs[slab.shift] as Slab[];
    if (slab.region.isRetiring) {
      if (slab.isEmpty) this.#endSlab(slab);
    } else if (slab.place < 0) list(slabs, slab);
    return 1 << slab.shift;
  }

  /**
   * Makes free pages of empty slabs. Returns whether there was one. Not as soon as they are empty:
   * under a steady load they would be made again at once.
   */
  #endEmptySlabs(): boolean {
    let hasEnded = false;
    for (const slabs of this.#slabs) {
      for (let place = slabs.length - 1; place >= 0; place -= 1) {
        const slab = slabs[place] as Slab;
        if (!slab.isEmpty) continue;
        this.#endSlab(slab);
        hasEnded = true;
      }
    }
    return hasEnded;
  }

  /** An empty slab becomes free pages. */
  #endSlab(slab: Slab): void {
    if (slab.place >= 0) unlist(this.#slabs[slab.shift] as Slab[], slab);
    slab.end();
    slab.region.give(this.#runs, slab.page);
  }

  // ── regions ───────────────────────────────────────────────────────────────────────────────────

  /** Makes and finds a free run of at least `pages` pages; false when the system refuses memory. */
  #findAfterAll(pages: number): boolean {
    if (this.#endEmptySlabs() && this.#runs.find(pages)) return true;
    for (const region of this.#regions) {
      if (region?.isRetiring !== true || region.longestFree() < pages) continue;
      this.#revive(region);
      return this.#runs.find(pages);
    }
    return this.#addRegion(pages) && this.#runs.find(pages);
  }

  #addRegion(pages: number): boolean {
    const index = this.#freeIndex();
    if (index < 0) return false;
    const needed = Math.max(pages * PAGE_BYTES, REGION_BYTES_MIN);
    const grown = Math.ceil(this.#mappedBytes / GROWTH_PART / PAGE_BYTES) * PAGE_BYTES;
    const number = ((this.#table[this.#at + index] as number) + 1) | 1 | 0;
    // Before the buffer is sent: a successor of this thread must not use the number again.
    Atomics.store(this.#table, this.#at + index, number);
    let buffer = this.#create(index, number, Math.max(needed, grown));
    if (buffer === undefined && grown > needed) buffer = this.#create(index, number, needed);
    const region = buffer === undefined ? undefined : regionIn(index, buffer);
    if (region === undefined) {
      Atomics.store(this.#table, this.#at + index, (number + 1) | 0);
      return false;
    }
    this.#adopt(region);
    this.#mapped(region.bytes.length);
    return true;
  }

  #adopt(region: Region): void {
    this.#regions[region.index] = region;
    this.#runs.add(region, 0, region.pages);
  }

  #freeIndex(): number {
    for (let index = FIRST_REGION + 1; index <= REGION_INDEX_MAX; index += 1) {
      if (this.#regions[index] === undefined) return index;
    }
    return -1;
  }

  #drop(region: Region): void {
    this.#regions[region.index] = undefined;
    Atomics.store(this.#table, this.#at + region.index, ((this.#table[this.#at + region.index] as number) + 1) | 0);
    this.#mapped(-region.bytes.length);
  }

  #mapped(bytes: number): void {
    this.#mappedBytes += bytes;
    const first = (this.#regions[FIRST_REGION] as Region).bytes.length;
    Atomics.store(this.#table, this.#at + MAPPED, (this.#mappedBytes - first) / 1024);
  }

  #revive(region: Region): void {
    region.revive(this.#runs);
    for (const slab of region.slabs) {
      if (slab !== undefined && slab.place < 0 && slab.hasRoom) list(this.#slabs[slab.shift] as Slab[], slab);
    }
  }

  #retire(region: Region): void {
    for (const slab of region.slabs) {
      if (slab !== undefined && slab.place >= 0) unlist(this.#slabs[slab.shift] as Slab[], slab);
    }
    region.retire(this.#runs);
    for (const slab of region.slabs) if (slab?.isEmpty === true) this.#endSlab(slab);
    if (region.usedPages === 0) this.#drop(region);
  }

  /** No block is used any more: lets go of all regions but the first. */
  end(): void {
    this.#regions.length = FIRST_REGION + 1;
  }

  /**
   * Once a second: keeps as much as was needed in the last `GIVE_BACK_TICKS`, and gives back the
   * rest.
   */
  tick(): void {
    this.#peaks[this.#ticks % GIVE_BACK_TICKS] = this.#peakBytes;
    this.#ticks += 1;
    this.#peakBytes = this.#usedBytes;
    this.#endEmptySlabs();
    if (this.#regions.length === FIRST_REGION + 1) return;
    const needed = Math.max(...this.#peaks);
    let kept = (this.#regions[FIRST_REGION] as Region).bytes.length;
    // Keep the region that is most in use.
    const others = this.#regions
      .filter((region) => region !== undefined && region.index !== FIRST_REGION)
      .toSorted((left, right) => (right as Region).usedPages - (left as Region).usedPages) as Region[];
    for (const region of others) {
      const isWanted = kept < needed + needed / GROWTH_PART;
      if (isWanted) kept += region.bytes.length;
      if (isWanted && region.isRetiring) this.#revive(region);
      else if (!isWanted && !region.isRetiring) this.#retire(region);
    }
    while (this.#regions.length > FIRST_REGION + 1 && this.#regions.at(-1) === undefined) this.#regions.pop();
  }
}

/** Undefined: the system refuses memory for its bookkeeping. */
function regionIn(index: number, buffer: SharedArrayBuffer): Region | undefined {
  try {
    return new Region(index, buffer);
  } catch {
    return undefined;
  }
}

/** Once an owner is dead and all its blocks are read: its regions are let go of. Any thread. */
export function forgetArena(table: Int32Array, at: number): void {
  for (let index = FIRST_REGION + 1; index <= REGION_INDEX_MAX; index += 1) {
    const number = Atomics.load(table, at + index);
    if ((number & 1) === 1) Atomics.store(table, at + index, (number + 1) | 0);
  }
  Atomics.store(table, at + MAPPED, 0);
}

function list(slabs: Slab[], slab: Slab): void {
  slab.place = slabs.length;
  slabs.push(slab);
}

function unlist(slabs: Slab[], slab: Slab): void {
  const last = slabs.pop() as Slab;
  if (last !== slab) {
    slabs[slab.place] = last;
    last.place = slab.place;
  }
  slab.place = -1;
}
