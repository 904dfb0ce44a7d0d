/** How a call is made, with every option resolved; see `RunOptions`. */
import { NO_RETRY } from "../shared/task-table.ts";
import { BYTES } from "../shared/values.ts";

export interface CallLimits {
  readonly signal: AbortSignal | undefined;
  /** Counted from the call. */
  readonly timeoutMs: number | undefined;
  /** Counted from the start of the task. */
  readonly runTimeoutMs: number | undefined;
}

export interface CallOptions {
  readonly priority: number;
  /** Made by `taskPolicy`. */
  readonly policy: number;
  readonly limits: CallLimits | undefined;
  readonly transferList: readonly object[] | undefined;
  /**
   * BYTES: the argument goes to the handler. ITEMS: it is a list, and the handler is applied to
   * each value.
   */
  readonly kind: number;
}

export const PLAIN_CALL: CallOptions = {
  priority: 1,
  policy: NO_RETRY,
  limits: undefined,
  transferList: undefined,
  kind: BYTES,
};
