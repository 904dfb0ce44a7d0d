/**
 * Memory for values of any size, allocated and freed by one thread, read by all.
 *
 * One growable SharedArrayBuffer per owner. Blocks are powers of two from 64 bytes; a free list per size class and a bump
 * pointer for what was never used, all of it private to the owner, so that `allocate` and `free` need no atomics. Growth is
 * seen by every thread without a message: a reader whose view is too short makes a longer one.
 *
 * Who frees: always the owner, after it has learned that nobody reads the block any more.
 *
 * Views are of fixed length: accesses through a length-tracking view of a growable buffer cost 10–20× more
 * (docs/adr/0002-growable-arenas.md). Blocks are never merged or split; the memory kept is at most the sum over the size
 * classes of the most that each ever needed at once.
 */
import { invariant } from "@millrace/base";
import { FULL } from "./status.ts";

/** Smallest block: one cache line. */
export const BLOCK_BYTES_MIN = 64;
const CLASS_MIN = 6;
const CLASS_MAX = 30;
/** Growth in steps of at least 1 MiB: a call to the system per thousand small blocks. */
const GROWTH_BYTES = 1 << 20;

/** The size class (log2 of the block size) for `bytes`; a class that no arena has for more than 1 GiB. */
export function blockClass(bytes: number): number {
  if (bytes <= BLOCK_BYTES_MIN) return CLASS_MIN;
  return bytes > 2 ** CLASS_MAX ? CLASS_MAX + 1 : 32 - Math.clz32(bytes - 1);
}

/** Memory for an arena that may grow up to `bytesMax`; only what is used takes up real memory. */
export function createArena(bytesMax: number): SharedArrayBuffer {
  return new SharedArrayBuffer(Math.min(GROWTH_BYTES, bytesMax), { maxByteLength: bytesMax });
}

/** The owner's end; one thread only. */
export class Arena {
  readonly #buffer: SharedArrayBuffer;
  /** All memory that exists now; replaced when the arena grows. */
  bytes: Uint8Array;
  #bump = 0;
  readonly #free: number[][] = Array.from({ length: CLASS_MAX + 1 }, () => []);
  #usedBytes = 0;

  constructor(buffer: SharedArrayBuffer) {
    this.#buffer = buffer;
    this.bytes = new Uint8Array(buffer, 0, buffer.byteLength);
  }

  /** Bytes in blocks that are allocated now. */
  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** Byte offset of a block of class `sizeClass`, or `FULL` when the arena has reached its limit. */
  allocate(sizeClass: number): number {
    if (sizeClass > CLASS_MAX) return FULL;
    const recycled = (this.#free[sizeClass] as number[]).pop();
    const offset = recycled ?? this.#carve(1 << sizeClass);
    if (offset >= 0) this.#usedBytes += 1 << sizeClass;
    return offset;
  }

  /** Gives a block back; nobody may read it any more. */
  free(offset: number, sizeClass: number): void {
    invariant(offset >= 0 && offset + (1 << sizeClass) <= this.#bump, "a freed block was allocated before");
    this.#usedBytes -= 1 << sizeClass;
    (this.#free[sizeClass] as number[]).push(offset);
  }

  #carve(bytes: number): number {
    const offset = this.#bump;
    const end = offset + bytes;
    if (end > this.#buffer.maxByteLength) return FULL;
    if (end > this.bytes.length) {
      const grown = Math.min(Math.max(end, this.bytes.length + GROWTH_BYTES), this.#buffer.maxByteLength);
      this.#buffer.grow(grown);
      this.bytes = new Uint8Array(this.#buffer, 0, grown);
    }
    this.#bump = end;
    return offset;
  }
}

/** A reader's end; any thread. */
export class ArenaView {
  readonly #buffer: SharedArrayBuffer;
  #bytes: Uint8Array;

  constructor(buffer: SharedArrayBuffer) {
    this.#buffer = buffer;
    this.#bytes = new Uint8Array(buffer, 0, buffer.byteLength);
  }

  /** The arena's memory, at least up to `end`. */
  upTo(end: number): Uint8Array {
    if (end > this.#bytes.length) this.#bytes = new Uint8Array(this.#buffer, 0, this.#buffer.byteLength);
    invariant(end <= this.#bytes.length, "a block lies within its arena");
    return this.#bytes;
  }
}
