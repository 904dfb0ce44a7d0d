/** What a channel of either kind can do, in words instead of values; the outcomes are those of outcomes.ts. */
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
  /** Gives the memory back, `drop` frees values that are left; false while the channel is in use. */
  free(drop: (low: number) => void): boolean;
  trySend(low: number, high: number): number;
  tryReceive(): number;
  trySendMany(values: Int32Array, from: number, end: number): number;
  tryReceiveMany(values: Int32Array, from: number, end: number): number;
  wait(gives: boolean, low: number, high: number, timeoutMs: number): number;
  waitLater(gives: boolean, low: number, high: number, options: WaitOptions): Promise<number>;
  finish(node: number): number;
}
