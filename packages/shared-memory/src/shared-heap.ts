/**
 * Memory for values of channels. Any thread allocates, any thread frees, and each may die at any
 * instruction.
 *
 * One growable SharedArrayBuffer of pages of 64 KiB. A page belongs to a thread and holds blocks of
 * one size, a power of two. A larger block, a *run*, takes whole pages side by side. In 32-bit
 * words:
 *
 *   0           header   PAGES and SHIFT, the logarithm of their size: constants
 *   CONTROL_AT  control  `CONTROL_WORDS` per page
 *     +0   OWNER  0: free. Bits 0–15: a thread plus one, 0 for none; bits 16–23: the size class.
 *                 In a page of small blocks the thread allocates; it moves OWNER back, or the
 *                 thread that buries it. In pages of a run the thread is the one that takes or
 *                 frees the run
 *     +1   RUN    in the first page of a run: how many pages belong to it
 *     +2…  USED   a bit per block. The page's thread sets it by Atomics.or, any thread that frees
 *                 clears it by Atomics.and
 *   after it    pages; the first ones are taken up by the above
 *
 * A bit that is set is a block in use, whatever died. A block that a dead thread had allocated and
 * handed to nobody is lost; the thread's pages aren't. Allocating a small block is one atomic
 * operation on a word that mostly lies in the cache; freeing one takes two.
 *
 * A run is taken and freed page by page, and each step says whose it is:
 *
 *   take   pages in ascending order become PART of this thread, by compare-and-swap; RUN is stored;
 *          the first page becomes RUN_CLASS of no thread: from here on the block is in use
 *   free   the first page becomes FREEING of this thread; from the last page on: the page becomes
 *          PART of this thread, RUN is lowered, the page becomes free; last the first page
 *
 * The thread that buries a dead one (`releaseThread`) frees its PART pages beyond any run, and ends
 * what it was freeing. Within a run that is in use a PART page may still name a dead thread.
 *
 * A block is named by its *reference*: its byte offset in lines of 64 bytes, which fits a word for
 * up to 64 GiB; 0 names none.
 *
 * Rejected: free lists (a death between two of their stores tears them, and a block that another
 * thread frees needs a list of its own). A SharedArrayBuffer of fixed length is as fast, and its
 * untouched memory costs nothing either, but process.memoryUsage() shows all of it
 * (docs/adr/0002-growable-arenas.md).
 */
import { invariant } from "@millrace/base";
import { lowestBit } from "./bit-mask.ts";
import { LINE_WORDS } from "./line.ts";
import { FULL } from "./status.ts";

/** Pages of 64 KiB: control words for at most 1024 blocks. */
const PAGE_SHIFT = 16;
/** Smallest block: one cache line. */
const BLOCK_SHIFT_MIN = 6;
/**
 * The size class of the first page of a run, of its other pages, and of the first page while the
 * run is freed.
 */
const RUN_CLASS = 16;
const PART_CLASS = 17;
const FREEING_CLASS = 18;

const PAGES = 0;
const SHIFT = 1;
const CONTROL_AT = LINE_WORDS;
const OWNER = 0;
const RUN = 1;
const USED = 2;
const CONTROL_WORDS = 64;
const OWNER_MASK = 0xffff;
const CLASS_SHIFT = 16;

/** A thread looks through this many of its pages for a free block before it takes another page. */
const LOOKS_MAX = 4;
/** The heap grows in steps: one call to the system for 16 pages. */
const GROWTH_PAGES = 16;

/** Address space for a heap; only touched pages take up memory. */
export const HEAP_BYTES_MAX: number = 2 ** 30;

/** Memory for a heap that may grow up to `bytesMax`, in pages of 2^`pageShift` bytes: 10 to 16. */
export function createSharedHeap(bytesMax: number = HEAP_BYTES_MAX, pageShift: number = PAGE_SHIFT): SharedArrayBuffer {
  const pages = Math.floor(bytesMax / 2 ** pageShift);
  const first = controlPages(pages, pageShift);
  invariant(pages > first, "a heap has room for its own control words and a page");
  const atFirst = Math.min(pages, first + GROWTH_PAGES);
  const buffer = new SharedArrayBuffer(atFirst * 2 ** pageShift, { maxByteLength: pages * 2 ** pageShift });
  const words = new Int32Array(buffer);
  words[PAGES] = pages;
  words[SHIFT] = pageShift;
  return buffer;
}

function controlPages(pages: number, pageShift: number): number {
  return Math.ceil(((CONTROL_AT + pages * CONTROL_WORDS) * 4) / 2 ** pageShift);
}

/** One thread's view of a heap. */
export class SharedHeap {
  readonly #buffer: SharedArrayBuffer;
  readonly #owner: number;
  readonly #pages: number;
  readonly #pageShift: number;
  readonly #firstPage: number;
  readonly #control: Int32Array;
  /** All memory that existed when they were made; `upTo` makes longer ones. */
  #words: Int32Array;
  #bytes: Uint8Array;
  /** This thread's pages, by size class; the first is the one that it allocates in. */
  readonly #own: number[][] = Array.from({ length: PAGE_SHIFT }, () => []);
  /** Word of USED in which it found a free block last, by size class. */
  readonly #cursor: number[] = Array.from({ length: PAGE_SHIFT }, () => 0);
  /** It looks for a free page from here on: behind the one that it took last. */
  #hint: number;

  /** `thread`: a number below 65,535 that no other living thread has. */
  constructor(buffer: SharedArrayBuffer, thread: number) {
    this.#buffer = buffer;
    this.#owner = thread + 1;
    this.#words = new Int32Array(buffer, 0, buffer.byteLength >> 2);
    this.#bytes = new Uint8Array(buffer, 0, buffer.byteLength);
    this.#pages = this.#words[PAGES] as number;
    this.#pageShift = this.#words[SHIFT] as number;
    this.#firstPage = controlPages(this.#pages, this.#pageShift);
    this.#control = new Int32Array(buffer, CONTROL_AT * 4, this.#pages * CONTROL_WORDS);
    this.#hint = this.#firstPage;
  }

  /** The heap as words, at least up to the end of block `reference` of `words` words. */
  wordsOf(reference: number, words: number): Int32Array {
    if (reference * 16 + words > this.#words.length) this.#extend();
    return this.#words;
  }

  /** The heap as bytes, at least up to the end of block `reference` of `bytes` bytes. */
  bytesOf(reference: number, bytes: number): Uint8Array {
    if (reference * 64 + bytes > this.#bytes.length) this.#extend();
    return this.#bytes;
  }

  #extend(): void {
    const length = this.#buffer.byteLength;
    this.#words = new Int32Array(this.#buffer, 0, length >> 2);
    this.#bytes = new Uint8Array(this.#buffer, 0, length);
  }

  /** A block of at least `bytes` bytes, with anything in it: its reference, or `FULL`. */
  allocate(bytes: number): number {
    const block = this.#allocate(bytes);
    if (block !== FULL || !this.#giveEmptyBack()) return block;
    return this.#allocate(bytes);
  }

  #allocate(bytes: number): number {
    if (bytes > 1 << (this.#pageShift - 1)) return this.#allocateRun(Math.ceil(bytes / 2 ** this.#pageShift));
    const sizeClass = bytes <= 64 ? BLOCK_SHIFT_MIN : 32 - Math.clz32(bytes - 1);
    const own = this.#own[sizeClass] as number[];
    for (let look = 0; look < LOOKS_MAX && look < own.length; look += 1) {
      const found = this.#allocateIn(own[0] as number, sizeClass);
      if (found !== FULL) return found;
      this.#turn(own, sizeClass);
    }
    const page = this.#takePage(sizeClass);
    if (page === FULL) return this.#allocateInAny(own, sizeClass);
    own.unshift(page);
    this.#cursor[sizeClass] = 0;
    return this.#allocateIn(page, sizeClass);
  }

  #allocateIn(page: number, sizeClass: number): number {
    const index = this.#wordWithRoom(page, sizeClass, this.#cursor[sizeClass] as number);
    if (index === FULL) return FULL;
    const word = page * CONTROL_WORDS + USED + index;
    const bit = lowestBit(~Atomics.load(this.#control, word));
    Atomics.or(this.#control, word, 1 << bit);
    this.#cursor[sizeClass] = index;
    return (page << (this.#pageShift - BLOCK_SHIFT_MIN)) + ((index * 32 + bit) << (sizeClass - BLOCK_SHIFT_MIN));
  }

  /** The first word of USED from `from` on with a free block, or `FULL`. */
  #wordWithRoom(page: number, sizeClass: number, from: number): number {
    const blocks = 1 << (this.#pageShift - sizeClass);
    const full = blocks < 32 ? (1 << blocks) - 1 : -1;
    for (let index = from; index < Math.ceil(blocks / 32); index += 1) {
      if (Atomics.load(this.#control, page * CONTROL_WORDS + USED + index) !== full) return index;
    }
    return FULL;
  }

  #isFull(page: number, sizeClass: number): boolean {
    return this.#wordWithRoom(page, sizeClass, 0) === FULL;
  }

  /**
   * Makes the next page of one's own the first, and gives the one after it back if that is empty: a
   * burst doesn't keep its pages.
   */
  #turn(own: number[], sizeClass: number): void {
    own.push(own.shift() as number);
    this.#cursor[sizeClass] = 0;
    if (own.length < 3 || !this.#isEmpty(own[1] as number)) return;
    Atomics.store(this.#control, (own[1] as number) * CONTROL_WORDS + OWNER, 0);
    own.splice(1, 1);
  }

  /** Gives all empty pages of this thread back. Returns whether there was one. */
  #giveEmptyBack(): boolean {
    let hasGiven = false;
    for (let sizeClass = BLOCK_SHIFT_MIN; sizeClass < this.#own.length; sizeClass += 1) {
      const own = this.#own[sizeClass] as number[];
      for (let index = own.length - 1; index >= 0; index -= 1) {
        if (!this.#isEmpty(own[index] as number)) continue;
        Atomics.store(this.#control, (own[index] as number) * CONTROL_WORDS + OWNER, 0);
        own.splice(index, 1);
        hasGiven = true;
      }
      this.#cursor[sizeClass] = 0;
    }
    return hasGiven;
  }

  #allocateInAny(own: number[], sizeClass: number): number {
    for (let index = 0; index < own.length; index += 1) {
      const found = this.#allocateIn(own[0] as number, sizeClass);
      if (found !== FULL) return found;
      own.push(own.shift() as number);
      this.#cursor[sizeClass] = 0;
    }
    return FULL;
  }

  #isEmpty(page: number): boolean {
    for (let index = 0; index < this.#usedWords(); index += 1) {
      if (Atomics.load(this.#control, page * CONTROL_WORDS + USED + index) !== 0) return false;
    }
    return true;
  }

  /** Words of USED in a page of the smallest blocks. */
  #usedWords(): number {
    return Math.ceil(2 ** (this.#pageShift - BLOCK_SHIFT_MIN) / 32);
  }

  /** A page for blocks of a size: one that is free, or one of a dead thread. */
  #takePage(sizeClass: number): number {
    const abandoned = sizeClass << CLASS_SHIFT;
    for (let step = 0; step < this.#pages - this.#firstPage; step += 1) {
      const page = this.#pageAfter(step);
      const seen = Atomics.load(this.#control, page * CONTROL_WORDS + OWNER);
      if (seen !== 0 && (seen !== abandoned || this.#isFull(page, sizeClass))) continue;
      this.#grow(page);
      const taken = abandoned | this.#owner;
      if (Atomics.compareExchange(this.#control, page * CONTROL_WORDS + OWNER, seen, taken) !== seen) continue;
      // Since the look another thread may have taken it, filled it and died.
      if (seen === 0 || !this.#isFull(page, sizeClass)) {
        this.#hint = page;
        return page;
      }
      Atomics.store(this.#control, page * CONTROL_WORDS + OWNER, abandoned);
    }
    return FULL;
  }

  #pageAfter(step: number): number {
    const span = this.#pages - this.#firstPage;
    return this.#firstPage + ((this.#hint - this.#firstPage + step) % span);
  }

  /** Grows the heap up to the end of a page, before the page is taken. */
  #grow(page: number): void {
    const end = (page + 1) * 2 ** this.#pageShift;
    if (end <= this.#buffer.byteLength) return;
    const wanted = Math.min(page + 1 + GROWTH_PAGES, this.#pages) * 2 ** this.#pageShift;
    try {
      this.#buffer.grow(wanted);
    } catch (thrown) {
      // Another thread has made it longer than this one wanted.
      if (this.#buffer.byteLength < end) throw thrown;
    }
  }

  #allocateRun(pages: number): number {
    const last = this.#pages - pages;
    for (let first = this.#firstPage; first <= last; first += 1) {
      const taken = this.#takeRun(first, pages);
      if (taken === pages) return first << (this.#pageShift - BLOCK_SHIFT_MIN);
      first += taken;
    }
    return FULL;
  }

  /** Takes `pages` pages from `first` on. Fewer: the number of free ones before one that wasn't. */
  #takeRun(first: number, pages: number): number {
    let taken = 0;
    while (taken < pages) {
      const owner = (first + taken) * CONTROL_WORDS + OWNER;
      const part = (PART_CLASS << CLASS_SHIFT) | this.#owner;
      if (Atomics.load(this.#control, owner) !== 0) break;
      if (Atomics.compareExchange(this.#control, owner, 0, part) !== 0) break;
      taken += 1;
    }
    if (taken < pages) {
      for (let page = 0; page < taken; page += 1) {
        Atomics.store(this.#control, (first + page) * CONTROL_WORDS + OWNER, 0);
      }
      return taken;
    }
    this.#grow(first + pages - 1);
    Atomics.store(this.#control, first * CONTROL_WORDS + RUN, pages);
    Atomics.store(this.#control, first * CONTROL_WORDS + OWNER, RUN_CLASS << CLASS_SHIFT);
    return pages;
  }

  /** Gives a block back, in any thread. No thread may look at it any more. */
  free(reference: number): void {
    const lines = this.#pageShift - BLOCK_SHIFT_MIN;
    const page = reference >>> lines;
    const sizeClass = Atomics.load(this.#control, page * CONTROL_WORDS + OWNER) >>> CLASS_SHIFT;
    if (sizeClass === RUN_CLASS) {
      this.#freeRun(page);
      return;
    }
    const block = (reference & ((1 << lines) - 1)) >> (sizeClass - BLOCK_SHIFT_MIN);
    const bit = 1 << (block & 31);
    const seen = Atomics.and(this.#control, page * CONTROL_WORDS + USED + (block >> 5), ~bit);
    invariant((seen & bit) !== 0, "a block that is freed was in use");
  }

  #freeRun(first: number): void {
    const inUse = RUN_CLASS << CLASS_SHIFT;
    const freeing = (FREEING_CLASS << CLASS_SHIFT) | this.#owner;
    const seen = Atomics.compareExchange(this.#control, first * CONTROL_WORDS + OWNER, inUse, freeing);
    invariant(seen === inUse, "a block that is freed was in use");
    this.#freePages(first);
  }

  /** Frees the pages of a run whose first page says that this thread frees it. */
  #freePages(first: number): void {
    const run = first * CONTROL_WORDS + RUN;
    for (let page = Atomics.load(this.#control, run) - 1; page > 0; page -= 1) {
      const owner = (first + page) * CONTROL_WORDS + OWNER;
      Atomics.store(this.#control, owner, (PART_CLASS << CLASS_SHIFT) | this.#owner);
      Atomics.store(this.#control, run, page);
      Atomics.store(this.#control, owner, 0);
    }
    Atomics.store(this.#control, first * CONTROL_WORDS + OWNER, 0);
  }

  /**
   * Gives the pages of a thread that has ended to others. One living thread calls it, once nothing
   * of the dead one can run.
   */
  releaseThread(thread: number): void {
    /** End of the last run that was seen. */
    let runEnd = 0;
    for (let page = this.#firstPage; page < this.#pages; page += 1) {
      const owner = page * CONTROL_WORDS + OWNER;
      const seen = Atomics.load(this.#control, owner);
      const sizeClass = seen >>> CLASS_SHIFT;
      const isOfDead = (seen & OWNER_MASK) === thread + 1;
      if (sizeClass === RUN_CLASS) runEnd = page + Atomics.load(this.#control, page * CONTROL_WORDS + RUN);
      else if (sizeClass === FREEING_CLASS) {
        runEnd = page + Atomics.load(this.#control, page * CONTROL_WORDS + RUN);
        if (isOfDead) this.#endFreeing(page);
      } else if (!isOfDead) continue;
      else if (sizeClass !== PART_CLASS) {
        Atomics.store(this.#control, owner, this.#isEmpty(page) ? 0 : seen & ~OWNER_MASK);
      } else if (page >= runEnd) {
        // By compare-and-swap: within a run that was freed meanwhile it may belong to another
        // thread.
        Atomics.compareExchange(this.#control, owner, seen, 0);
      }
    }
  }

  /** Frees a run that a dead thread was freeing. */
  #endFreeing(first: number): void {
    Atomics.store(this.#control, first * CONTROL_WORDS + OWNER, (FREEING_CLASS << CLASS_SHIFT) | this.#owner);
    this.#freePages(first);
  }

  /** Bytes in blocks that are in use. Looks at all of them; for tests and reports. */
  usedBytes(): number {
    let used = 0;
    for (let page = this.#firstPage; page < this.#pages; page += 1) {
      const sizeClass = Atomics.load(this.#control, page * CONTROL_WORDS + OWNER) >>> CLASS_SHIFT;
      if (sizeClass >= RUN_CLASS) used += 2 ** this.#pageShift;
      else if (sizeClass > 0) used += this.#usedBlocks(page) << sizeClass;
    }
    return used;
  }

  #usedBlocks(page: number): number {
    let blocks = 0;
    for (let index = 0; index < this.#usedWords(); index += 1) {
      let bits = Atomics.load(this.#control, page * CONTROL_WORDS + USED + index);
      while (bits !== 0) {
        bits &= bits - 1;
        blocks += 1;
      }
    }
    return blocks;
  }
}
