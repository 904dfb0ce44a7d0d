/** The operations that a virtual thread can stop at. */
export const OP = {
  load: 1,
  store: 2,
  add: 3,
  sub: 4,
  and: 5,
  or: 6,
  xor: 7,
  exchange: 8,
  compareExchange: 9,
  wait: 10,
  waitAsync: 11,
  notify: 12,
  isLockFree: 13,
} as const;

export type OpName = keyof typeof OP;

/** Not of Atomics. */
export const START = 0;
export const PLAIN_READ = 20;
export const PLAIN_WRITE = 21;
/** The thread is at its event loop. */
export const LOOP = 22;
/** Waits for the end of another thread. */
export const JOIN = 23;
/** A scheduling point without an access. */
export const PAUSE = 24;

const NAMES: Record<number, string> = {
  ...Object.fromEntries(Object.entries(OP).map(([name, op]) => [op, name])),
  [START]: "starts",
  [PLAIN_READ]: "reads",
  [PLAIN_WRITE]: "writes",
  [LOOP]: "event loop",
  [JOIN]: "join",
  [PAUSE]: "pause",
};

export function opName(op: number): string {
  return NAMES[op] ?? String(op);
}
