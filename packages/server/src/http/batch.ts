/** Lines of JSON, a record each. */
import { setMaxListeners } from "node:events";
import { clearTimeout, setTimeout } from "@millrace/base";
import { serverError } from "../errors.ts";
import { readJson } from "../records/json.ts";
import {
  type Envelope,
  type Publications,
  readEnvelope,
  type RecordTerms,
  type Stored,
} from "../records/publication.ts";
import { type ErrorDocument, errorDocument } from "../records/status.ts";

/** The result of one line; lines count from 1. */
export type LineResult =
  | ({ readonly line: number } & Stored)
  | { readonly line: number; readonly error: ErrorDocument };

interface Line {
  readonly number: number;
  readonly start: number;
  readonly end: number;
}

export interface BatchOptions {
  readonly linesMax: number;
  /** A line is an object with payload and terms of its own. */
  readonly isEnvelope: boolean;
}

const NEWLINE = 0x0a;

function isBlank(bytes: Buffer, start: number, end: number): boolean {
  for (let at = start; at < end; at += 1)
    if (bytes[at] !== 0x20 && bytes[at] !== 0x0d && bytes[at] !== 0x09) return false;
  return true;
}

function linesOf(bytes: Buffer, linesMax: number): Line[] {
  const lines: Line[] = [];
  let start = 0;
  for (let number = 1; start < bytes.length; number += 1) {
    const newline = bytes.indexOf(NEWLINE, start);
    const end = newline < 0 ? bytes.length : newline;
    if (!isBlank(bytes, start, end)) lines.push({ number, start, end });
    start = end + 1;
    if (lines.length > linesMax) {
      throw serverError("ERR_REQUEST_TOO_LARGE", `a batch may have ${linesMax} lines`, { details: { linesMax } });
    }
  }
  if (lines.length > 0) return lines;
  throw serverError("ERR_REQUEST_MALFORMED", "a batch needs at least one line", { details: { position: 0 } });
}

/**
 * The key of a batch stands for one key per line, by its number: a batch that is sent again is made
 * of duplicates.
 */
function termsOfLine(terms: RecordTerms, line: number): RecordTerms {
  if (terms.idempotencyKey === undefined) return terms;
  return { ...terms, idempotencyKey: `${terms.idempotencyKey}/${line}` };
}

function readLine(bytes: Buffer, { number, start, end }: Line, terms: RecordTerms, isEnvelope: boolean): Envelope {
  const value = readJson(bytes, start, end);
  const common = termsOfLine(terms, number);
  if (!isEnvelope) return { handler: undefined, payload: value, terms: common };
  const { payload, terms: own } = readEnvelope(value);
  return { handler: undefined, payload, terms: { ...common, ...own } };
}

/**
 * A batch may be larger than the ring to the disk, so its lines wait for room, this long in all.
 */
const BATCH_WAIT_MS = 10_000;

/** Each line for itself; the results are in the order of the lines. */
export async function publishLines(
  publications: Publications,
  handler: string,
  bytes: Buffer,
  terms: RecordTerms,
  { linesMax, isEnvelope }: BatchOptions,
): Promise<LineResult[]> {
  const lines = linesOf(bytes, linesMax);
  // One signal for all lines: what waits is refused together, so that nothing overtakes.
  const over = new AbortController();
  setMaxListeners(0, over.signal);
  const timer = setTimeout(() => over.abort(publications.refusal(handler) ?? publications.fullError()), BATCH_WAIT_MS);
  let refusal: Error | undefined;
  const results = lines.map(async (line): Promise<LineResult> => {
    const { number } = line;
    try {
      const record = readLine(bytes, line, terms, isEnvelope);
      // From the first refused line on all are: a later record of a key mustn't overtake it.
      refusal ??= publications.refusal(handler);
      if (refusal !== undefined) throw refusal;
      return { line: number, ...(await publications.wait(handler, record.payload, record.terms, over.signal)) };
    } catch (thrown) {
      return { line: number, error: errorDocument(thrown) };
    }
  });
  const settled = await Promise.all(results);
  clearTimeout(timer);
  return settled;
}

/** All lines or none. An error of one line names it. */
export async function publishTogether(
  publications: Publications,
  handler: string,
  bytes: Buffer,
  terms: RecordTerms,
  { linesMax, isEnvelope }: BatchOptions,
): Promise<LineResult[]> {
  const lines = linesOf(bytes, linesMax);
  const records = lines.map((line) => {
    try {
      return readLine(bytes, line, terms, isEnvelope);
    } catch (thrown) {
      const { code, message, details } = thrown as { code: never; message: string; details: Record<string, unknown> };
      const position = typeof details.position === "number" ? details.position + line.start : undefined;
      throw serverError(code, `line ${line.number}: ${message}`, { cause: thrown, details: { ...details, position } });
    }
  });
  const stored = await publications.together(handler, records);
  return stored.map((each, index) => ({ line: (lines[index] as Line).number, ...each }));
}
