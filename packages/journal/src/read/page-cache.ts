/**
 * Pages of files in memory: read when they are wanted, compared with checksums that were taken when
 * the whole was proven to be sound, and kept within a bound.
 *
 * A batch has one checksum, so to prove one record of it takes all of its bytes: a megabyte or
 * more. The proof is given once. On the way it leaves a CRC of each page of 4096 bytes, and from
 * then on a record needs a page or two. The pages of an index file are treated in the same way.
 *
 * Of the bound, an eighth is for the batches' tables (16 bytes a page, so they reach 32 times as
 * far as the bound) and the rest for pages. Both are replaced by second chance: a hand goes round,
 * spares what was used since its last round, and takes the first that wasn't. A page that was used
 * once goes before one that was used twice, such as the index's.
 *
 * A page belongs to its table, and a table to the segment that its owner found in the directory. No
 * page is looked up by a name or a number that another segment could have later, and it goes with
 * its table.
 *
 * Rejected: whole batches, which a log of a few seconds pushes out of any cache; blocks cut at the
 * records' bounds, each in memory of its own, since to allocate and collect 4 KiB takes longer than
 * to read them.
 */
import { crc32 } from "@millrace/codec";
import { ALIGNMENT } from "../files/format.ts";
import { readFully } from "../storage/storage.ts";
import type { OpenFiles } from "./open-files.ts";

export const PAGE_BYTES: number = ALIGNMENT;
/** Memory for pages is taken in pieces of this size, as it is needed. */
const CHUNK_FRAMES = 256;
/** Pages that are there in any case: what a look-up works in. */
const FRAMES_LEAST = 16;
/** Of the bound, for tables. */
const TABLES_PART: number = 1 / 8;
/** A table's object, its array and its entry in a map, about. */
const TABLE_FIXED_BYTES = 512;

/**
 * Words of a page in `CheckedPages.words`: its CRC, the number of the frame that holds it plus one
 * (0: none), and two for the owner. The first of them ascends from page to page.
 */
const WORDS = 4;
const CRC = 0;
const FRAME = 1;
const FENCE = 2;
const EXTRA = 3;

/** Guesses in a search before it goes on by halves. */
export const GUESSES = 3;

/** Where in `steps` a value lies that is `above` of `range` above the least; below `steps`. */
export function guess(above: number, range: number, steps: number): number {
  return Math.floor((above / range) * steps);
}

/** A stretch of a file that was proven to be sound, and what its pages must be. */
export class CheckedPages {
  readonly file: string;
  /** File offset of the first page. */
  readonly start: number;
  readonly bytes: number;
  readonly words: Uint32Array;
  /** For second chance. */
  isRecent = true;

  constructor(file: string, start: number, bytes: number) {
    this.file = file;
    this.start = start;
    this.bytes = bytes;
    this.words = new Uint32Array(WORDS * Math.ceil(bytes / PAGE_BYTES));
  }

  get count(): number {
    return this.words.length / WORDS;
  }

  get memoryBytes(): number {
    return this.words.byteLength + TABLE_FIXED_BYTES;
  }

  /** Bytes in a page; the last one may have fewer. */
  bytesIn(page: number): number {
    return Math.min(PAGE_BYTES, this.bytes - page * PAGE_BYTES);
  }

  fenceOf(page: number): number {
    return this.words[page * WORDS + FENCE] as number;
  }

  extraOf(page: number): number {
    return this.words[page * WORDS + EXTRA] as number;
  }

  setFence(page: number, fence: number, extra: number): void {
    this.words[page * WORDS + FENCE] = fence;
    this.words[page * WORDS + EXTRA] = extra;
  }

  /** Takes the CRC of a page; `bytes` are those of the page. */
  seal(page: number, bytes: Uint8Array): void {
    this.words[page * WORDS + CRC] = crc32(bytes);
  }

  matches(page: number, bytes: Uint8Array): boolean {
    return crc32(bytes) === this.words[page * WORDS + CRC];
  }

  /**
   * The last page whose fence is at most `value`; -1 when there is none. Fences lie about evenly:
   * a few guesses find the place, where halves would need ten steps through cold memory.
   */
  pageOf(value: number): number {
    const { words } = this;
    let low = 0;
    let high = words.length / WORDS - 1;
    for (let step = 0; low <= high; step += 1) {
      const least = words[low * WORDS + FENCE] as number;
      if (least > value) return low - 1;
      const most = words[high * WORDS + FENCE] as number;
      if (most <= value) return high;
      const middle = step < GUESSES ? low + guess(value - least, most - least, high - low) : (low + high) >> 1;
      if ((words[middle * WORDS + FENCE] as number) <= value) low = middle + 1;
      else high = middle - 1;
    }
    return high;
  }
}

/** Tables by their places; the cache takes out of it what it gives up. */
export type TableMap<T extends CheckedPages> = Map<number, T>;

export class PageCache {
  readonly #files: OpenFiles;
  readonly #tableBytesMax: number;
  readonly #framesMax: number;
  /** The most pages that a record may have to pass through the cache; a larger one is only read. */
  readonly runMax: number;
  /** The tables that are kept, in the order of their second chances, each with its map. */
  readonly #tables = new Map<CheckedPages, TableMap<CheckedPages>>();
  #tableBytes = 0;
  readonly #chunks: Buffer[] = [];
  readonly #views: DataView[] = [];
  /** Per frame: the table of its page, the page's number, and whether it was used again. */
  readonly #owners: (CheckedPages | undefined)[] = [];
  readonly #pages: number[] = [];
  readonly #isRecent: boolean[] = [];
  readonly #free: number[] = [];
  #hand = 0;
  /** What `prefetch` reads into. */
  #run: Buffer | undefined;

  /** `bytesMax`: for pages and tables together. */
  constructor(files: OpenFiles, bytesMax: number) {
    this.#files = files;
    this.#tableBytesMax = bytesMax * TABLES_PART;
    this.#framesMax = Math.max(FRAMES_LEAST, Math.floor((bytesMax * (1 - TABLES_PART)) / PAGE_BYTES));
    this.runMax = Math.min(FRAMES_LEAST, Math.floor(this.#framesMax / 8));
  }

  /** Bytes in use, of pages and of tables. */
  get bytes(): number {
    return (this.#owners.length - this.#free.length) * PAGE_BYTES + this.#tableBytes;
  }

  /**
   * Keeps a table in `map` under its place, instead of an older one; false when it alone is over
   * the bound.
   */
  keep<T extends CheckedPages>(map: TableMap<T>, table: T): boolean {
    const before = map.get(table.start);
    if (before !== undefined) this.drop(before);
    if (table.memoryBytes > this.#tableBytesMax) return false;
    map.set(table.start, table);
    this.#tables.set(table, map as unknown as TableMap<CheckedPages>);
    this.#tableBytes += table.memoryBytes;
    // Ends: a table that had its second chance is no longer recent when its turn comes again.
    for (const [oldest, home] of this.#tables) {
      if (this.#tableBytes <= this.#tableBytesMax) break;
      if (oldest.isRecent) {
        oldest.isRecent = false;
        this.#tables.delete(oldest);
        this.#tables.set(oldest, home);
      } else this.drop(oldest);
    }
    return this.#tables.has(table);
  }

  /** Forgets a table, if it is kept, and its pages. */
  drop(table: CheckedPages): void {
    if (this.#tables.get(table)?.delete(table.start) === true) this.#tableBytes -= table.memoryBytes;
    this.#tables.delete(table);
    for (let at = FRAME; at < table.words.length; at += WORDS) {
      const frame = (table.words[at] as number) - 1;
      if (frame < 0) continue;
      table.words[at] = 0;
      this.#owners[frame] = undefined;
      this.#free.push(frame);
    }
  }

  /**
   * The frame that holds a page, valid until the next call; -1 when the file doesn't hold what was
   * proven.
   */
  hold(table: CheckedPages, page: number): number {
    table.isRecent = true;
    const frame = (table.words[page * WORDS + FRAME] as number) - 1;
    if (frame < 0) return this.#load(table, page);
    this.#isRecent[frame] = true;
    return frame;
  }

  /** Reads pages that a record spans at once, unless one of them is there. */
  prefetch(table: CheckedPages, first: number, last: number): void {
    if (last - first >= this.runMax) return;
    for (let page = first; page <= last; page += 1) if (table.words[page * WORDS + FRAME] !== 0) return;
    this.#run ??= Buffer.allocUnsafeSlow(this.runMax * PAGE_BYTES);
    const bytes = (last - first) * PAGE_BYTES + table.bytesIn(last);
    if (readFully(this.#files.get(table.file), this.#run, bytes, table.start + first * PAGE_BYTES) < bytes) return;
    for (let page = first; page <= last; page += 1) {
      const at = (page - first) * PAGE_BYTES;
      const memory = this.#run.subarray(at, at + table.bytesIn(page));
      if (!table.matches(page, memory)) return;
      const frame = this.#takeFrame();
      this.chunkOf(frame).set(memory, this.offsetOf(frame));
      this.#own(frame, table, page);
    }
  }

  /** The memory of many frames, where this one begins at `offsetOf(frame)`. */
  chunkOf(frame: number): Buffer {
    return this.#chunks[Math.floor(frame / CHUNK_FRAMES)] as Buffer;
  }

  viewOf(frame: number): DataView {
    return this.#views[Math.floor(frame / CHUNK_FRAMES)] as DataView;
  }

  offsetOf(frame: number): number {
    return (frame % CHUNK_FRAMES) * PAGE_BYTES;
  }

  /**
   * The bytes from `from` to `to` of what the table stands for, in memory of their own; undefined
   * when the file doesn't hold what was proven.
   */
  copy(table: CheckedPages, from: number, to: number, room: (bytes: number) => Buffer): Buffer | undefined {
    const first = Math.floor(from / PAGE_BYTES);
    const last = Math.floor((to - 1) / PAGE_BYTES);
    if (last - first >= this.runMax) return this.#readAround(table, first, last, from, to);
    const bytes = room(to - from);
    for (let page = first; page <= last; page += 1) {
      const frame = this.hold(table, page);
      if (frame < 0) return undefined;
      const start = Math.max(from, page * PAGE_BYTES);
      const end = Math.min(to, (page + 1) * PAGE_BYTES);
      const shift = this.offsetOf(frame) - page * PAGE_BYTES;
      this.chunkOf(frame).copy(bytes, start - from, start + shift, end + shift);
    }
    return bytes;
  }

  /** Pages that don't pass through the cache: they would push out too much. */
  #readAround(table: CheckedPages, first: number, last: number, from: number, to: number): Buffer | undefined {
    const start = first * PAGE_BYTES;
    const length = last * PAGE_BYTES + table.bytesIn(last) - start;
    const bytes = Buffer.allocUnsafeSlow(length);
    if (readFully(this.#files.get(table.file), bytes, length, table.start + start) < length) return undefined;
    for (let page = first; page <= last; page += 1) {
      const at = page * PAGE_BYTES - start;
      if (!table.matches(page, bytes.subarray(at, at + table.bytesIn(page)))) return undefined;
    }
    return bytes.subarray(from - start, to - start);
  }

  #load(table: CheckedPages, page: number): number {
    const frame = this.#takeFrame();
    let isSound = false;
    try {
      const offset = this.offsetOf(frame);
      const bytes = table.bytesIn(page);
      const memory = this.chunkOf(frame).subarray(offset, offset + bytes);
      const read = readFully(this.#files.get(table.file), memory, bytes, table.start + page * PAGE_BYTES);
      isSound = read === bytes && table.matches(page, memory);
    } finally {
      if (!isSound) this.#free.push(frame);
    }
    if (!isSound) return -1;
    this.#own(frame, table, page);
    return frame;
  }

  #own(frame: number, table: CheckedPages, page: number): void {
    this.#owners[frame] = table;
    this.#pages[frame] = page;
    this.#isRecent[frame] = false;
    table.words[page * WORDS + FRAME] = frame + 1;
  }

  #takeFrame(): number {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    const frame = this.#owners.length;
    if (frame === this.#framesMax) return this.#evict();
    if (frame % CHUNK_FRAMES === 0) {
      const chunk = Buffer.allocUnsafeSlow(Math.min(CHUNK_FRAMES, this.#framesMax - frame) * PAGE_BYTES);
      this.#chunks.push(chunk);
      this.#views.push(new DataView(chunk.buffer));
    }
    this.#owners.push(undefined);
    this.#pages.push(0);
    this.#isRecent.push(false);
    return frame;
  }

  /** All frames are in use, so the hand finds one within two rounds. */
  #evict(): number {
    for (;;) {
      const frame = this.#hand;
      this.#hand = (frame + 1) % this.#framesMax;
      if (this.#isRecent[frame] === true) {
        this.#isRecent[frame] = false;
        continue;
      }
      const owner = this.#owners[frame] as CheckedPages;
      owner.words[(this.#pages[frame] as number) * WORDS + FRAME] = 0;
      this.#owners[frame] = undefined;
      return frame;
    }
  }
}
