/** A record of a handler as it may be shown: as JSON has it, redacted. */
import { decode } from "@millrace/codec";
import type { JournalRecord } from "@millrace/journal";
import { PRIORITY, type Priority } from "@millrace/scheduler";
import { encodedHeaders, handlerName } from "../format/record-header.ts";

export interface ShownRecord {
  readonly sequence: number;
  readonly handler: string;
  readonly priority: Priority;
  /** ISO 8601. */
  readonly publishedAt: string;
  readonly key?: string;
  /** The payload as the option `redact` shows it; bytes, dates and big numbers are texts. */
  readonly payload: unknown;
  readonly headers?: unknown;
}

const PRIORITIES = Object.keys(PRIORITY) as Priority[];

/** `record` is one of a handler. */
export function shownRecord(
  record: JournalRecord,
  redacted: (handler: string, value: unknown) => unknown,
): ShownRecord {
  const handler = handlerName(record.header);
  const headers = encodedHeaders(record.header);
  return {
    sequence: record.origin,
    handler,
    priority: PRIORITIES.find((each) => PRIORITY[each] === record.priority) as Priority,
    publishedAt: new Date(record.timeMs).toISOString(),
    ...(record.key.length === 0 ? {} : { key: record.key.toString() }),
    payload: redacted(handler, decode(record.payload)),
    ...(headers.length === 0 ? {} : { headers: redacted(handler, decode(headers)) }),
  };
}
