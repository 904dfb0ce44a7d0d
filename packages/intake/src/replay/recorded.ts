/**
 * Reads the delivered records of a part of the log: those that were each the first of its kind.
 *
 * Duplicates lie in the log as well, and so do members of a group that was refused. Nothing says
 * so: it is decided from the log, as an opening decides it (`RecordStates`). A first one that lies
 * before the part isn't known here. Copies, and records that are replays themselves, are left out.
 */
import { isMillraceError } from "@millrace/base";
import { type Journal, type JournalRecord, RECORD_TYPE } from "@millrace/journal";
import { intakeError } from "../errors.ts";
import type { LogRecord } from "../format/log-record.ts";
import { termsOf } from "../format/record-header.ts";
import type { WindowLimits } from "../states/dedupe-window.ts";
import { GroupReader } from "../states/groups.ts";
import { RecordStates } from "../states/record-states.ts";

/** The parts of a journal that are read, whether a service has it open or not. */
export type RecordedLog = Pick<Journal, "firstSequence" | "durableSequence" | "lastCheckpoint" | "read">;

/** A part of the log; both ends belong to it. */
export interface RecordedRange {
  readonly from: number;
  readonly to: number;
  /** Published at these times, ms since 1970. */
  readonly fromMs: number;
  readonly toMs: number;
}

/** Types that decide whether a record is the first of its kind. */
export const JUDGING: ReadonlySet<number> = new Set([RECORD_TYPE.data, RECORD_TYPE.ack, RECORD_TYPE.control]);

/**
 * The part between two ends, each a sequence, or a time. Throws `ERR_REPLAY_RANGE` when something
 * of it isn't there.
 */
export async function recordedRange(
  journal: RecordedLog,
  from: number | Date | "checkpoint" | undefined,
  to: number | Date | undefined,
): Promise<RecordedRange> {
  const { firstSequence, durableSequence } = journal;
  const first = from === "checkpoint" ? ((await journal.lastCheckpoint())?.from ?? firstSequence) : from;
  const range = {
    from: typeof first === "number" ? Math.max(first, 1) : firstSequence,
    to: typeof to === "number" ? to : durableSequence,
    fromMs: first instanceof Date ? first.getTime() : -Infinity,
    toMs: to instanceof Date ? to.getTime() : Infinity,
  };
  const isBeyond = typeof from === "number" && from > durableSequence;
  if (range.from < firstSequence || isBeyond || range.to > durableSequence) throw await outside(journal, range);
  if (range.fromMs > -Infinity && firstSequence > 1) {
    const firstMs = await firstTimeMs(journal);
    if (firstMs === undefined || range.fromMs < firstMs) throw await outside(journal, range);
  }
  return range;
}

export async function outside(
  journal: RecordedLog,
  { from, to, fromMs }: RecordedRange,
  cause?: unknown,
): Promise<Error> {
  const { firstSequence, durableSequence: lastSequence } = journal;
  const firstMs = await firstTimeMs(journal);
  const since = firstMs === undefined ? "" : `, published from ${new Date(firstMs).toISOString()} on`;
  const there = firstSequence > lastSequence ? "none" : `${firstSequence} to ${lastSequence}${since}`;
  const asked = fromMs > -Infinity ? `from ${new Date(fromMs).toISOString()} on` : `${from} to ${to}`;
  return intakeError("ERR_REPLAY_RANGE", `records ${asked} aren't all there; there are ${there}`, {
    cause,
    details: { firstSequence, lastSequence, firstMs },
  });
}

/** When the first record that is there was published; undefined without. */
export async function firstTimeMs(journal: RecordedLog): Promise<number | undefined> {
  for await (const record of journal.read()) {
    if (record.type === RECORD_TYPE.data && record.origin === record.sequence) return record.timeMs;
  }
  return undefined;
}

/**
 * The records of a range, in order. Nothing of it is given up before the caller has read it, so
 * leave the loop. Throws `ERR_REPLAY_RANGE`, `ERR_JOURNAL_DAMAGED`, and the signal's reason.
 */
export async function* recorded(
  journal: RecordedLog,
  range: RecordedRange,
  limits: WindowLimits,
  signal?: AbortSignal,
): AsyncGenerator<LogRecord, void> {
  const states = new RecordStates(limits, range.from);
  const groups = new GroupReader(states.window);
  const { from, to } = range;
  if (from > to) return;
  let found: LogRecord[] = [];
  const options = { from, to, ...(signal === undefined ? {} : { signal }) };
  try {
    for await (const record of journal.read(options)) {
      if (!JUDGING.has(record.type) || record.origin !== record.sequence) continue;
      groups.take(logRecordOf(record), (member, group) => {
        const isFirst = states.read(member, group).kind === "first";
        if (isFirst && isWanted(member, range)) found.push(member);
      });
      if (found.length === 0) continue;
      yield* found;
      found = [];
    }
  } catch (thrown) {
    // Given up between the look and the reading.
    throw isMillraceError(thrown, "ERR_JOURNAL_TRUNCATED") ? await outside(journal, range, thrown) : thrown;
  }
}

export function isWanted(record: LogRecord, { fromMs, toMs }: RecordedRange): boolean {
  if (record.type !== RECORD_TYPE.data || record.timeMs < fromMs || record.timeMs > toMs) return false;
  return termsOf(record.header()).replayOf === undefined;
}

export function logRecordOf(record: JournalRecord): LogRecord {
  const { sequence, origin, type, priority, timeMs, flags, continues, header, key, payload } = record;
  return {
    sequence,
    origin,
    replaces: 0,
    type,
    priority,
    timeMs,
    flags,
    continues,
    header: () => header,
    key: () => key,
    payload: () => payload,
  };
}
