/**
 * How arguments and results lie in a slot: numbers and constants in the slot itself, all other
 * values as bytes.
 */
const UNDEFINED = 0;
const NULL = 1;
const FALSE = 2;
const TRUE = 3;
/** A 64-bit float in the slot. */
export const NUMBER = 4;
/** Encoded by the codec, in the argument's block (for a result: behind the argument). */
export const BYTES = 5;
/** Result only: encoded, in a block of the machine's arena. */
export const ARENA_BYTES = 6;
/** Result only: the machine died; there is nothing to read. */
export const CRASHED = 7;
/** Result only: larger than `arenaBytesMax`. */
export const TOO_LARGE = 8;
/**
 * Kept by the thread that made it, under a ticket in the slot's number, and sent by a message: what
 * bytes can't carry (parcels.ts).
 */
export const PARCEL = 9;
/** Result only: the task's time was over before it was started. */
export const EXPIRED = 10;
/** Argument only: encoded items of a parallel map or reduction (fork-join.ts). */
export const ITEMS = 11;
/** Result only: the system gave no memory for it. */
export const REFUSED_ROOM = 12;

/** Values from here on leave garbage that is worth collecting (garbage.ts). */
export const LARGE_BYTES: number = 64 * 1024;

/** Room for a small result behind an argument: most results then need no block of their own. */
const RESULT_ROOM = 48;
/** Behind a larger argument it would only cost a page. */
const ROOM_ARGUMENT_BYTES_MAX: number = 2 ** 20;

/**
 * Bytes to allocate for an argument of `bytes` bytes with its header; `blockBytes` of it is its
 * block.
 */
export function bytesWithRoom(bytes: number): number {
  return bytes > ROOM_ARGUMENT_BYTES_MAX ? bytes : bytes + RESULT_ROOM;
}

/** The kind of a value that fits into the slot, or -1 for one that must be encoded. */
export function kindOf(value: unknown): number {
  switch (typeof value) {
    case "number":
      return NUMBER;
    case "undefined":
      return UNDEFINED;
    case "boolean":
      return value ? TRUE : FALSE;
    default:
      return value === null ? NULL : -1;
  }
}

/** The value of a kind without bytes and without a number. */
export function constantOf(kind: number): undefined | null | boolean {
  switch (kind) {
    case NULL:
      return null;
    case FALSE:
      return false;
    case TRUE:
      return true;
    default:
      return undefined;
  }
}
