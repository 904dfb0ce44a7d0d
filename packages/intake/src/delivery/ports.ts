/**
 * The ports through which the delivery's state machine reaches the world. On a real thread these
 * are the journal's rings and segments, the scheduler, and the clocks; in the simulation they are
 * arrays and a seed.
 */
import type { OutcomeSink } from "@millrace/scheduler";
import type { RecordParts } from "@millrace/journal/kernel";
import type { LogRecord } from "../format/log-record.ts";
import type { LogWalk } from "../states/log-walk.ts";

export type { LogWalk };

export interface Log {
  /** The first place that is still there, when the log was opened. */
  readonly firstSequence: number;
  /** The last one, when it was opened. */
  readonly recoveredSequence: number;
  /** The highest place that was visited, or was there when the log was opened. */
  readonly known: number;
  /**
   * Visits every record that has become durable since, in order, while its bytes are in memory.
   * Returns how many receipts it took.
   */
  takeNews(visit: (record: LogRecord) => void): number;
  /** The record that is visited, with bytes that stay until the last one of its group is. */
  hold(record: LogRecord): LogRecord;
  hasNews(): boolean;
  walk(): LogWalk;

  // The records that the delivery itself writes.
  /** Most bytes of a payload. */
  readonly payloadBytesMax: number;
  readonly batchBytesMax: number;
  /** Most bytes of an atomic group, each record as `bytesOf` counts it. */
  readonly groupBytesMax: number;
  bytesOf(parts: RecordParts): number;
  /**
   * Puts a record into the ring; false when there is no room. `continues`: one group with the next.
   */
  stage(parts: RecordParts, continues?: boolean): boolean;
  /** Takes back what was staged since the last commit. */
  rollback(): void;
  /** Lets the staged records go with the next sync; `isUrgent` causes one. */
  commit(isUrgent: boolean): void;
  /** Whether everything committed is durable and was visited. */
  isQuiet(): boolean;
  isDiskFull(): boolean;
  isPoisoned(): boolean;
}

/** Runs handlers. */
export interface Runner {
  readonly capacity: number;
  readonly first: number;
  readonly outstanding: number;
  /** Most bytes that `value` of a finished task takes. */
  readonly valueBytesMax: number;
  /** Tasks that no machine has begun. Stale at once. */
  waiting(): number;
  /** The slot, or `FULL`. `isTimed`: `runningMs` is asked about it. */
  submit(handler: number, priority: number, payload: Uint8Array, header: Uint8Array, isTimed: boolean): number;
  publish(): void;
  drain(sink: OutcomeSink, limit: number): number;
  hasOutcomes(): boolean;
  /** Once a second: gives memory back that isn't needed any more. */
  tick(): void;
  /** Takes back the tasks that no machine has, and reports their slots. Returns their number. */
  cancelQueued(cancelled: (slot: number) => void): number;
  /** How long a timed task runs by now, ms; undefined while no machine runs it. */
  runningMs(slot: number): number | undefined;
  askToStop(slot: number): void;
  /** The machine that runs a task. */
  machineOf(slot: number): number;
  /** Ends a machine's thread; `ifBlocked`: only if its event loop doesn't turn. */
  endMachine(machine: number, ifBlocked: boolean): void;
  /** Of a task that is over or abandoned, until `settled` returns. */
  isOk(slot: number): boolean;
  /** The handler's outcome (format/outcome.ts), or the error that it threw. */
  value(slot: number): unknown;
  /** Key, headers and payload as they were submitted. */
  partsOf(slot: number): { readonly key: Uint8Array; readonly headers: Uint8Array; readonly payload: Uint8Array };
}

export interface Clock {
  /** Ms that only grow. */
  now(): number;
  /** Ms since 1970. */
  wall(): number;
}
