/**
 * Checkpoints: what a user of the log wants to find again without reading everything, with the
 * sequence from which to read on.
 *
 * The keeper writes two files, `checkpoint-a` and `checkpoint-b`, in turn and in place. The valid
 * one with the higher generation counts. It never truncates them, so that a checkpoint no larger
 * than the one it replaces needs no space on a full disk.
 *
 *   0     8   magic "MILLCKPT"                  8   u16 format version
 *   10    u16 lowest version of a reader; 0 means the format version
 *   16    16  id of the log
 *   32    u64 generation                        40  u64 the sequence from which to read on
 *   48    u64 bytes of the snapshot             56  u32 CRC of the snapshot
 *   64    u64 written, ms since 1970
 *   4092  u32 CRC of bytes 0–4091
 *   4096      the snapshot
 *
 * If the power goes while one is written, the other is still there. The log is given up only to
 * where the older of both reads on, and never while just one is whole.
 *
 * A first page alone is a witness, also where its snapshot was torn: everything before its sequence
 * was durable before it was written, so a log that ends earlier has lost records.
 */
import { crc32 } from "@millrace/codec";
import { readU64, writeU64 } from "@millrace/base";
import { ALIGNMENT, isPageValid, sealPage } from "./format.ts";
import { withFile } from "./segments.ts";
import { readFully, type Storage, type StorageFile, writeFully } from "../storage/storage.ts";

const NAMES = ["checkpoint-a", "checkpoint-b"] as const;
const MAGIC: Buffer = Buffer.from("MILLCKPT", "latin1");
/** Read at once where only the checksum matters. */
const WINDOW_BYTES: number = 2 ** 20;

export interface Checkpoint {
  readonly generation: number;
  /** The snapshot holds what the log says before this sequence. */
  readonly from: number;
  readonly timeMs: number;
  readonly bytes: Buffer;
}

/** The content of a checkpoint's first page. */
export interface CheckpointPage {
  readonly name: string;
  readonly logId: Buffer;
  readonly generation: number;
  readonly from: number;
  readonly timeMs: number;
  readonly bytes: number;
  readonly crc: number;
}

/** The files of checkpoints that are there, whatever is in them. */
export function checkpointFiles(storage: Storage): string[] {
  const names = storage.list();
  return NAMES.filter((name) => names.includes(name));
}

/** The valid first pages, newest first. Throws `ERR_JOURNAL_VERSION` for one of a newer format. */
export function readCheckpointPages(storage: Storage): CheckpointPage[] {
  return checkpointFiles(storage)
    .map((name) => withFile(storage, name, (file) => readPage(file, name)))
    .filter((page) => page !== undefined)
    .toSorted((left, right) => right.generation - left.generation);
}

/** Whether the snapshot behind a first page is there, as its checksum says. */
export function isWhole(storage: Storage, { name, bytes, crc }: CheckpointPage): boolean {
  return withFile(storage, name, (file) => {
    if (ALIGNMENT + bytes > file.size()) return false;
    const window = Buffer.allocUnsafeSlow(Math.min(WINDOW_BYTES, bytes));
    let found = 0;
    for (let done = 0; done < bytes; done += window.length) {
      const length = Math.min(window.length, bytes - done);
      if (readFully(file, window, length, ALIGNMENT + done) < length) return false;
      found = crc32(window.subarray(0, length), found);
    }
    return found === crc;
  });
}

/** The valid checkpoints, newest first. Throws `ERR_JOURNAL_VERSION`. */
export function readCheckpoints(storage: Storage, logId: Buffer): Checkpoint[] {
  return readCheckpointPages(storage)
    .filter((page) => page.logId.equals(logId))
    .map((page) => readSnapshot(storage, page))
    .filter((checkpoint) => checkpoint !== undefined);
}

/** Makes a checkpoint durable in place of the older one. */
export function writeCheckpoint(storage: Storage, logId: Buffer, checkpoint: Checkpoint): void {
  const name = NAMES[checkpoint.generation % NAMES.length] as string;
  const isNew = !storage.list().includes(name);
  const file = storage.open(name, isNew ? "create" : "write");
  try {
    writeFully(file, [encode(logId, checkpoint), checkpoint.bytes], 0);
    file.sync();
  } finally {
    file.close();
  }
  if (isNew) storage.syncDirectory();
}

function encode(logId: Buffer, { generation, from, timeMs, bytes }: Checkpoint): Buffer {
  const page = Buffer.alloc(ALIGNMENT);
  logId.copy(page, 16);
  writeU64(page, generation, 32);
  writeU64(page, from, 40);
  writeU64(page, bytes.length, 48);
  page.writeUInt32LE(crc32(bytes), 56);
  writeU64(page, timeMs, 64);
  return sealPage(page, MAGIC);
}

function readPage(file: StorageFile, name: string): CheckpointPage | undefined {
  const page = Buffer.alloc(ALIGNMENT);
  if (readFully(file, page, ALIGNMENT, 0) < ALIGNMENT || !isPageValid(page, MAGIC, name)) return undefined;
  return {
    name,
    logId: Buffer.from(page.subarray(16, 32)),
    generation: readU64(page, 32),
    from: readU64(page, 40),
    timeMs: readU64(page, 64),
    bytes: readU64(page, 48),
    crc: page.readUInt32LE(56),
  };
}

function readSnapshot(
  storage: Storage,
  { name, generation, from, timeMs, bytes: length, crc }: CheckpointPage,
): Checkpoint | undefined {
  return withFile(storage, name, (file) => {
    if (ALIGNMENT + length > file.size()) return undefined;
    const bytes = Buffer.alloc(length);
    readFully(file, bytes, length, ALIGNMENT);
    return crc32(bytes) === crc ? { generation, from, timeMs, bytes } : undefined;
  });
}
