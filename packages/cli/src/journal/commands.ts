/**
 * `millrace journal inspect` and `verify`: read a journal without changing it, also while a process
 * writes to it.
 */
import { isMillraceError, messageOf } from "@millrace/base";
import { handlerName, RangeSet, RecordStates } from "@millrace/intake";
import { RECORD_TYPE, type Storage, storageKind, type StorageKind } from "@millrace/journal";
import {
  type BatchVisitor,
  type LogScan,
  RecordCursor,
  scanLog,
  SEGMENT_REPAIRED,
  SEGMENT_REUSED,
  SEGMENT_UNSYNCED,
} from "@millrace/journal/kernel";
import { EXIT } from "../terminal/exit-codes.ts";
import { Reporter } from "../terminal/reporter.ts";
import { amount, grouped, table } from "../terminal/units.ts";
import { type JournalCommandOptions, missing, readingOf } from "./place.ts";
import { typeName } from "./record-types.ts";

const FLAG_NAMES: readonly (readonly [flag: number, name: string])[] = [
  [SEGMENT_REUSED, "made from a used file"],
  [SEGMENT_UNSYNCED, "UNSAFE: written without syncs"],
  [SEGMENT_REPAIRED, "repaired"],
];

interface InspectDocument {
  readonly directory: string;
  readonly segments: readonly object[];
  readonly records: number;
  readonly bytes: number;
  readonly firstSequence: number;
  readonly lastSequence: number;
  /** The durable sequence in the file `marks`; undefined without the file. */
  readonly knownDurableSequence: number | undefined;
  readonly dead: number;
  readonly givenUpByRepairs: readonly (readonly [first: number, last: number])[];
  readonly storage: StorageKind;
  readonly sync: "each batch" | "none (UNSAFE)";
  readonly types: Readonly<Record<string, number>>;
  readonly handlers: Readonly<Record<string, number>>;
  /** Data records that are neither acknowledged as handled nor dead. */
  readonly unfinished: number;
  readonly end: "clean" | "open or crashed" | "torn";
  readonly tornBytes: number;
  readonly unfinishedSegments: readonly string[];
}

export function inspect(options: JournalCommandOptions): number {
  const reporter = new Reporter(options);
  const document = readingOf(options.dir, (storage) => read(options.dir, storage));
  reporter.result(document, () => textOf(document));
  return EXIT.ok;
}

/** Reads every byte; the exit code is the verdict. */
export function verify(options: JournalCommandOptions): number {
  const reporter = new Reporter(options);
  try {
    const document = { ok: true, ...readingOf(options.dir, (storage) => read(options.dir, storage)) };
    reporter.result(
      document,
      () =>
        `sound: ${amount(document.records, "record")}, sequences ${grouped(document.firstSequence)} to ${grouped(document.lastSequence)}`,
    );
    return EXIT.ok;
  } catch (thrown) {
    if (!isMillraceError(thrown, "ERR_JOURNAL_DAMAGED")) throw thrown;
    reporter.error(thrown, { ok: false, directory: options.dir, ...thrown.details });
    return EXIT.dataLost;
  }
}

function read(directory: string, storage: Storage): InspectDocument {
  let seen = new Contents();
  const cursor = new RecordCursor();
  const visit: BatchVisitor = (_, batch, body) => {
    cursor.reset(body, batch.firstSequence);
    while (cursor.next()) {
      bump(seen.types, typeName(cursor.type) ?? `type ${cursor.type}`);
      if (cursor.type === RECORD_TYPE.data) bump(seen.handlers, nameOf(cursor.header()));
      if (cursor.type === RECORD_TYPE.lost) seen.lost.add(cursor.sequence);
      readState(seen.states, cursor);
    }
  };
  const scan = scanLog(storage, { visit, restart: () => (seen = new Contents()) });
  if (scan.segments.length === 0) throw missing(directory, "there are no segments in it");
  return documentOf(directory, scan, seen);
}

/** The figures that come from reading all records. */
class Contents {
  readonly types = new Map<string, number>();
  readonly handlers = new Map<string, number>();
  readonly states = new RecordStates();
  readonly lost = new RangeSet();
}

function documentOf(directory: string, scan: LogScan, { types, handlers, states, lost }: Contents): InspectDocument {
  const finished = states.settled;
  const newest = scan.segments.at(-1)?.header;
  const storage = storageKind(directory);
  const lastSequence = scan.segments.at(-1)?.end.lastSequence ?? 0;
  const firstSequence = scan.segments[0]?.header.baseSequence ?? 1;
  return {
    directory,
    segments: scan.segments.map(({ name, header, batches, records, bytes, end }) => ({
      name,
      epoch: header.epoch,
      firstSequence: header.baseSequence,
      lastSequence: end.lastSequence,
      batches,
      records,
      bytes,
      endOffset: end.endOffset,
      allocatedBytes: header.segmentBytes,
      flags: flagNames(header.flags),
      createdAt: new Date(header.createdMs).toISOString(),
    })),
    records: scan.segments.reduce((sum, segment) => sum + segment.records, 0),
    bytes: scan.segments.reduce((sum, segment) => sum + segment.bytes, 0),
    firstSequence,
    lastSequence,
    knownDurableSequence: scan.marks?.durableSequence,
    dead: states.deadCount,
    givenUpByRepairs: Array.from({ length: lost.ranges }, (_, index) => lost.range(index)),
    storage,
    sync: newest !== undefined && (newest.flags & SEGMENT_UNSYNCED) !== 0 ? "none (UNSAFE)" : "each batch",
    types: Object.fromEntries(types),
    handlers: Object.fromEntries(handlers),
    unfinished:
      lastSequence - firstSequence + 1 - (finished.countUpTo(lastSequence) - finished.countUpTo(firstSequence - 1)),
    end: scan.torn.length > 0 ? "torn" : scan.hasCleanEnd ? "clean" : "open or crashed",
    tornBytes: scan.torn.length,
    unfinishedSegments: scan.unfinished,
  };
}

function flagNames(flags: number): string[] {
  return FLAG_NAMES.filter(([flag]) => (flags & flag) !== 0).map(([, name]) => name);
}

/**
 * Any program may write a journal, not only an intake: then a state record may not be readable as
 * one.
 */
function readState(states: RecordStates, cursor: RecordCursor): void {
  try {
    states.read(cursor);
  } catch (thrown) {
    if (!(thrown instanceof RangeError)) throw thrown;
    states.noted(cursor.sequence);
  }
}

/** Any program may write a journal, not only an intake: then a header needn't name a handler. */
function nameOf(header: Buffer): string {
  try {
    return handlerName(header);
  } catch (thrown) {
    return `(${messageOf(thrown)})`;
  }
}

function bump(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

function storageText({ fileSystem, trust, reason }: StorageKind): string {
  return reason === "" ? fileSystem : `${fileSystem}, ${trust.toUpperCase()}: ${reason}`;
}

function textOf(document: InspectDocument): string {
  const counts = (record: Readonly<Record<string, number>>): string =>
    Object.entries(record)
      .map(([name, count]) => `${name} ${grouped(count)}`)
      .join(", ") || "none";
  return table([
    ["directory", document.directory],
    ["segments", grouped(document.segments.length)],
    ["records", `${grouped(document.records)} in ${amount(document.bytes, "byte")}`],
    ["sequences", `${grouped(document.firstSequence)} to ${grouped(document.lastSequence)}`],
    ["dead", grouped(document.dead)],
    ["file system", storageText(document.storage)],
    ["sync", document.sync],
    ["types", counts(document.types)],
    ["handlers", counts(document.handlers)],
    ["unfinished", grouped(document.unfinished)],
    [
      "end",
      document.tornBytes > 0
        ? `${document.end}, ${amount(document.tornBytes, "byte")} that were never acknowledged`
        : document.end,
    ],
  ]);
}
