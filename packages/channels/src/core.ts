/**
 * The operations of both kinds of channel, on words instead of values. outcomes.ts has the
 * outcomes.
 *
 * A value that is sent goes in as arguments; one that was received stands in `low` and `high` until
 * the next operation.
 */
import type { WaitOptions } from "@millrace/atomics-sync/kernel";

export interface Core {
  /** KIND of the cell as it is now. */
  readonly kind: number;
  readonly format: number;
  readonly capacity: number;
  readonly width: number;
  /** The value that was received last. */
  readonly low: number;
  readonly high: number;
  length(): number;
  isEnded(): boolean;
  end(): number;
  /**
   * Gives the memory back and passes values that are left to `drop`; false while the channel is in
   * use.
   */
  free(drop: (low: number) => void): boolean;
  trySend(low: number, high: number): number;
  tryReceive(): number;
  /**
   * Sends the values from index `from` up to `end` of `values` that can be sent at once; their
   * number.
   */
  trySendMany(values: Int32Array, from: number, end: number): number;
  /**
   * Receives values into `values` from index `from` up to `end`, as many as there are; their
   * number.
   */
  tryReceiveMany(values: Int32Array, from: number, end: number): number;
  /** Blocks until the value is sent, or `timeoutMs` have passed. */
  send(low: number, high: number, timeoutMs: number): number;
  /** Blocks until a value is received, or `timeoutMs` have passed. */
  receive(timeoutMs: number): number;
  /**
   * Waits in the event loop: resolves with what `finish` takes, with 0 when the time was up;
   * rejects with the signal's reason.
   */
  sendLater(low: number, high: number, options: WaitOptions): Promise<number>;
  receiveLater(options: WaitOptions): Promise<number>;
  /**
   * The outcome of a wait in the event loop; a value that it has received is in `low` and `high`
   * then.
   */
  finish(ticket: number): number;
}
