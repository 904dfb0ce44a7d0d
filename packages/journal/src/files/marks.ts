/**
 * The file `marks`: what is known to be durable, and where the log begins, without reading the log.
 *
 * Two pages of 4096 bytes, written in turn, each made durable by a sync; the valid one with the
 * higher generation counts. A crash tears at most the page that is being written, and the other one
 * was true as well.
 *
 *   0     8   magic "MILLMARK"                  8   u16 format version
 *   10    u16 lowest version of a reader; 0 means the format version
 *   16    16  id of the log
 *   32    u64 generation, which selects the page: generation modulo 2
 *   40    u64 durable: every sequence up to this one was durable before the page was written
 *   48    u64 the first segment that belongs to the log; lower ones were given up, and files of
 *             some may still be there
 *   56    u64 the first sequence in it
 *   64    u64 generation of a checkpoint that was durable before the page was written; 0 for none
 *   4092  u32 CRC of bytes 0–4091
 *
 * Magic, versions and CRC keep their places in every later format, so that an older build knows a
 * newer page for what it is.
 *
 * The marks are a witness against loss: a log that ends before `durable`, or that has no checkpoint
 * left although one was durable, is refused. While the log is busy they lag by up to a second. The
 * keeper writes them last when the journal closes, so that after close() they name everything.
 *
 * Written by the opening, for a log that has none; then by the keeper thread only. Read at an
 * opening and by tools.
 */
import { readU64, writeU64 } from "@millrace/base";
import { ALIGNMENT, isPageValid, sealPage } from "./format.ts";
import { readFully, type Storage, type StorageFile, writeFully } from "../storage/storage.ts";

export const MARKS_NAME = "marks";
const MAGIC: Buffer = Buffer.from("MILLMARK", "latin1");
const PAGES = 2;

export interface Marks {
  readonly logId: Buffer;
  readonly generation: number;
  readonly durableSequence: number;
  readonly firstSegment: number;
  readonly firstSequence: number;
  /** Generation of a checkpoint that is durable. Default 0: none. */
  readonly checkpoint?: number;
}

/**
 * The newest valid page; undefined without any. Throws `ERR_JOURNAL_VERSION` for a newer format.
 */
export function readMarks(storage: Storage): Marks | undefined {
  if (!storage.list().includes(MARKS_NAME)) return undefined;
  const bytes = Buffer.alloc(PAGES * ALIGNMENT);
  const file = storage.open(MARKS_NAME, "read");
  try {
    readFully(file, bytes, bytes.length, 0);
  } finally {
    file.close();
  }
  const pages = [decode(bytes.subarray(0, ALIGNMENT)), decode(bytes.subarray(ALIGNMENT))];
  return pages.reduce((best, page) => ((page?.generation ?? 0) > (best?.generation ?? 0) ? page : best), undefined);
}

/**
 * The first segment that belongs to the log; 0 without marks. Those before it were given up: the
 * marks say so before a file is cut, renamed or removed.
 */
export function firstSegmentIn(storage: Storage): number {
  return readMarks(storage)?.firstSegment ?? 0;
}

/** Makes `marks` durable, in place; the file is created when it is missing. */
export function writeMarks(storage: Storage, marks: Marks): void {
  const page = encode(marks);
  if (!storage.list().includes(MARKS_NAME)) {
    const temporary = `${MARKS_NAME}.tmp`;
    writeNew(storage.open(temporary, "replace"), page, marks.generation);
    storage.rename(temporary, MARKS_NAME);
    storage.syncDirectory();
    return;
  }
  const file = storage.open(MARKS_NAME, "write");
  try {
    writeFully(file, [page], (marks.generation % PAGES) * ALIGNMENT);
    file.sync();
  } finally {
    file.close();
  }
}

/**
 * As `writeMarks`, for a directory that has no marks: throws EEXIST when there are some. A process
 * that is killed in the midst of it leaves a file without a valid page.
 */
export function createMarks(storage: Storage, marks: Marks): void {
  writeNew(storage.open(MARKS_NAME, "create"), encode(marks), marks.generation);
  storage.syncDirectory();
}

function writeNew(file: StorageFile, page: Buffer, generation: number): void {
  try {
    const bytes = Buffer.alloc(PAGES * ALIGNMENT);
    page.copy(bytes, (generation % PAGES) * ALIGNMENT);
    writeFully(file, [bytes], 0);
    file.sync();
  } finally {
    file.close();
  }
}

function encode(marks: Marks): Buffer {
  const page = Buffer.alloc(ALIGNMENT);
  marks.logId.copy(page, 16);
  writeU64(page, marks.generation, 32);
  writeU64(page, marks.durableSequence, 40);
  writeU64(page, marks.firstSegment, 48);
  writeU64(page, marks.firstSequence, 56);
  writeU64(page, marks.checkpoint ?? 0, 64);
  return sealPage(page, MAGIC);
}

function decode(page: Buffer): Marks | undefined {
  if (!isPageValid(page, MAGIC, MARKS_NAME)) return undefined;
  return {
    logId: Buffer.from(page.subarray(16, 32)),
    generation: readU64(page, 32),
    durableSequence: readU64(page, 40),
    firstSegment: readU64(page, 48),
    firstSequence: readU64(page, 56),
    checkpoint: readU64(page, 64),
  };
}
