import { appendFileSync, existsSync, readFileSync } from "node:fs";

const BOOKS = "./books.ndjson";

/** A line is booked once, whatever crashes: its record's id is in it. */
export function settle({ id, account, amount }, { record, publish }) {
  if (amount > 1000) throw Object.assign(new Error(`${id} is over the limit`), { isRetryable: false });
  if (!isBooked(record.id)) appendFileSync(BOOKS, `${JSON.stringify({ id, account, amount, record: record.id })}\n`);
  // Stored together with the end of this record.
  publish.tell({ id }, { key: account });
}

/** A real ledger has a unique column. A file has to be read. */
function isBooked(recordId) {
  return existsSync(BOOKS) && readFileSync(BOOKS, "utf8").includes(`"record":"${recordId}"`);
}

/** Other systems may be told twice, after a crash between the call and the return. */
export function tell({ id }) {
  return id;
}
