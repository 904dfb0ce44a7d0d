import type { Storage } from "@millrace/journal";
import { LogReader, RecordCursor } from "@millrace/journal/kernel";

/** The payloads of all records from the first on, with their sequences checked to be dense. */
export function readAll(storage: Storage, durableSequence: number): string[] {
  const reader = new LogReader(storage);
  const cursor = new RecordCursor();
  const payloads: string[] = [];
  reader.seek(1);
  while (reader.next(durableSequence)) {
    cursor.reset(reader.body, reader.batch.firstSequence);
    while (cursor.next()) {
      if (cursor.sequence !== payloads.length + 1)
        throw new Error(`sequence ${cursor.sequence} after ${payloads.length}`);
      payloads.push(cursor.payload().toString());
    }
  }
  reader.close();
  return payloads;
}
