/** Time, passed in so that tests can hold it still. */
export interface Clock {
  /** Wall clock in ms since 1970, may jump. For people and for records, never for measuring. */
  readonly wallMs: () => number;
  /** Monotonic ms with a fraction, from an arbitrary start. For measuring and for time limits. */
  readonly monotonicMs: () => number;
}

export const systemClock: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
};
