/**
 * The file `marks`: what is known to be durable, and where the log begins, without reading the log.
 *
 * Two pages of 4096 bytes, written in turn, each made durable by a sync; the valid one with the higher generation counts. A crash tears
 * at most the page that is being written, and the other one was true as well.
 *
 *   0     8   magic "MILLMARK"                  8   u16 format version
 *   16    16  id of the log
 *   32    u64 generation, which selects the page: generation modulo 2
 *   40    u64 durable: every sequence up to this one was durable before the page was written
 *   48    u64 the first segment that belongs to the log; lower ones were given up and may still lie around
 *   56    u64 the first sequence in it
 *   4092  u32 CRC of bytes 0–4091
 *
 * The durable mark lags behind the log, by up to a second while it is written and less than that once it is idle. It closes a hole: a bit
 * that flips in the last batch looks like a torn tail, unless somebody remembers that this batch was acknowledged.
 *
 * Written by the keeper thread only (and before it by nobody); read at an opening and by tools.
 */
import { crc32 } from "@millrace/codec";
import { readU64, writeU64 } from "@millrace/base";
import { ALIGNMENT, FORMAT_VERSION } from "./format.ts";
import { readFully, type Storage, writeFully } from "../storage/storage.ts";

export const MARKS_NAME = "marks";
const MAGIC: Buffer = Buffer.from("MILLMARK", "latin1");
const PAGES = 2;

export interface Marks {
  readonly logId: Buffer;
  readonly generation: number;
  readonly durableSequence: number;
  readonly firstSegment: number;
  readonly firstSequence: number;
}

/** The newest valid page; undefined without any. */
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

/** Makes `marks` durable, in place; the file is created when it is missing. */
export function writeMarks(storage: Storage, marks: Marks): void {
  const page = encode(marks);
  if (!storage.list().includes(MARKS_NAME)) {
    createMarks(storage, page, marks.generation);
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

function createMarks(storage: Storage, page: Buffer, generation: number): void {
  const temporary = `${MARKS_NAME}.tmp`;
  const file = storage.open(temporary, "replace");
  try {
    const bytes = Buffer.alloc(PAGES * ALIGNMENT);
    page.copy(bytes, (generation % PAGES) * ALIGNMENT);
    writeFully(file, [bytes], 0);
    file.sync();
  } finally {
    file.close();
  }
  storage.rename(temporary, MARKS_NAME);
  storage.syncDirectory();
}

function encode(marks: Marks): Buffer {
  const page = Buffer.alloc(ALIGNMENT);
  MAGIC.copy(page);
  page.writeUInt16LE(FORMAT_VERSION, 8);
  marks.logId.copy(page, 16);
  writeU64(page, marks.generation, 32);
  writeU64(page, marks.durableSequence, 40);
  writeU64(page, marks.firstSegment, 48);
  writeU64(page, marks.firstSequence, 56);
  page.writeUInt32LE(crc32(page.subarray(0, ALIGNMENT - 4)), ALIGNMENT - 4);
  return page;
}

function decode(page: Buffer): Marks | undefined {
  if (!page.subarray(0, 8).equals(MAGIC) || page.readUInt16LE(8) !== FORMAT_VERSION) return undefined;
  if (crc32(page.subarray(0, ALIGNMENT - 4)) !== page.readUInt32LE(ALIGNMENT - 4)) return undefined;
  return {
    logId: Buffer.from(page.subarray(16, 32)),
    generation: readU64(page, 32),
    durableSequence: readU64(page, 40),
    firstSegment: readU64(page, 48),
    firstSequence: readU64(page, 56),
  };
}
