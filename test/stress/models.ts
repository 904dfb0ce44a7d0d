// The behaviour of the objects under stress when one thread at a time uses them.
import type { Model } from "./linearizability.ts";

/** Registers, each of its own: "write" gives nothing, "read" the value, "add" the value before. */
export interface RegisterInput {
  readonly register: number;
  readonly does: "read" | "write" | "add";
  readonly value: number;
}

export const registers: Model<number, RegisterInput, number> = {
  initial: 0,
  step(state, { does, value }, output) {
    if (does === "write") return [value];
    if (output !== undefined && output !== state) return [];
    return [does === "read" ? state : state + value];
  },
  keyOf: String,
  partition: ({ register }) => String(register),
};

/**
 * A queue with room for `capacity` and an end: "send" gives 1, or 0 when it was closed; "receive"
 * the item, or CLOSED once nothing is left; the "try" forms FULL and EMPTY, or BUSY, where another
 * thread was in the midst of something and nothing was done.
 */
export interface QueueInput {
  readonly does: "send" | "receive" | "trySend" | "tryReceive" | "close";
  readonly item: number;
}

export const FULL = -1;
export const EMPTY = -2;
export const CLOSED = -3;
export const BUSY = -4;
export const SENT = 1;

export interface QueueState {
  readonly items: readonly number[];
  readonly isClosed: boolean;
}

export function queue(capacity: number): Model<QueueState, QueueInput, number> {
  const one = (is: boolean, state: QueueState): readonly QueueState[] => (is ? [state] : []);
  return {
    initial: { items: [], isClosed: false },
    step(state, { does, item }, output) {
      const { items, isClosed } = state;
      if (does === "close") return [{ items, isClosed: true }];
      if (output === BUSY) return [state];
      if (does === "send" || does === "trySend") {
        if (output === CLOSED) return one(isClosed, state);
        if (output === FULL) return one(!isClosed && items.length >= capacity, state);
        return one(!isClosed && items.length < capacity, { items: [...items, item], isClosed });
      }
      if (output === CLOSED) return one(isClosed && items.length === 0, state);
      if (output === EMPTY) return one(!isClosed && items.length === 0, state);
      const isNext = items.length > 0 && (output === undefined || output === items[0]);
      return one(isNext, { items: items.slice(1), isClosed });
    },
    keyOf: ({ items, isClosed }) => `${items.join()} ${isClosed}`,
  };
}

/**
 * Permits: "acquire" waits for `count` of them, "tryAcquire" gives 1 or 0, "release" gives them
 * back.
 */
export interface PermitsInput {
  readonly does: "acquire" | "tryAcquire" | "release";
  readonly count: number;
}

export function permits(total: number): Model<number, PermitsInput, number> {
  return {
    initial: total,
    step(free, { does, count }, output) {
      if (does === "release") return [free + count];
      // A try may also fail because others are waiting: it mustn't overtake them.
      if (output === 0) return [free];
      return free >= count ? [free - count] : [];
    },
    keyOf: String,
  };
}
