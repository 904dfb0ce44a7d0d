/**
 * `millrace journal compact`: deletes the finished records of an intake that isn't running.
 *
 * The records that are still needed are copied to the end of the log, many to a sync; then
 * everything before the copies is given up. Where nearly all records are needed copying would free
 * nothing, and only unused room is given back.
 */
import { encodeStates, foreignRecord, foreignSnapshot, readLogStates } from "@millrace/intake";
import { Journal, type JournalOptions, type Storage } from "@millrace/journal";
import {
  lockDirectory,
  type LogScan,
  readCheckpoints,
  RecordCursor,
  scanLog,
  type SegmentHeader,
  trimLog,
} from "@millrace/journal/kernel";
import { cliError } from "../errors.ts";
import { EXIT } from "../terminal/exit-codes.ts";
import { Reporter } from "../terminal/reporter.ts";
import { grouped, table } from "../terminal/units.ts";
import { type JournalCommandOptions, missing, storageOf } from "./place.ts";

/** Copying is worth it when at most this part of the bytes is still needed. */
const NEEDED_PART_MAX = 0.9;
/**
 * Copies on their way to the disk: by number, and by bytes, which stay below the journal's own
 * limit.
 */
const COPIES_MAX = 4096;
const COPY_BYTES_MAX: number = 32 * 2 ** 20;
/** Segments stay as small as a journal's first, so that the last one holds little unused room. */
const SEGMENT_BYTES_MAX: number = 8 * 2 ** 20;
/** As many bytes to a sync as a journal writes by default. */
const BATCH_BYTES_MAX: number = 4 * 2 ** 20;
/** The least that the options of a journal allow; and of a ring, its default. */
const RECORD_BYTES_LEAST = 1024;
const SEGMENT_BYTES_LEAST: number = 2 ** 16;
const RING_BYTES_LEAST: number = 2 ** 23;
const PAGE_BYTES = 4096;
/** More than what a copy is longer than its record, and a frame than its record. */
const COPY_EXTRA_BYTES = 64;

interface Needed {
  readonly sequence: number;
  readonly bytes: number;
}

interface Contents {
  readonly needed: readonly Needed[];
  /** Bytes of all records, and of those that are needed. */
  readonly allBytes: number;
  readonly neededBytes: number;
  readonly largestBytes: number;
  readonly lastSequence: number;
  readonly scan: LogScan;
}

export async function compact(options: JournalCommandOptions): Promise<number> {
  const reporter = new Reporter(options);
  const storage = storageOf(options.dir);
  const bytesBefore = bytesOf(storage);
  // Before the opening, which changes the directory: a journal that isn't an intake's stays as it
  // is.
  const contents = readContents(options.dir, storage);
  const isWorthIt = contents.neededBytes <= contents.allBytes * NEEDED_PART_MAX;
  const { copied, firstSequence } = isWorthIt
    ? await copyForward(options.dir, storage, contents)
    : { copied: 0, firstSequence: contents.scan.segments[0]?.header.baseSequence ?? 1 };
  trim(options.dir, storage);
  const document = { directory: options.dir, copied, firstSequence, bytesBefore, bytesAfter: bytesOf(storage) };
  reporter.result(document, () =>
    table([
      ["directory", options.dir],
      ["copied forward", `${grouped(copied)} unfinished or dead records`],
      ["first sequence", grouped(firstSequence)],
      ["bytes", `${grouped(bytesBefore)} before, ${grouped(document.bytesAfter)} after`],
    ]),
  );
  return EXIT.ok;
}

/** Throws `ERR_JOURNAL_FOREIGN` for a journal that isn't an intake's. */
function readContents(directory: string, storage: Storage): Contents {
  let all: Needed[] = [];
  const cursor = new RecordCursor();
  const scan = scanLog(storage, {
    restart: () => {
      all = [];
    },
    visit: (_, batch, body) => {
      cursor.reset(body, batch.firstSequence);
      while (cursor.next()) {
        const { sequence } = cursor;
        const why = foreignRecord(cursor);
        if (why !== undefined) throw foreign(directory, `record ${sequence} isn't an intake's: ${why}`, { sequence });
        all.push({ sequence, bytes: cursor.payloadEnd - cursor.start });
      }
    },
  });
  const header = scan.segments.at(-1)?.header;
  if (header === undefined) throw missing(directory, "there are no segments in it");
  // An empty checkpoint is that of an earlier compaction.
  for (const { bytes, from } of readCheckpoints(storage, header.logId)) {
    const why = bytes.length === 0 ? undefined : foreignSnapshot(bytes);
    if (why !== undefined) throw foreign(directory, `its checkpoint isn't an intake's: ${why}`, { from });
  }
  const lastSequence = scan.segments.at(-1)?.end.lastSequence ?? 0;
  const states = readLogStates(storage, header.logId, lastSequence);
  const needed = all.filter(({ sequence }) => !states.droppable.has(sequence));
  const sum = (records: readonly Needed[]): number => records.reduce((total, { bytes }) => total + bytes, 0);
  const largestBytes = all.reduce((largest, { bytes }) => Math.max(largest, bytes), 0);
  return { needed, allBytes: sum(all), neededBytes: sum(needed), largestBytes, lastSequence, scan };
}

/** Opens the journal with the limits of its own records, copies and gives up, and closes it. */
async function copyForward(
  directory: string,
  storage: Storage,
  contents: Contents,
): Promise<{ readonly copied: number; readonly firstSequence: number }> {
  const journal = await Journal.open({ directory, allowUnsafeStorage: true, ...limitsOf(contents) });
  try {
    // A service may have come and gone since the journal was read.
    const isSame = journal.recovery.lastSequence === contents.lastSequence;
    const { needed, lastSequence } = isSame ? contents : readContents(directory, storage);
    await copyAll(journal, needed);
    // Only the checkpoint keeps the keys and pauses of the records before it. It is written twice,
    // because truncation stops at the older of two checkpoints.
    const states = readLogStates(
      storage,
      contents.scan.segments.at(-1)?.header.logId as Buffer,
      journal.durableSequence,
    );
    const bytes = encodeStates(states);
    await journal.checkpoint(bytes, journal.durableSequence + 1);
    await journal.checkpoint(bytes, journal.durableSequence + 1);
    return { copied: needed.length, firstSequence: await journal.truncateBefore(lastSequence + 1) };
  } finally {
    await journal.close();
  }
}

/**
 * Limits that every record fits into. Those of the headers won't do: a repaired header may name the
 * largest that there are, and a ring for such records would take half a GiB.
 */
function limitsOf({ scan, largestBytes }: Contents): Partial<JournalOptions> {
  const largestOf = (bytes: (header: SegmentHeader) => number): number =>
    Math.max(...scan.segments.map(({ header }) => bytes(header)));
  const recordBytesMax = Math.max(RECORD_BYTES_LEAST, Math.ceil(largestBytes / 8) * 8 + COPY_EXTRA_BYTES);
  const batchBytesMax = Math.max(
    Math.min(
      BATCH_BYTES_MAX,
      largestOf((header) => header.batchBytesMax),
    ),
    recordBytesMax + COPY_EXTRA_BYTES,
  );
  const roomForOne = Math.ceil(batchBytesMax / PAGE_BYTES + 3) * PAGE_BYTES;
  const segmentBytes = Math.ceil(largestOf((header) => header.segmentBytes) / PAGE_BYTES) * PAGE_BYTES;
  return {
    recordBytesMax,
    batchBytesMax,
    segmentBytesMax: Math.max(SEGMENT_BYTES_LEAST, roomForOne, Math.min(SEGMENT_BYTES_MAX, segmentBytes)),
    ringBytes: Math.max(RING_BYTES_LEAST, 2 ** Math.ceil(Math.log2(recordBytesMax + PAGE_BYTES) + 1)),
  };
}

/** Copies in their order, many at once: what is under way together shares a sync. */
async function copyAll(journal: Journal, needed: readonly Needed[]): Promise<void> {
  const underWay: { readonly copy: Promise<number>; readonly bytes: number }[] = [];
  let bytesUnderWay = 0;
  for (const { sequence, bytes } of needed) {
    while (underWay.length >= COPIES_MAX || (underWay.length > 0 && bytesUnderWay + bytes > COPY_BYTES_MAX)) {
      const oldest = underWay.shift() as (typeof underWay)[number];
      bytesUnderWay -= oldest.bytes;
      await oldest.copy;
    }
    const copy = journal.copyForward(sequence);
    // The first to fail is reported where it is awaited.
    copy.catch(() => {});
    underWay.push({ copy, bytes });
    bytesUnderWay += bytes;
  }
  await Promise.all(underWay.map(({ copy }) => copy));
}

function trim(directory: string, storage: Storage): void {
  const unlock = lockDirectory(directory);
  try {
    trimLog(storage);
  } finally {
    unlock();
  }
}

function foreign(directory: string, why: string, details: object): Error {
  return cliError("ERR_JOURNAL_FOREIGN", `${directory} is left as it is: ${why}`, {
    details: { directory, ...details },
  });
}

/** Bytes of segments, spares and the reserve. */
function bytesOf(storage: Storage): number {
  return storage
    .list()
    .filter((name) => name.endsWith(".wal"))
    .reduce((sum, name) => {
      const file = storage.open(name, "read");
      const bytes = file.size();
      file.close();
      return sum + bytes;
    }, 0);
}
