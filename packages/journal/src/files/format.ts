/**
 * The journal's format, version 1. This comment defines it; docs/journal-format.md explains it.
 *
 * A journal is a directory:
 *
 *   LOCK                   locked by the process that writes
 *   log-<id>.wal           segments; id in 16 hex digits, counting up; the writer appends to the
 *                          highest only
 *   marks                  says without a look at the log what is durable and which segment is
 *                          the first (marks.ts)
 *   checkpoint-a, -b       a user's snapshots, written in turn (checkpoint.ts)
 *   spare-<bytes>.wal      zero-filled, to become the next segment
 *   spare-<bytes>-<id>.wal the same, made from segment <id>, which nobody needs any more
 *   reserve-<bytes>.wal    zero-filled, for state records on a full disk
 *   reserve-<bytes>-<id>.wal  the same, made from segment <id>
 *   index-<id>.idx         where the keys of a finished segment are; can be deleted (key-index.ts)
 *   *.tmp                  unfinished, to be deleted at the next opening
 *   quarantine/            copies of what an opening cut off or a repair replaced
 *
 * All numbers are little-endian; u64 holds at most 2^53 - 1. A segment's header takes 4096 bytes:
 *
 *   0     8   magic "MILLRACE"
 *   8     u16 format version                    10  u16 lowest version of a reader
 *   12    u32 alignment of batches (4096)
 *   16    16  id of the log, random
 *   32    u64 segment id                        40  u64 epoch: counts the openings
 *   48    8   salt, random: tells the batches of this segment from leftovers in a reused file
 *   56    u64 base sequence: the first that this segment holds
 *   64    u64 bytes of the whole segment as it was allocated
 *   72    u32 most bytes of a batch's body      76  u32 most bytes of a record
 *   80    u32 checksum (1: CRC-32)              84  u32 kind: 0 first, 1 rolled, 2 recovered
 *   88    u64 created, ms since 1970 (for people)
 *   96    u64 previous segment, 0 without       104 u64 offset where its valid batches end
 *   112   u64 its last sequence                 120 u32 chain at that point
 *   128   u64 kind 2: first sequence of the batch that was copied here from the end of the log
 *   136   u64 kind 2: last sequence of that batch
 *   144   u32 flags: 1 made from a used file, so that leftovers may lie behind its end;
 *             2 written without syncs (unsafe);
 *             4 repaired: the first batch names the chain value at 148, not this header's CRC
 *   148   u32 with flag 4, that chain value
 *   4092  u32 CRC of bytes 0–4091
 *
 * Batches follow, each at a multiple of the alignment. One sync makes one batch durable. A batch is
 * valid as a whole or not at all:
 *
 *   0     u32 magic "MRB1"
 *   4     u32 CRC of bytes 8–63, seeded with the CRC of log id, segment id and file offset:
 *             a block that landed elsewhere is invalid
 *   8     u32 CRC of the body                   12  u32 bytes of the body
 *   16    u64 first sequence                    24  u32 number of records
 *   28    u32 flags: 1 recovered, 2 clean end,
 *             4 repaired: the next batch names the chain value at 52, not this header's CRC
 *   32    8   salt of the segment
 *   40    u64 highest sequence known to be durable when this batch was written
 *   48    u32 chain: header CRC of the batch before; for a segment's first batch, of the segment's
 *             header
 *   52    u32 with flag 4, that chain value     56  u64 written, ms since 1970
 *   64    the records, then zeros up to the alignment
 *
 * A batch may hold no record: close() writes such a one as the clean end. Records are frames of the
 * ring (byte-ring.ts in shared-memory). Each begins at a multiple of 8 bytes from the body's start.
 * The first record has the batch's first sequence, each further one the next:
 *
 *   0     u32 bits 0–29: bytes after this word, without padding
 *             bit 30: the record belongs to one atomic group with the next record
 *   4     u8  type                              5   u8  priority
 *   6     u16 bytes of the header
 *   8     u16 bytes of the key
 *   10    u16 flags: 1 the payload is a value of the codec, 2 the header is one,
 *             4 moved: copied forward from an older segment
 *   12    u32 zero
 *   16    f64 time of the append, ms since 1970
 *   24    with flag 4: u64 the record's first sequence, u64 the one that this copy replaces
 *   24/40 header, then key, then payload, then zeros up to a multiple of 8
 *
 * Every write goes to pages that hold nothing acknowledged: a batch begins on a page of its own.
 * The writer writes a batch only after the sync of the one before has returned. So a crash can tear
 * only the last batch, and a valid batch proves that everything before it was durable.
 */
import { readU64, writeU64 } from "@millrace/base";
import { crc32 } from "@millrace/codec";
import { journalError } from "../errors.ts";
import { alignUp } from "@millrace/shared-memory";

export const FORMAT_VERSION = 1;
/** A page of the page cache and a common sector size: batches don't share one. */
export const ALIGNMENT = 4096;
export const SEGMENT_HEADER_BYTES: number = ALIGNMENT;
export const BATCH_HEADER_BYTES = 64;
/** Bytes of a record's frame before header, key and payload. */
export const RECORD_FIXED_BYTES = 24;
/** More of them in a record that was copied forward. */
export const RECORD_MOVED_BYTES = 16;

const SEGMENT_MAGIC = Buffer.from("MILLRACE", "latin1");
const BATCH_MAGIC: number = Buffer.from("MRB1", "latin1").readUInt32LE();
const CHECKSUM_CRC32 = 1;

export const KIND = { first: 0, rolled: 1, recovered: 2 } as const;
export const BATCH_RECOVERED = 1;
export const BATCH_CLEAN_END = 2;
export const BATCH_REPAIRED = 4;

export const SEGMENT_REUSED = 1;
export const SEGMENT_UNSYNCED = 2;
export const SEGMENT_REPAIRED = 4;

export const RECORD_VALUE = 1;
export const RECORD_HEADER_VALUE = 2;
export const RECORD_MOVED = 4;

/**
 * Types of records. Those above `data` belong to the intake; the journal stores all types alike.
 */
export const RECORD_TYPE = {
  data: 1,
  lease: 2,
  ack: 3,
  retry: 4,
  dead: 5,
  redrive: 6,
  expire: 7,
  control: 8,
  /** Stands where a repair gave up a record. */
  lost: 9,
  /** Idempotency keys that were used lately. */
  window: 11,
  /** A handler's result, kept for later readers. */
  result: 12,
  /** How one attempt to handle a record ended. */
  attempt: 13,
} as const;

/** Where the valid batches of a segment end, or where they end before some batch of it. */
export interface SegmentEnd {
  readonly segment: number;
  readonly endOffset: number;
  /** Of the last record before that place. */
  readonly lastSequence: number;
  /** Chain value that the next batch names. */
  readonly chain: number;
}

export interface SegmentHeader {
  readonly logId: Buffer;
  readonly segment: number;
  readonly epoch: number;
  readonly salt: Buffer;
  readonly baseSequence: number;
  readonly segmentBytes: number;
  readonly batchBytesMax: number;
  readonly recordBytesMax: number;
  readonly kind: number;
  readonly createdMs: number;
  readonly previous: SegmentEnd;
  readonly recovered: { readonly first: number; readonly last: number };
  readonly flags: number;
  /** Chain value that the first batch names: the header's CRC, unless it was repaired. */
  readonly chain: number;
}

export interface BatchHeader {
  readonly crc: number;
  readonly bodyCrc: number;
  readonly bodyBytes: number;
  readonly firstSequence: number;
  readonly count: number;
  readonly flags: number;
  readonly durableSequence: number;
  readonly chain: number;
  /** Chain value that the next batch names: `crc`, unless this one was repaired. */
  readonly nextChain: number;
  readonly timeMs: number;
}

export function segmentName(segment: number): string {
  return `log-${segment.toString(16).padStart(16, "0")}.wal`;
}

/** The id in a segment's name, or undefined for any other name. */
export function segmentOfName(name: string): number | undefined {
  const match = /^log-([0-9a-f]{16})\.wal$/.exec(name);
  return match === null ? undefined : Number.parseInt(match[1] as string, 16);
}

/** Bytes that a batch takes up in its segment. */
export function batchBytes(bodyBytes: number): number {
  return alignUp(BATCH_HEADER_BYTES + bodyBytes, ALIGNMENT);
}

/** The bytes of a header, and the chain value for its first batch. A repair gives `chain`. */
export function encodeSegmentHeader(header: Omit<SegmentHeader, "chain"> & { readonly chain?: number }): {
  bytes: Buffer;
  chain: number;
} {
  const bytes = Buffer.alloc(SEGMENT_HEADER_BYTES);
  SEGMENT_MAGIC.copy(bytes);
  bytes.writeUInt16LE(FORMAT_VERSION, 8);
  bytes.writeUInt16LE(FORMAT_VERSION, 10);
  bytes.writeUInt32LE(ALIGNMENT, 12);
  header.logId.copy(bytes, 16);
  writeU64(bytes, header.segment, 32);
  writeU64(bytes, header.epoch, 40);
  header.salt.copy(bytes, 48);
  writeU64(bytes, header.baseSequence, 56);
  writeU64(bytes, header.segmentBytes, 64);
  bytes.writeUInt32LE(header.batchBytesMax, 72);
  bytes.writeUInt32LE(header.recordBytesMax, 76);
  bytes.writeUInt32LE(CHECKSUM_CRC32, 80);
  bytes.writeUInt32LE(header.kind, 84);
  writeU64(bytes, header.createdMs, 88);
  writeU64(bytes, header.previous.segment, 96);
  writeU64(bytes, header.previous.endOffset, 104);
  writeU64(bytes, header.previous.lastSequence, 112);
  bytes.writeUInt32LE(header.previous.chain, 120);
  writeU64(bytes, header.recovered.first, 128);
  writeU64(bytes, header.recovered.last, 136);
  bytes.writeUInt32LE(header.flags, 144);
  bytes.writeUInt32LE(header.chain ?? 0, 148);
  const crc = crc32(bytes.subarray(0, SEGMENT_HEADER_BYTES - 4));
  bytes.writeUInt32LE(crc, SEGMENT_HEADER_BYTES - 4);
  return { bytes, chain: header.chain ?? crc };
}

/**
 * The header in `bytes`; "invalid" for anything else, "version" when only a newer reader may read
 * it.
 */
export function decodeSegmentHeader(bytes: Buffer): SegmentHeader | "invalid" | "version" {
  if (bytes.length < SEGMENT_HEADER_BYTES || !bytes.subarray(0, 8).equals(SEGMENT_MAGIC)) return "invalid";
  const crc = bytes.readUInt32LE(SEGMENT_HEADER_BYTES - 4);
  if (crc32(bytes.subarray(0, SEGMENT_HEADER_BYTES - 4)) !== crc) return "invalid";
  if (bytes.readUInt16LE(10) > FORMAT_VERSION || bytes.readUInt32LE(80) !== CHECKSUM_CRC32) return "version";
  if (bytes.readUInt32LE(12) !== ALIGNMENT) return "version";
  const flags = bytes.readUInt32LE(144);
  return {
    logId: Buffer.from(bytes.subarray(16, 32)),
    segment: readU64(bytes, 32),
    epoch: readU64(bytes, 40),
    salt: Buffer.from(bytes.subarray(48, 56)),
    baseSequence: readU64(bytes, 56),
    segmentBytes: readU64(bytes, 64),
    batchBytesMax: bytes.readUInt32LE(72),
    recordBytesMax: bytes.readUInt32LE(76),
    kind: bytes.readUInt32LE(84),
    createdMs: readU64(bytes, 88),
    previous: {
      segment: readU64(bytes, 96),
      endOffset: readU64(bytes, 104),
      lastSequence: readU64(bytes, 112),
      chain: bytes.readUInt32LE(120),
    },
    recovered: { first: readU64(bytes, 128), last: readU64(bytes, 136) },
    flags,
    chain: (flags & SEGMENT_REPAIRED) === 0 ? crc : bytes.readUInt32LE(148),
  };
}

/**
 * The salt in the batch header at `bytes[at]`. Use it once a `BatchSeal` has found the header
 * valid.
 */
export function batchSalt(bytes: Buffer, at: number): Buffer {
  return Buffer.from(bytes.subarray(at + 32, at + 40));
}

/** Where a batch header must lie to be valid; one per segment, to be reused. */
export class BatchSeal {
  readonly #place: Buffer = Buffer.alloc(32);
  readonly salt: Buffer;

  constructor(logId: Buffer, segment: number, salt: Buffer) {
    logId.copy(this.#place);
    writeU64(this.#place, segment, 16);
    this.salt = salt;
  }

  /** Writes a batch header into `bytes` and returns the chain value of the next batch. */
  encode(bytes: Buffer, offset: number, header: Omit<BatchHeader, "crc" | "nextChain">, nextChain?: number): number {
    bytes.writeUInt32LE(BATCH_MAGIC, 0);
    bytes.writeUInt32LE(header.bodyCrc, 8);
    bytes.writeUInt32LE(header.bodyBytes, 12);
    writeU64(bytes, header.firstSequence, 16);
    bytes.writeUInt32LE(header.count, 24);
    bytes.writeUInt32LE(header.flags, 28);
    this.salt.copy(bytes, 32);
    writeU64(bytes, header.durableSequence, 40);
    bytes.writeUInt32LE(header.chain, 48);
    bytes.writeUInt32LE(nextChain ?? 0, 52);
    writeU64(bytes, header.timeMs, 56);
    const crc = this.#crc(bytes, 0, offset);
    bytes.writeUInt32LE(crc, 4);
    return nextChain ?? crc;
  }

  /**
   * The batch header at `bytes[at]`, read from file offset `offset`; undefined for an invalid one.
   * `anySalt` serves a segment whose own header is lost.
   */
  decode(bytes: Buffer, at: number, offset: number, anySalt = false): BatchHeader | undefined {
    if (bytes.length - at < BATCH_HEADER_BYTES || bytes.readUInt32LE(at) !== BATCH_MAGIC) return undefined;
    const crc = bytes.readUInt32LE(at + 4);
    if (crc !== this.#crc(bytes, at, offset)) return undefined;
    if (!anySalt && this.salt.compare(bytes, at + 32, at + 40) !== 0) return undefined;
    const flags = bytes.readUInt32LE(at + 28);
    return {
      crc,
      bodyCrc: bytes.readUInt32LE(at + 8),
      bodyBytes: bytes.readUInt32LE(at + 12),
      firstSequence: readU64(bytes, at + 16),
      count: bytes.readUInt32LE(at + 24),
      flags,
      durableSequence: readU64(bytes, at + 40),
      chain: bytes.readUInt32LE(at + 48),
      nextChain: (flags & BATCH_REPAIRED) === 0 ? crc : bytes.readUInt32LE(at + 52),
      timeMs: readU64(bytes, at + 56),
    };
  }

  #crc(bytes: Buffer, at: number, offset: number): number {
    writeU64(this.#place, offset, 24);
    return crc32(bytes.subarray(at + 8, at + BATCH_HEADER_BYTES), crc32(this.#place));
  }
}

/** The checksum in the last 4 bytes of a page: of all bytes before it. */
export function crcOfPage(page: Buffer): number {
  return crc32(page.subarray(0, ALIGNMENT - 4));
}

/**
 * Adds magic, version and CRC to a page of `marks` or a checkpoint's first page. Returns the page.
 */
export function sealPage(page: Buffer, magic: Buffer): Buffer {
  magic.copy(page);
  page.writeUInt16LE(FORMAT_VERSION, 8);
  page.writeUInt32LE(crcOfPage(page), ALIGNMENT - 4);
  return page;
}

/**
 * Whether `sealPage` has completed `page`. Throws `ERR_JOURNAL_VERSION` for a sound page of a newer
 * format, so that nobody takes it for a torn one.
 */
export function isPageValid(page: Buffer, magic: Buffer, file: string): boolean {
  if (!page.subarray(0, 8).equals(magic)) return false;
  if (crcOfPage(page) !== page.readUInt32LE(ALIGNMENT - 4)) return false;
  const version = page.readUInt16LE(8);
  const readerVersion = page.readUInt16LE(10) || version;
  if (readerVersion > FORMAT_VERSION) {
    throw journalError(
      "ERR_JOURNAL_VERSION",
      `${file} has format ${version}, and this version reads formats up to ${FORMAT_VERSION}`,
      { details: { name: file, version, formatVersion: FORMAT_VERSION } },
    );
  }
  return version > 0;
}
