/** One dead letter: read from its two records, asked for, and shown. */
import { decode } from "@millrace/codec";
import type { JournalRecord } from "@millrace/journal";
import { encodedHeaders, handlerName } from "../format/record-header.ts";
import {
  decodeDeadHeader,
  decodeFate,
  decodeHistory,
  type Failure,
  reasonName,
  type ReasonName,
} from "../format/state-records.ts";
import { toPlain } from "./plain.ts";

export interface DeadLetter {
  /** The record's number: the one that its publish resolved with. */
  readonly sequence: number;
  /** The handler in which it died; a redrive may have chosen it. */
  readonly handler: string;
  /** The handler that it was published for. */
  readonly publishedFor: string;
  /** The order key; undefined without. */
  readonly key: string | undefined;
  readonly payload: unknown;
  readonly headers: unknown;
  readonly publishedAtMs: number;
  readonly diedAtMs: number;
  readonly reason: ReasonName;
  readonly attempts: number;
  /** The first three and the last ten failures, oldest first; each error up to 4 KiB. */
  readonly failures: readonly Failure[];
  /** Failures between those, which aren't kept. */
  readonly failuresLeft: number;
}

/** From its record, and the DEAD record about it. */
export function letterOf(record: JournalRecord, fate: JournalRecord): DeadLetter {
  const { origin, reason, attempts, atMs } = decodeFate(fate.payload);
  const { failures, left } = decodeHistory(fate.payload);
  const headers = encodedHeaders(record.header);
  const publishedFor = handlerName(record.header);
  return {
    sequence: origin,
    handler: decodeDeadHeader(fate.header).handler || publishedFor,
    publishedFor,
    key: record.key.length === 0 ? undefined : record.key.toString(),
    payload: decode(record.payload),
    headers: headers.length === 0 ? undefined : decode(headers),
    publishedAtMs: record.timeMs,
    diedAtMs: atMs,
    reason: reasonName(reason),
    attempts,
    failures,
    failuresLeft: left,
  };
}

/** The parts of a filter that only the records can answer. */
export interface LetterFilter {
  readonly handler?: string | undefined;
  readonly key?: string | undefined;
  readonly text?: string | undefined;
}

/** The part of a handler's value that may be shown. */
type Redacted = (handler: string, value: unknown) => unknown;

/**
 * Looks for a text only in the parts that may be shown. Otherwise a user who may only count letters
 * could find the rest out, letter by letter.
 */
export function matches(letter: DeadLetter, { handler, key, text }: LetterFilter, redacted: Redacted): boolean {
  if (handler !== undefined && letter.handler !== handler) return false;
  if (key !== undefined && letter.key !== key) return false;
  if (text === undefined) return true;
  return (
    errorText(letter.failures.at(-1)?.error).includes(text) ||
    payloadText(seenIn(letter, redacted)(letter.payload)).includes(text)
  );
}

function errorText(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : payloadText(error);
}

function payloadText(payload: unknown): string {
  return JSON.stringify(toPlain(payload));
}

/** A redrive to another handler lets nothing be seen that the handler of the publish hides. */
function seenIn({ handler, publishedFor }: DeadLetter, redacted: Redacted): (value: unknown) => unknown {
  return (value) => {
    const own = redacted(publishedFor, value);
    return handler === publishedFor ? own : redacted(handler, own);
  };
}

/** A letter as a line of JSON has it; `redacted` says what may be seen. */
export function shownLetter(letter: DeadLetter, redacted: Redacted): object {
  const { sequence, handler, key, headers, publishedAtMs, diedAtMs, reason, attempts, failuresLeft } = letter;
  const seen = seenIn(letter, redacted);
  return {
    sequence,
    handler,
    ...(key === undefined ? {} : { key }),
    reason,
    attempts,
    publishedAt: timeOf(publishedAtMs),
    // An older build didn't write it down.
    ...(diedAtMs === 0 ? {} : { diedAt: timeOf(diedAtMs) }),
    payload: seen(letter.payload),
    ...(headers === undefined ? {} : { headers: seen(headers) }),
    failures: letter.failures.map(({ attempt, atMs, reason: why, error, traceparent }) => {
      const shown = { attempt, at: timeOf(atMs), reason: why, error: toPlain(error) };
      return traceparent === undefined ? shown : { ...shown, traceparent };
    }),
    ...(failuresLeft === 0 ? {} : { failuresLeft }),
  };
}

function timeOf(ms: number): string {
  return new Date(ms).toISOString();
}
