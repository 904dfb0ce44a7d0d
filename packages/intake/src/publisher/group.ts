/** The records of one `publishMany`, checked and encoded before any of them is stored. */
import { baseError, nearest } from "@millrace/base";
import type { GroupSize } from "@millrace/journal/kernel";
import { intakeError } from "../errors.ts";
import { prepare, type Prepared, type RecordToPublish } from "../format/publication.ts";
import { handlerName, termsOf } from "../format/record-header.ts";

/**
 * Stops at the first record that can't be part of the group, so that endless input ends too.
 * `headerOf` throws for a handler that isn't there. Throws what `prepare` does,
 * `ERR_JOURNAL_RECORD_TOO_LARGE`, and `ERR_IDEMPOTENCY_MISMATCH` when two records have one key and
 * different payloads.
 */
export function prepareGroup(
  records: Iterable<RecordToPublish>,
  headerOf: (handler: string) => Uint8Array,
  size: GroupSize,
): Prepared[] {
  const group: Prepared[] = [];
  const keys = new Map<string, { readonly member: number; readonly payload: string }>();
  for (const record of membersOf(records)) {
    if (typeof record !== "object" || record === null) throw notARecord(group.length, record);
    const { handler, payload, ...given } = record;
    if (handler === undefined) throw noHandler(group.length, given);
    const prepared = prepare(handler, headerOf(handler), payload, given, true);
    size.add(prepared.parts);
    if (prepared.isJudged) checkKey(keys, group.length, prepared);
    group.push(prepared);
  }
  return group;
}

function membersOf(records: Iterable<RecordToPublish>): Iterable<RecordToPublish | null | undefined> {
  if (typeof (records as Partial<Iterable<unknown>> | undefined)?.[Symbol.iterator] === "function") return records;
  throw baseError("ERR_INVALID_OPTION", "publishMany: records must be iterable", {
    details: { name: "records", value: records, allowed: "an iterable of { handler, payload, … }" },
  });
}

function notARecord(member: number, value: unknown): Error {
  return baseError("ERR_INVALID_OPTION", `publishMany: record ${member} must be an object { handler, payload, … }`, {
    details: { name: "records", member, value, allowed: "{ handler, payload, … }" },
  });
}

/** The name may stand under a misspelt member. */
function noHandler(member: number, given: object): Error {
  const near = nearest("handler", Object.keys(given));
  const hint = near === undefined ? "" : `; did "${near}" mean it?`;
  return baseError("ERR_INVALID_OPTION", `publishMany: record ${member} names no "handler"${hint}`, {
    details: { name: "handler", member, value: undefined, allowed: "the name of a handler" },
  });
}

function checkKey(
  keys: Map<string, { readonly member: number; readonly payload: string }>,
  member: number,
  { parts }: Prepared,
): void {
  const header = Buffer.from(parts.header);
  const { idempotency } = termsOf(header);
  if (idempotency === undefined) return;
  const name = `${handlerName(header)}\0${Buffer.from(idempotency.key).toString("latin1")}`;
  const payload = `${idempotency.payloadCrc} ${idempotency.payloadBytes}`;
  const known = keys.get(name);
  keys.set(name, known ?? { member, payload });
  if (known === undefined || known.payload === payload) return;
  throw intakeError(
    "ERR_IDEMPOTENCY_MISMATCH",
    `records ${known.member} and ${member} have one idempotency key and different payloads`,
    { details: { member, first: known.member } },
  );
}
