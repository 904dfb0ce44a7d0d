/** The handler of the process under test: writes each record of its run into the ledger. */
import { threadId } from "node:worker_threads";
import { crc32 } from "@millrace/codec";
import type { DeliveredRecord } from "@millrace/intake";
import type { TaskContext } from "@millrace/scheduler";
import { LedgerWriter } from "./ledger.ts";

export interface LoadRecord {
  /** The journal may hold records of an earlier run that was killed: their ids are others. */
  readonly run: string;
  readonly id: number;
  readonly payload: Uint8Array;
}

/** The generator names it in the environment of the process; the threads inherit that. */
const directory = process.env.MILLRACE_LOAD_LEDGER;
const run = process.env.MILLRACE_LOAD_RUN;
const ledger = directory === undefined ? undefined : new LedgerWriter(directory, `${process.pid}-${threadId}`);

export function handle(record: LoadRecord, context: TaskContext): void {
  if (record.run !== run) return;
  ledger?.append(record.id, crc32(record.payload), (context.record as DeliveredRecord).attempt);
}
