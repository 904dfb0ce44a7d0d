// The handler of the demo: adds up delays, and writes down each flight that it has seen.
//
// The ledger is a file outside the journal; a write that has returned survives the process. So the demo can count what was handled
// without believing a word of what the runtime says.
import { openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { threadId } from "node:worker_threads";

const directory = process.env.FLIGHTS_LEDGER;
const ledger = directory === undefined ? undefined : openSync(join(directory, `${process.pid}-${threadId}`), "a");
const entry = Buffer.alloc(4);

/** Per thread: a real service would write this somewhere. */
const totals = { flights: 0, delayMinutes: 0 };

export function flight({ delay }, { record }) {
  totals.flights += 1;
  totals.delayMinutes += delay;
  if (ledger === undefined) return;
  entry.writeUInt32LE(record.headers.line);
  writeSync(ledger, entry);
}
