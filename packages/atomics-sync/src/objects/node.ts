/**
 * A node: one party that waits for an object or holds a part of it. 16 words, 64 bytes, one line of
 * the cache.
 *
 *    0 STATE       below
 *    1 CELL        the object's cell; written by the owner before it posts the node
 *    2 WAKES       the thread to wake, in the thread table, -1 for none; written as CELL is
 *    3 INBOX_NEXT  the node posted before it; written as CELL is
 *    4 QUEUE_NEXT  the next in the queue; written by the latch holder
 *    5 ORDER       0 until the latch holder has put it in the queue, then its number there; what
 *                  the queue is built again from
 *    6 NEED        how much of the object it asks for or holds; written by the owner before it
 *                  posts the node
 *    7 ASKS        bits of the object's kind, and those below; written as CELL is
 *    8 OUTCOME     the answer to the party, a number of the object's kind; written before GRANTED
 *    9 BLOCK       a block of the shared heap that goes with it, 0 for none: its party's until it
 *                  is served if it asks to give (ASKS_GIVES), its party's from then on otherwise;
 *                  freed when the party dies with it
 *   10 GROUP       0, or the group's node: its party waits for several objects, and one of them
 *                  serves it (select-group.ts)
 *   11 TICKET      what DECISION of the group says while it is open; of a group's node: DECISION
 *   12 SIBLING     the next node of the group; of a group's node: the first
 *   13 …           for the kind of object
 *
 * STATE, and the thread that moves it on:
 *
 *   FREE ──owner──► WAITING ──latch holder (CAS)──► GRANTED ──owner──► FREE
 *                    │  │ ▲ └──latch holder (CAS)─► HELD ──owner──► RELEASING ──latch holder──► FREE
 *                    │  └─┴─latch holder (CAS)────► CLAIMED ──latch holder──► GRANTED
 *                    └──owner (CAS)──► CANCELLED ──latch holder──► FREE
 *
 *   WAITING    it wants something and may still change its mind
 *   CLAIMED    it is being served; it can't change its mind any more
 *   GRANTED    it was served; nobody but its owner looks at it any more
 *   HELD       it was served and stays as the record of what the party holds
 *   RELEASING  it holds nothing any more; the latch holder shall count that
 */
export const NODE_WORDS = 16;
/**
 * Orders begin far from 0, which means "not in the queue". The orders of one queue lie within 2³¹
 * of each other unless it wasn't empty for that many waits; then a queue that is built again after
 * a death is in another order.
 */
export const ORDER_START = 0x40000000;

export const NODE_STATE = 0;
export const NODE_CELL = 1;
export const NODE_WAKES = 2;
export const INBOX_NEXT = 3;
export const QUEUE_NEXT = 4;
export const ORDER = 5;
export const NODE_NEED = 6;
export const NODE_ASKS = 7;
export const NODE_OUTCOME = 8;
/** The first of the words that each kind of object uses as it likes. */
export const NODE_KIND_WORDS = 13;
export const NODE_BLOCK = 9;
export const NODE_GROUP = 10;
export const TICKET = 11;
export const SIBLING = 12;
/** In a group's node. */
export const DECISION = 11;

export const FREE = 0;
export const WAITING = 1;
export const CLAIMED = 2;
export const GRANTED = 3;
export const CANCELLED = 4;
export const HELD = 5;
export const RELEASING = 6;

/**
 * Bits of ASKS for every kind: its owner waits in an event loop; it goes to the front of the queue.
 */
export const ASKS_ASYNC = 1;
export const ASKS_FRONT = 2;
/** Its BLOCK is for others. */
export const ASKS_GIVES = 4;
/** The first bit for the kind of object. */
export const ASKS_KIND = 8;

/**
 * Sets a word of an own node that another thread may look at late, in the node's next use: CELL and
 * GROUP. A node mostly stays at one object, and an atomic store takes longer than a look.
 */
export function setSeen(words: Int32Array, word: number, value: number): void {
  if (words[word] !== value) Atomics.store(words, word, value);
}
