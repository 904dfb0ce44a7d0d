/**
 * The cell of a shared object: 32 words, one line of the cache. This file is the only one that says
 * where they lie.
 *
 *    0  KIND       what the object is; written by the thread that makes or closes it (space.ts)
 *    1  LATCH      0, or the holder's thread plus one, with OWED in bit 16, and a tag; by
 *                  compare-and-swap, any thread
 *    2  INBOX      the node that was posted last, 0 for none, and a tag; any thread pushes, the
 *                  latch holder empties
 *    3  STATE      of the object; each kind says who writes it. For kinds with an owner, see
 *                  OWNER_MASK
 *   Written by the latch holder only, but for CANCELLED:
 *    4  HEAD       the oldest node of the queue, 0 for none
 *    5  TAIL       the youngest
 *    6  LENGTH     nodes in the queue
 *    7  NEXT_ORDER the number of the next node that is put at the end
 *    8  FIRST_ORDER counts down, for nodes that are put at the front
 *    9  CANCELLED  nodes of the queue that have changed their mind; their owners add to it
 *   10  STALE      1: a thread has died that used the object, and the kind's own words may be wrong
 *   11  LOST       how much dead threads held, and
 *   12  LOST_ASKS  the ASKS of the nodes by which they held it
 *   13  REDO       1: the next four words name a step that must be finished (`Monitor.commit`)
 *   14  REDO_GIVER REDO_TAKER REDO_WORD REDO_VALUE
 *   18  GIVERS     nodes of the queue that ask to give
 *   19  …          for the kind
 *
 * The tag of LATCH and INBOX is the generation of the object. A late user, whose object was closed
 * and whose cell is another object's by now, fails with its compare-and-swap, so it neither takes
 * the latch of that object nor posts into its inbox.
 *
 * A one-to-one channel (channels, pipe-core.ts) has no monitor: of this table it uses KIND and
 * STATE alone, and PIPE_ENDS besides.
 */
import { LINE_WORDS } from "@millrace/shared-memory";

export const CELL_WORDS: number = LINE_WORDS;

/**
 * Bits 0–7: the kind of the cell's object, 0 while the cell is free. The bits above: how often the
 * cell was taken into use.
 */
export const CELL_KIND = 0;
export const LATCH = 1;
export const INBOX = 2;
export const CELL_STATE = 3;
export const HEAD = 4;
export const TAIL = 5;
export const LENGTH = 6;
export const NEXT_ORDER = 7;
export const FIRST_ORDER = 8;
export const CANCELLED_COUNT = 9;
export const STALE = 10;
export const LOST = 11;
export const LOST_ASKS = 12;
export const REDO = 13;
export const REDO_GIVER = 14;
export const REDO_TAKER = 15;
export const REDO_WORD = 16;
export const REDO_VALUE = 17;
export const GIVERS = 18;
/** The first of the words that each kind uses as it likes. */
export const CELL_KIND_WORDS = 19;

// ── KIND ────────────────────────────────────────────────────────────────────────────────────────

export const KIND_MASK = 0xff;
/** In place of a kind: a thread is just taking the cell into use, and has its latch. */
export const TAKING = 0xff;
export const GENERATION_SHIFT = 8;

// ── LATCH and INBOX ────────────────────────────────────────────────────────────────────────────

/**
 * In LATCH: another thread has asked meanwhile, so the holder serves once more before it leaves.
 */
export const OWED: number = 1 << 16;
export const LATCH_THREAD = 0xffff;
/**
 * In place of a thread: an exception, such as a stack overflow, has thrown the holder out of its
 * critical section. The next thread does as after the holder's death.
 */
export const BROKEN_OFF = 0xffff;
/** In INBOX: a node's word index, without the four bits that are 0 in all of them. */
export const INBOX_NODE = 0x1ffff;
export const INBOX_NODE_SHIFT = 4;
const TAG_SHIFT = 17;
export const TAG_MASK: number = -1 << TAG_SHIFT;
/** Words that INBOX can name. */
export const INBOX_WORDS_MAX: number = (INBOX_NODE + 1) << INBOX_NODE_SHIFT;

/** The tag of the object whose KIND this is. */
export function tagOf(kind: number): number {
  return (kind >>> GENERATION_SHIFT) << TAG_SHIFT;
}

/** The tag of the next object in the cell: what INBOX holds from the last step of closing on. */
export function nextTag(tag: number): number {
  return (tag + (1 << TAG_SHIFT)) | 0;
}

// ── STATE ───────────────────────────────────────────────────────────────────────────────────────

/** STATE of a cell that is free: nothing that a late user tries succeeds. */
export const CLOSED = -1;
/** In kinds that have an owner: its thread plus one; SHUT while the object is being closed. */
export const OWNER_MASK = 0x1ff;
export const SHUT: number = OWNER_MASK;
/** The owner has died, and no thread has owned the object since. */
export const ORPHAN: number = 1 << 11;
/** The number of the node through which the owner got the object, until the owner has seen that. */
export const GRANT_SHIFT = 12;
export const GRANT_MASK: number = 0xffff << GRANT_SHIFT;
/** Bits 28–31 of STATE in kinds with an owner: the end of the generation, against late users. */
const OWNED_TAG_SHIFT = 28;
export const OWNED_TAG_MASK: number = -1 << OWNED_TAG_SHIFT;

/** STATE of a new object of a kind with an owner. */
export function ownedTag(kind: number): number {
  return (kind >>> GENERATION_SHIFT) << OWNED_TAG_SHIFT;
}

// ── LOST_ASKS ───────────────────────────────────────────────────────────────────────────────────

/** A dead thread's node was CLAIMED, so a step for it may have begun. */
export const LOST_CLAIMED: number = 1 << 30;

// ── one-to-one channels ─────────────────────────────────────────────────────────────────────────

/**
 * Words of a PIPE: the threads at its two ends plus one, 0 for none yet, GONE once it has died. A
 * thread that uses an end writes it by compare-and-swap from 0, the thread that buries it writes
 * GONE.
 */
export const PIPE_ENDS: readonly number[] = [4, 5];
export const GONE: number = -1;

/** Whether a thread holds the latch of the monitor at `cell`. Stale at once. */
export function hasLatch(words: Int32Array, cell: number, thread: number): boolean {
  return (Atomics.load(words, cell + LATCH) & LATCH_THREAD) === thread + 1;
}

/** Whether a thread owns the object at `cell`, which is of a kind with an owner. Stale at once. */
export function ownsCell(words: Int32Array, cell: number, thread: number): boolean {
  return (Atomics.load(words, cell + CELL_STATE) & OWNER_MASK) === thread + 1;
}
