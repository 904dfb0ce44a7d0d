/**
 * What the opener and the delivery thread share besides journal and scheduler.
 *
 * `words`, in 32-bit words: STATE (0; written by the delivery thread, and by the opener for DRAINING), CHECKPOINTS (1; written by the
 * opener), then two SPSC rings:
 *
 *   questions  opener → delivery: (kind, sequence low, high); FINISHED asks to be told when a sequence is finished and its ACK is
 *              durable; ALL asks to be told when nothing is unfinished
 *   answers    delivery → opener: the same three words. A dead record is answered by a message instead, with its error.
 */
import { LINE_WORDS, type SpscRingPlace, spscRingWords } from "@millrace/shared-memory";

export const STATE = 0;
/** Counts the checkpoints that the opener is through with. */
export const CHECKPOINTS = 1;
export const RECOVERING = 0;
export const RUNNING = 1;
export const DRAINING = 2;
export const STOPPED = 3;

export const FINISHED = 1;
export const ALL = 2;

export const QUESTION = { kind: 0, sequenceLow: 1, sequenceHigh: 2 } as const;

/** Questions that may be open at once; the opener keeps more on its heap. */
export const QUESTIONS_MAX = 16384;
const WIDTH = 4;
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

/** What the delivery thread counts, as 64-bit floats with one writer. */
export const CELLS = {
  /** Deliveries that were started. */
  delivered: 0,
  /** Records finished with success, ACK written. */
  done: 1,
  /** Deliveries that failed and will be tried again. */
  retried: 2,
  dead: 3,
  /** Records for handlers that aren't there. */
  parked: 4,
  /** Everything up to this sequence is finished. */
  floor: 5,
  /** Highest sequence that delivery knows to be durable. */
  known: 6,
  /** Records that waited in the journal when it was opened. */
  recovered: 7,
  /** How often delivery fell back to reading from the segments. */
  fallBacks: 8,
  /** 1 while it reads from the segments. */
  isReading: 9,
  /** Records that wait for another attempt. */
  waitingRetries: 10,
  /** Records that were copied forward. */
  copied: 11,
  /** Dead records that are kept. */
  deadKept: 12,
} as const;

export const STATS_BYTES: number = 16 * Float64Array.BYTES_PER_ELEMENT;
