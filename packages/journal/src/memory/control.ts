/**
 * The journal's shared memory.
 *
 * `control`, in 32-bit words, each group on lines of its own:
 *
 *   0     STATE        0 while the writer recovers the log, then one of those below; written by
 *                      the writer, and by the opener for CLOSING and when the writer is gone
 *   32    ERRNO        why the journal is poisoned: the system's error number, 0 for none; written
 *                      by the writer before STATE
 *   33    STEP         what failed: an index into STEPS
 *   64    SPARE_STATE  0, WANTED (by the writer), READY, FAILED (by the keeper)
 *   65    SPARE_PAGES  least size wanted, in pages of 4096 bytes; written by the writer before
 *                      WANTED
 *   66    SPARE_ERRNO  written by the keeper before FAILED
 *   67    SPARE_AWAITED  1 while the writer can't go on without a spare; written by the writer
 *   96    SPACE        OK, or FULL while the writer refuses data records because the disk is full;
 *                      written by the writer
 *   128   IS_QUIET     1 when the keeper sleeps until something becomes durable; set by the keeper,
 *                      cleared by the keeper and the writer
 *   160   COMMANDS     counts the commands on the keeper's port; written by the opener after each
 *   192   FOLLOWERS    readers of the opener that wait for new records; written by the opener, read
 *                      by the writer
 *   224+32·r URGENT    ring r: somebody awaits everything before this position; written by the
 *                      ring's producer, read by the writer; only for rings whose records may
 *                      otherwise wait for company
 *   225+32·r PRODUCER  ring r: thread of its producer, which the writer wakes when receipts arrive
 *                      or there is room; -1 for none; written by the opener before the threads
 *                      start, or once by the thread that takes the ring over
 *
 * Each ring has its byte ring, and an SPSC ring of receipts from the writer to its producer. A
 * journal with a delivery thread has one more SPSC ring, of receipts for all rings in the order of
 * their sequences.
 *
 * A receipt says that everything in a ring before `end` is durable: (end, first sequence low, high,
 * count), for the delivery thread with the ring's number as well. A negative count says that these
 * records were refused and certainly not stored. The writer publishes a receipt after the sync and
 * wakes its readers afterwards.
 */
import { LINE_WORDS, type SpscRingPlace, spscRingWords } from "@millrace/shared-memory";

export const STATE = 0;
export const ERRNO: number = LINE_WORDS;
export const STEP: number = LINE_WORDS + 1;
export const SPARE_STATE: number = 2 * LINE_WORDS;
export const SPARE_PAGES: number = 2 * LINE_WORDS + 1;
export const SPARE_ERRNO: number = 2 * LINE_WORDS + 2;
export const SPARE_AWAITED: number = 2 * LINE_WORDS + 3;
export const SPACE: number = 3 * LINE_WORDS;
export const IS_QUIET: number = 4 * LINE_WORDS;
export const COMMANDS: number = 5 * LINE_WORDS;
export const FOLLOWERS: number = 6 * LINE_WORDS;
const URGENT: number = 7 * LINE_WORDS;

export const OPEN = 1;
export const CLOSING = 2;
export const CLOSED = 3;
export const POISONED = 4;

export const STEPS = [
  "the writer thread",
  "writing a batch",
  "beginning a segment",
  "closing",
  "looking for the segment",
] as const;

export const SPARE_WANTED = 1;
export const SPARE_READY = 2;
export const SPARE_FAILED = 3;

export const SPACE_OK = 0;
export const SPACE_FULL = 1;

export const NO_THREAD = -1;

export function producerWord(ring: number): number {
  return URGENT + ring * LINE_WORDS + 1;
}

export function urgentWord(ring: number): number {
  return URGENT + ring * LINE_WORDS;
}

export function controlBytes(rings: number): number {
  return (URGENT + rings * LINE_WORDS) * Int32Array.BYTES_PER_ELEMENT;
}

/**
 * A producer may leave this many receipts unread before the writer waits for it: a second of the
 * fastest syncs.
 */
const RECEIPTS_CAPACITY = 8192;
const RECEIPT_WIDTH = 4;
const DELIVERY_RECEIPTS_CAPACITY = 32768;
const DELIVERY_RECEIPT_WIDTH = 8;

/** Word offsets in a receipt. */
export const RECEIPT = { end: 0, sequenceLow: 1, sequenceHigh: 2, count: 3, ring: 4 } as const;

export function receiptsBytes(): number {
  return spscRingWords(RECEIPTS_CAPACITY, RECEIPT_WIDTH) * Int32Array.BYTES_PER_ELEMENT;
}

export function deliveryReceiptsBytes(): number {
  return spscRingWords(DELIVERY_RECEIPTS_CAPACITY, DELIVERY_RECEIPT_WIDTH) * Int32Array.BYTES_PER_ELEMENT;
}

export function receiptsPlace(buffer: SharedArrayBuffer): SpscRingPlace {
  return { words: new Int32Array(buffer), base: 0, capacity: RECEIPTS_CAPACITY, width: RECEIPT_WIDTH };
}

export function deliveryReceiptsPlace(buffer: SharedArrayBuffer): SpscRingPlace {
  return {
    words: new Int32Array(buffer),
    base: 0,
    capacity: DELIVERY_RECEIPTS_CAPACITY,
    width: DELIVERY_RECEIPT_WIDTH,
  };
}

/** A sequence as two words, and back. */
export function sequenceLow(sequence: number): number {
  return sequence | 0;
}

export function sequenceHigh(sequence: number): number {
  return Math.floor(sequence / 2 ** 32);
}

export function sequenceOf(low: number, high: number): number {
  return (low >>> 0) + high * 2 ** 32;
}

/** One producer's ring and its receipts. */
export interface RingMemory {
  readonly ring: SharedArrayBuffer;
  readonly receipts: SharedArrayBuffer;
  /** Holds records without which nothing could be finished: they go on when the disk is full. */
  readonly isState: boolean;
  /** Records in it don't start a sync unless somebody awaits them. */
  readonly isLazy: boolean;
}

/** Everything that a thread needs to take part; a plain value for `workerData`. */
export interface JournalMemory {
  readonly control: SharedArrayBuffer;
  readonly stats: SharedArrayBuffer;
  readonly syncHistogram: SharedArrayBuffer;
  /** Records of a batch. */
  readonly batchHistogram: SharedArrayBuffer;
  readonly threads: SharedArrayBuffer;
  readonly writerThread: number;
  readonly keeperThread: number;
  readonly rings: readonly RingMemory[];
  /** With a delivery thread: its receipts and its thread; it releases the rings' space. */
  readonly delivery: { readonly receipts: SharedArrayBuffer; readonly thread: number } | undefined;
  readonly recordBytesMax: number;
  readonly batchBytesMax: number;
}
