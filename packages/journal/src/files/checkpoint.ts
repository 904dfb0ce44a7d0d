/**
 * Checkpoints: what a user of the log wants to find again without reading everything, with the sequence from which to read on.
 *
 * Two files, `checkpoint-a` and `checkpoint-b`, written in turn and in place; the valid one with the higher generation counts. They are
 * never truncated, so that a checkpoint that isn't larger than an earlier one needs no space on a full disk.
 *
 *   0     8   magic "MILLCKPT"                  8   u16 format version
 *   16    16  id of the log
 *   32    u64 generation                        40  u64 the sequence from which to read on
 *   48    u64 bytes of the snapshot             56  u32 CRC of the snapshot
 *   64    u64 written, ms since 1970
 *   4092  u32 CRC of bytes 0–4091
 *   4096      the snapshot
 *
 * If the power goes while one is written, the other is still there; and the log is only given up to where the older of both reads on.
 */
import { crc32 } from "@millrace/codec";
import { readU64, writeU64 } from "@millrace/base";
import { ALIGNMENT, FORMAT_VERSION } from "./format.ts";
import { readFully, type Storage, writeFully } from "../storage/storage.ts";

const NAMES = ["checkpoint-a", "checkpoint-b"] as const;
const MAGIC: Buffer = Buffer.from("MILLCKPT", "latin1");

export interface Checkpoint {
  readonly generation: number;
  /** The snapshot holds what the log says before this sequence. */
  readonly from: number;
  readonly timeMs: number;
  readonly bytes: Buffer;
}

/** The valid checkpoints, newest first. */
export function readCheckpoints(storage: Storage, logId: Buffer): Checkpoint[] {
  const names = storage.list();
  return NAMES.filter((name) => names.includes(name))
    .map((name) => read(storage, name, logId))
    .filter((checkpoint) => checkpoint !== undefined)
    .toSorted((left, right) => right.generation - left.generation);
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
  MAGIC.copy(page);
  page.writeUInt16LE(FORMAT_VERSION, 8);
  logId.copy(page, 16);
  writeU64(page, generation, 32);
  writeU64(page, from, 40);
  writeU64(page, bytes.length, 48);
  page.writeUInt32LE(crc32(bytes), 56);
  writeU64(page, timeMs, 64);
  page.writeUInt32LE(crc32(page.subarray(0, ALIGNMENT - 4)), ALIGNMENT - 4);
  return page;
}

function read(storage: Storage, name: string, logId: Buffer): Checkpoint | undefined {
  const file = storage.open(name, "read");
  try {
    const page = Buffer.alloc(ALIGNMENT);
    if (readFully(file, page, ALIGNMENT, 0) < ALIGNMENT || !page.subarray(0, 8).equals(MAGIC)) return undefined;
    if (crc32(page.subarray(0, ALIGNMENT - 4)) !== page.readUInt32LE(ALIGNMENT - 4)) return undefined;
    if (page.readUInt16LE(8) !== FORMAT_VERSION || !page.subarray(16, 32).equals(logId)) return undefined;
    const length = readU64(page, 48);
    if (ALIGNMENT + length > file.size()) return undefined;
    const bytes = Buffer.alloc(length);
    readFully(file, bytes, length, ALIGNMENT);
    if (crc32(bytes) !== page.readUInt32LE(56)) return undefined;
    return { generation: readU64(page, 32), from: readU64(page, 40), timeMs: readU64(page, 64), bytes };
  } finally {
    file.close();
  }
}
