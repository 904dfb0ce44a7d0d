/**
 * The form of values that are not a plain tree: a list of nodes that refer to each other by number.
 *
 * Node 0 is a box around the value. In a node a *slot* is either a primitive that MessagePack
 * carries as it is, or an array `[SLOT…]`. Children are numbers of nodes, so neither writing nor
 * reading recurses. docs/value-format.md has the table.
 */

/** Slots: the forms of a member that MessagePack alone can't carry, or not cheaply. */
export const UNDEFINED = 0;
export const REFERENCE = 1;
export const MINUS_ZERO = 2;
export const BIGINT = 3;
export const UTF16 = 4;
export const SYMBOL = 5;
/** A text of the table behind the nodes (text.ts), by its place there. */
export const TEXT = 6;

/** Nodes: the first entry of each. */
export const BOX = 10;
export const OBJECT = 11;
export const ARRAY = 12;
export const SPARSE = 13;
export const MAP = 14;
export const SET = 15;
export const DATE = 16;
export const REGEXP = 17;
/** An error as versions before 0.2 wrote it: read, not written any more. */
export const OLD_ERROR = 18;
export const BUFFER = 19;
export const VIEW = 20;
export const BOXED = 21;
export const ERROR = 22;
/** The place in an ERROR node of the paths of what was left out; null without. */
export const ERROR_OMITTED = 3;
/** The place of its first member. */
export const ERROR_MEMBERS = 4;

export type Slot = unknown;
export type Node = unknown[];

/** The nodes of a value, and the long texts that they refer to. */
export interface Graph {
  readonly nodes: readonly Node[];
  readonly texts: readonly string[];
}
