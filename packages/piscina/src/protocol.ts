/** The messages between a pool and its threads. */
import type { MessagePort } from "node:worker_threads";
import type { Waiting } from "@millrace/thread-pool";

/** The first message to a thread, over its parent port. */
export interface Startup {
  readonly filename: string | null;
  readonly name: string;
  readonly port: MessagePort;
  readonly counters: Int32Array;
  readonly atomics: Waiting;
  readonly niceIncrement: number;
}

/** The first message of a thread: its module is loaded. */
export const READY = "ready";

export interface Request {
  readonly taskId: number;
  readonly task: unknown;
  readonly filename: string;
  readonly name: string;
}

export interface Response {
  readonly taskId: number;
  readonly result: unknown;
  /** An error of the task; undefined when it has a result. */
  readonly failure?: { readonly error: unknown };
  /** Why a result couldn't be cloned. */
  readonly cloneFault?: string;
  /** Milliseconds on the thread. */
  readonly time: number;
}
