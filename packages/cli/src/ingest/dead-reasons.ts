/** Why records have died: the errors in the DEAD records of a journal, grouped by their text. */
import { messageOf } from "@millrace/base";
import { deadError, deadSequence, publisherHeaders } from "@millrace/intake";
import { NodeStorage, RECORD_TYPE } from "@millrace/journal";
import { LogReader, RecordCursor, scanLog } from "@millrace/journal/kernel";
import type { IngestHeaders } from "./stored-lines.ts";

export interface DeadReason {
  readonly error: string;
  readonly count: number;
  /** The first lines of the source that failed with it, where the journal still has them. */
  readonly lines: readonly number[];
}

/** Reasons that are told, and lines beside each. */
const REASONS_MAX = 5;
const LINES_MAX = 5;

/**
 * The commonest reasons among the DEAD records from sequence `from` on; the journal may be open or
 * closed.
 */
export function readDeadReasons(directory: string, from: number): readonly DeadReason[] {
  const storage = new NodeStorage(directory);
  const { segments } = scanLog(storage, { everything: false });
  const lastSequence = segments.at(-1)?.end.lastSequence ?? 0;
  const counts = new Map<string, { count: number; dead: number[] }>();
  const wanted = new Set<number>();
  read(storage, from, lastSequence, (cursor) => {
    if (cursor.type !== RECORD_TYPE.dead || cursor.replaces !== 0) return;
    const error = textOf(cursor.payload());
    const reason = counts.get(error) ?? { count: 0, dead: [] };
    counts.set(error, reason);
    reason.count += 1;
    if (reason.dead.length < LINES_MAX) reason.dead.push(deadSequence(cursor.payload()));
  });
  const commonest = [...counts].toSorted(([, left], [, right]) => right.count - left.count).slice(0, REASONS_MAX);
  for (const [, { dead }] of commonest) for (const sequence of dead) wanted.add(sequence);
  const lines = linesOf(storage, lastSequence, wanted);
  return commonest.map(([error, { count, dead }]) => {
    return { error, count, lines: dead.map((sequence) => lines.get(sequence)).filter((line) => line !== undefined) };
  });
}

function textOf(payload: Buffer): string {
  try {
    const error = deadError(payload);
    const name = error instanceof Error && error.name !== "Error" ? `${error.name}: ` : "";
    return `${name}${messageOf(error)}`.split("\n")[0] as string;
  } catch {
    return "an error that can't be decoded";
  }
}

/** The lines of the records with these origins. */
function linesOf(storage: NodeStorage, lastSequence: number, wanted: ReadonlySet<number>): Map<number, number> {
  const lines = new Map<number, number>();
  const first = Math.min(...wanted);
  if (!Number.isFinite(first)) return lines;
  read(storage, first, lastSequence, (cursor) => {
    if (cursor.type !== RECORD_TYPE.data || !wanted.has(cursor.origin)) return;
    const headers = publisherHeaders(cursor.header()) as Partial<IngestHeaders> | undefined;
    if (headers?.line !== undefined) lines.set(cursor.origin, headers.line);
  });
  return lines;
}

function read(storage: NodeStorage, from: number, last: number, visit: (cursor: RecordCursor) => void): void {
  const reader = new LogReader(storage);
  const cursor = new RecordCursor();
  reader.seek(from);
  while (reader.next(last)) {
    cursor.reset(reader.body, reader.batch.firstSequence);
    while (cursor.next()) if (cursor.sequence >= from) visit(cursor);
  }
  reader.close();
}
