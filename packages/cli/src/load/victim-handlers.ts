/** The handler of the process under test: writes down what it got. */
import { threadId } from "node:worker_threads";
import { crc32 } from "@millrace/codec";
import type { Context, DeliveredRecord } from "millrace";
import { LedgerWriter } from "./ledger.ts";

export interface LoadRecord {
  readonly id: number;
  readonly payload: Uint8Array;
}

/** Named by the generator in the environment of the process, and inherited by its threads. */
const directory = process.env.MILLRACE_LOAD_LEDGER;
const ledger = directory === undefined ? undefined : new LedgerWriter(directory, `${process.pid}-${threadId}`);

export function handle(record: LoadRecord, context: Context): void {
  ledger?.append(record.id, crc32(record.payload), (context.record as DeliveredRecord).attempt);
}
