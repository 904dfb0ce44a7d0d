/** What a wait can be told; for every lock and channel. */

/** For a wait that blocks its thread. */
export interface BlockOptions {
  /** Gives up after so many milliseconds, with `ERR_SYNC_TIMEOUT`. Default: never. */
  readonly timeoutMs?: number | undefined;
}

/** For a wait in an event loop. */
export interface WaitOptions extends BlockOptions {
  /** Gives up when it aborts; the promise rejects with its reason. */
  readonly signal?: AbortSignal | undefined;
}
