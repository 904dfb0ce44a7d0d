/**
 * A ring of frames of any size. One thread produces, one takes, and a third (or the taker)
 * releases.
 *
 * The ring knows frames and groups of frames; their content means nothing to it.
 *
 * Memory of the ring's own SharedArrayBuffer, offsets in bytes:
 *
 *   0     TAIL      end of the committed frames;   written by the producer, read by the taker
 *   4     WANTED    1 while the producer waits for room; written by the producer, read by the releaser
 *   128   TAKEN     end of the frames that the taker has finished; written by the taker, read by all
 *   256   RELEASED  end of the free bytes; written by the releaser, read by the producer
 *   384   the frames: `capacity` bytes, a power of two
 *
 * The three are positions in bytes that run freely and wrap at 2^32; RELEASED ≤ TAKEN ≤ TAIL ≤
 * RELEASED + capacity.
 *
 * A frame starts at a multiple of 8: one word, then `length` bytes, then padding up to the next
 * multiple of 8.
 *
 *   bits 0–29  length of the content in bytes
 *   bit 30     CONTINUES: the next frame belongs to the same group; a taker takes a group whole or not at all
 *   bit 31     SKIP (the word is negative): no frame here, the next one is at the start of the ring
 *
 * A frame never wraps, so its bytes can be handed to a system call as they are. Staged frames
 * become visible by one store of TAIL (pairs with the taker's load); a producer that dies before
 * that store leaves nothing behind, not even half a group. Overwriting is ordered by the store of
 * RELEASED (pairs with the producer's load).
 *
 * Rejected: one ring for all producers (Agrona's ManyToOneRingBuffer). A producer that dies between
 * claim and commit leaves a hole there, and every later frame waits until some other thread finds
 * and fills it.
 */
import { invariant } from "@millrace/base";
import { alignUp, isPowerOfTwo, LINE_BYTES, LINE_WORDS } from "./line.ts";
import { FULL } from "./status.ts";

const TAIL = 0;
const WANTED = 1;
const TAKEN = LINE_WORDS;
const RELEASED: number = 2 * LINE_WORDS;
/** Byte offset of the frames in the buffer. */
export const FRAMES_OFFSET: number = 3 * LINE_BYTES;

const SKIP = -1;
const CONTINUES: number = 1 << 30;
const LENGTH_MASK: number = CONTINUES - 1;
/**
 * Frames start at multiples of this many bytes, so that their words are aligned and a SKIP always
 * fits.
 */
export const FRAME_ALIGNMENT = 8;
/** Bytes of a frame before its content. */
export const FRAME_WORD_BYTES = 4;
/** Positions are 32-bit and their differences signed, so the capacity stays far below 2^31. */
export const BYTE_RING_CAPACITY_MAX: number = 2 ** 29;

/** Bytes that a frame with `length` bytes of content takes up. */
export function frameBytes(length: number): number {
  return alignUp(FRAME_WORD_BYTES + length, FRAME_ALIGNMENT);
}

/** The content's length in a frame word that was read from a ring or from disk. */
export function frameLength(word: number): number {
  return word & LENGTH_MASK;
}

/** Whether a frame word says that the next frame belongs to the same group. */
export function frameContinues(word: number): boolean {
  return (word & CONTINUES) !== 0;
}

/**
 * Memory for a ring of `capacity` bytes; all positions start at `start` (a multiple of 8, for tests
 * near the wrap).
 */
export function createByteRing(capacity: number, start = 0): SharedArrayBuffer {
  invariant(
    isPowerOfTwo(capacity) && capacity <= BYTE_RING_CAPACITY_MAX,
    "a ring's capacity is a power of two, at most 2^29",
  );
  const buffer = new SharedArrayBuffer(FRAMES_OFFSET + capacity);
  const words = new Int32Array(buffer);
  words[TAIL] = start;
  words[TAKEN] = start;
  words[RELEASED] = start;
  return buffer;
}

/** The producer's end; one thread only. */
export class ByteRingProducer {
  readonly #words: Int32Array;
  /** The frames as bytes; `stage` returns offsets into this view. */
  readonly bytes: Uint8Array;
  /** Bytes. A single frame may take up half of it. */
  readonly capacity: number;
  #staged: number;
  #committed: number;
  #releasedSeen: number;
  #wantsRoom = false;

  constructor(ring: SharedArrayBuffer) {
    this.#words = new Int32Array(ring);
    this.bytes = new Uint8Array(ring, FRAMES_OFFSET);
    this.capacity = this.bytes.length;
    this.#committed = this.#words[TAIL] as number;
    this.#staged = this.#committed;
    this.#releasedSeen = this.#words[RELEASED] as number;
  }

  /** End of the committed frames, a position. */
  get committed(): number {
    return this.#committed;
  }

  /**
   * Reserves a frame for `length` bytes of content and returns the content's offset in `bytes`.
   * `FULL` without room; the releaser then wakes this thread once there is some. `continues` puts
   * the next frame into the same group. No other thread sees the frame before `commit`.
   */
  stage(length: number, continues: boolean): number {
    invariant(
      length >= 0 && length <= this.capacity / 2 - FRAME_WORD_BYTES,
      "a frame takes up at most half of its ring",
    );
    const size = frameBytes(length);
    let start = this.#staged & (this.capacity - 1);
    const untilEnd = this.capacity - start;
    const needed = size <= untilEnd ? size : untilEnd + size;
    if (!this.#hasRoom(needed)) return FULL;
    if (size > untilEnd) {
      this.#words[(FRAMES_OFFSET + start) >> 2] = SKIP;
      start = 0;
    }
    this.#words[(FRAMES_OFFSET + start) >> 2] = continues ? length | CONTINUES : length;
    this.#staged = (this.#staged + needed) | 0;
    return start + FRAME_WORD_BYTES;
  }

  /** Makes all staged frames visible at once. */
  commit(): void {
    this.#committed = this.#staged;
    Atomics.store(this.#words, TAIL, this.#staged);
  }

  /** Forgets the staged frames. */
  rollback(): void {
    this.#staged = this.#committed;
  }

  /** Bytes that are committed and not yet released. */
  usedBytes(): number {
    return (this.#committed - Atomics.load(this.#words, RELEASED)) | 0;
  }

  #hasRoom(needed: number): boolean {
    const end = (this.#staged + needed) | 0;
    if (((end - this.#releasedSeen) | 0) <= this.capacity) return true;
    this.#releasedSeen = Atomics.load(this.#words, RELEASED);
    if (((end - this.#releasedSeen) | 0) > this.capacity) {
      // Announce, then look again: the releaser stores RELEASED first and looks at WANTED second,
      // so one sees the other.
      Atomics.store(this.#words, WANTED, 1);
      this.#wantsRoom = true;
      this.#releasedSeen = Atomics.load(this.#words, RELEASED);
      if (((end - this.#releasedSeen) | 0) > this.capacity) return false;
    }
    if (this.#wantsRoom) {
      this.#wantsRoom = false;
      Atomics.store(this.#words, WANTED, 0);
    }
    return true;
  }
}

/**
 * The taker's end; one thread only. `take` fills the fields below; the taker reads the spans, then
 * calls `finish`.
 */
export class ByteRingTaker {
  readonly #words: Int32Array;
  /** The frames as bytes; spans are offsets into this view. */
  readonly bytes: Uint8Array;
  readonly capacity: number;
  #taken: number;

  /** Frames in the last `take`. */
  frames = 0;
  /** Bytes of both spans together. */
  spanBytes = 0;
  /** Offset of the first span in `bytes`, and its length. */
  firstOffset = 0;
  firstBytes = 0;
  /** Length of the second span, which begins at offset 0; 0 when the frames didn't wrap. */
  secondBytes = 0;
  /** End of the last `take`, a position. */
  end: number;

  constructor(ring: SharedArrayBuffer) {
    this.#words = new Int32Array(ring);
    this.bytes = new Uint8Array(ring, FRAMES_OFFSET);
    this.capacity = this.bytes.length;
    this.#taken = this.#words[TAKEN] as number;
    this.end = this.#taken;
  }

  /** Position up to which the producer has committed. */
  tail(): number {
    return Atomics.load(this.#words, TAIL);
  }

  /** End of the frames that were taken, a position. */
  get taken(): number {
    return this.#taken;
  }

  /** Whether frames wait. */
  hasFrames(): boolean {
    return Atomics.load(this.#words, TAIL) !== this.#taken;
  }

  /**
   * Finds waiting frames, whole groups only, at most `bytesMax` bytes and `framesMax` frames, and
   * describes them in the fields. Returns the number of frames: 0 when none waits or the first
   * group exceeds a limit.
   */
  take(bytesMax: number, framesMax: number): number {
    const tail = Atomics.load(this.#words, TAIL);
    const mask = this.capacity - 1;
    let position = this.#taken;
    let frames = 0;
    let bytes = 0;
    let wrapBytes = -1;
    this.#describe(position, 0, 0, -1);
    while (position !== tail) {
      const offset = position & mask;
      const word = this.#words[(FRAMES_OFFSET + offset) >> 2] as number;
      if (word < 0) {
        position = (position + this.capacity - offset) | 0;
        wrapBytes = bytes;
        continue;
      }
      const size = frameBytes(frameLength(word));
      invariant(((tail - position) | 0) >= size, "a committed frame ends at or before the tail");
      if (wrapBytes < 0 && offset === 0 && bytes > 0) wrapBytes = bytes;
      if (bytes + size > bytesMax || frames >= framesMax) break;
      bytes += size;
      frames += 1;
      position = (position + size) | 0;
      if (!frameContinues(word)) this.#describe(position, frames, bytes, wrapBytes);
    }
    return this.frames;
  }

  /** Ends the last `take`: the taker reads these bytes no more. */
  finish(): void {
    this.#taken = this.end;
    Atomics.store(this.#words, TAKEN, this.#taken);
  }

  #describe(end: number, frames: number, bytes: number, wrapBytes: number): void {
    const start = this.#taken & (this.capacity - 1);
    this.end = end;
    this.frames = frames;
    this.spanBytes = bytes;
    // A SKIP right at the start leaves an empty first span.
    this.firstOffset = start;
    this.firstBytes = wrapBytes < 0 ? bytes : wrapBytes;
    this.secondBytes = bytes - this.firstBytes;
  }
}

/** Walks taken frames and gives their space back; one thread only, the taker's or a third one. */
export class ByteRingReleaser {
  readonly #words: Int32Array;
  /** The frames as bytes; offsets below are into this view. */
  readonly bytes: Uint8Array;
  readonly capacity: number;
  #position: number;
  /** Content of the frame that `next` found. */
  offset = 0;
  length = 0;
  continues = false;

  constructor(ring: SharedArrayBuffer) {
    this.#words = new Int32Array(ring);
    this.bytes = new Uint8Array(ring, FRAMES_OFFSET);
    this.capacity = this.bytes.length;
    this.#position = this.#words[RELEASED] as number;
  }

  /**
   * Steps to the next frame before `end`, a position that was taken; false when there is none.
   * Fills the fields.
   */
  next(end: number): boolean {
    const mask = this.capacity - 1;
    while (this.#position !== end) {
      const start = this.#position & mask;
      const word = this.#words[(FRAMES_OFFSET + start) >> 2] as number;
      if (word < 0) {
        this.#position = (this.#position + this.capacity - start) | 0;
        continue;
      }
      this.offset = start + FRAME_WORD_BYTES;
      this.length = frameLength(word);
      this.continues = frameContinues(word);
      this.#position = (this.#position + frameBytes(this.length)) | 0;
      return true;
    }
    return false;
  }

  /**
   * Gives all space before `end` back to the producer, walked or not. True when the producer waits
   * for room: the caller must wake it.
   */
  release(end: number): boolean {
    this.#position = end;
    Atomics.store(this.#words, RELEASED, end);
    return Atomics.load(this.#words, WANTED) !== 0;
  }
}
