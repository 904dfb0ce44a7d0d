// The handler of the demo: adds up delays, and writes the line of each flight into a ledger.
//
// The ledger is a file outside the journal, and a write that has returned survives the process: the
// demo counts the handled flights without asking the runtime.
import { openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { threadId } from "node:worker_threads";

const directory = process.env.FLIGHTS_LEDGER;
const ledger = directory === undefined ? undefined : openSync(join(directory, `${process.pid}-${threadId}`), "a");
const entry = Buffer.alloc(4);

/** Of this thread; a real service would store them. */
const totals = { flights: 0, delayMinutes: 0 };

export function flight({ delay }, { record }) {
  totals.flights += 1;
  totals.delayMinutes += delay;
  if (ledger === undefined) return;
  entry.writeUInt32LE(record.headers.line);
  writeSync(ledger, entry);
}
