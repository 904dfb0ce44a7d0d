/**
 * The memory that the opener and the delivery thread share, besides journal and scheduler.
 *
 * `words`, in 32-bit words:
 *
 *   0  STATE      where the intake is in its life: see state-word.ts
 *   1  COMMANDS   counts messages to the delivery thread; written by the opener. The thread blocks, so
 *                 that it looks into its port only when this has changed.
 *   2  BALANCE    unfinished records less those taken out of the opener's data ring, modulo 2^32;
 *                 written by the delivery thread after each turn, read by the opener, which adds
 *                 what it has put into that ring
 *   3  RUNNABLE   as BALANCE, without the records that wait for anything but the end of others:
 *                 `Delivery.aside`
 *
 * then two SPSC rings:
 *
 *   questions  opener → delivery: kind, sequence low, high
 *     FINISHED   tell me when the record is finished and its ACK is durable
 *     ALL        tell me when nothing can run any more
 *     VERDICT    is this record, which has a key, the first one with it
 *     BELOW      tell me when RUNNABLE is at most the low word; a later one replaces the earlier
 *   answers    delivery → opener: kind, sequence low, high, first low, high
 *     FINISHED, ALL, BELOW as asked; FIRST, DUPLICATE, MISMATCH, REFUSED for VERDICT, the second
 *     and third with the sequence of the first one. A dead or expired record is answered by a
 *     message instead, with its errors.
 */
import { type CounterPlaces, counterPlaces, Counters, countersBytes } from "@millrace/metrics";
import { LINE_WORDS, type SpscRingPlace, spscRingWords } from "@millrace/shared-memory";

export const STATE = 0;
export const COMMANDS = 1;
export const BALANCE = 2;
export const RUNNABLE = 3;

export const FINISHED = 1;
export const ALL = 2;
export const VERDICT = 3;
export const FIRST = 4;
export const DUPLICATE = 5;
export const MISMATCH = 6;
export const REFUSED = 7;
export const BELOW = 8;

export const QUESTION = { kind: 0, sequenceLow: 1, sequenceHigh: 2, firstLow: 3, firstHigh: 4 } as const;

/** Places for questions, and for answers. */
export const QUESTIONS_MAX = 16384;
/**
 * Questions that the delivery thread takes, and may have answered, before it gives their places
 * back.
 */
export const QUESTIONS_TAKEN_MAX = 64;
/**
 * Questions that may be open at once; the opener keeps more on its heap. Those that are answered
 * and whose places aren't given back come on top.
 */
export const QUESTIONS_OPEN_MAX: number = QUESTIONS_MAX - QUESTIONS_TAKEN_MAX;
const WIDTH = 8;
const RING_WORDS: number = spscRingWords(QUESTIONS_MAX, WIDTH);

export function controlBytes(): number {
  return (LINE_WORDS + 2 * RING_WORDS) * Int32Array.BYTES_PER_ELEMENT;
}

export function questionsPlace(words: Int32Array): SpscRingPlace {
  return { words, base: LINE_WORDS, capacity: QUESTIONS_MAX, width: WIDTH };
}

export function answersPlace(words: Int32Array): SpscRingPlace {
  return { words, base: LINE_WORDS + RING_WORDS, capacity: QUESTIONS_MAX, width: WIDTH };
}

/** The delivery thread's counters. */
const NAMES = [
  /** Attempts that were started. */
  "delivered",
  /** Records finished with success. */
  "done",
  /** Attempts that failed and will be followed by another. */
  "retried",
  "dead",
  "expired",
  "duplicates",
  /** Attempts whose end wasn't recorded, because the disk was full. */
  "unrecorded",
  /** Everything up to this sequence is finished, or needs no delivery. */
  "floor",
  /** The highest sequence that delivery knows to be durable. */
  "known",
  /** Records that waited in the journal when it was opened. */
  "recovered",
  /** 1 while a lane reads from the segments. */
  "isReading",
  /** Records that wait for a time. */
  "waiting",
  /** Records that were copied forward. */
  "copied",
  /** Dead records that are kept. */
  "deadKept",
  /** Known records whose handler is paused, at a limit or resting. */
  "held",
  /** Known records for handlers that aren't there. */
  "unroutable",
  /** Records in hand. */
  "running",
  /** Records that wait behind others of their key. */
  "keyWaiting",
  /** Entries of the dedupe window, and those that left it before their time. */
  "windowKeys",
  "windowEvicted",
  /** Suspects that weren't tried yet. */
  "suspects",
  /**
   * `waiting`, `held`, `unroutable` and `delayed` when nothing could run: for the answer to ALL,
   * since what waits may be in hand when that is read.
   */
  "leftWaiting",
  "leftHeld",
  "leftUnroutable",
  "leftScheduled",
  /** Records that wait for their first time. */
  "delayed",
  /** When the oldest record was published that waits for its turn, ms since 1970; 0 for none. */
  "oldestMs",
  /** Records that schedules have published since the opening. */
  "scheduled",
  /** Free bytes of the disk, once a second, when the options have marks for it. */
  "freeBytes",
  /** How often a handler kept failing and was given a rest. */
  "breakersOpened",
  /** Bytes of dead letters in the log, and records that wait for room among them. */
  "deadBytes",
  "deadWaiting",
  /** Records that wait for a time, and of which the disk keeps count. */
  "waitingOnDisk",
] as const;

export const CELLS: CounterPlaces<(typeof NAMES)[number]> = counterPlaces(NAMES);

export type DeliveryCounts = Counters<(typeof NAMES)[number]>;

export const STATS_BYTES: number = countersBytes(CELLS);

export function deliveryCounts(memory: SharedArrayBuffer): DeliveryCounts {
  return new Counters(CELLS, memory);
}
