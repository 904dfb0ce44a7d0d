/**
 * Appends batches to the log. Each is durable when `append` returns. It knows no threads or rings.
 *
 * What each step promises if the power goes right after it:
 *
 *   a spare was filled and synced      nothing of the log has changed
 *   header (and, after a recovery, the last batch again) written to it and synced
 *                                      nothing yet: it doesn't have a segment's name
 *   renamed, directory synced          the log has the segment; a repeated batch is durable twice
 *   batch written                      it is there whole, or torn and not acknowledged
 *   batch synced                       it is there
 *
 * A segment's name is never taken from a file that has it: then somebody else writes this log.
 *
 * After any error this object writes nothing any more, because after a failed sync the kernel may
 * call pages clean that never reached the disk (docs/adr/0005-never-retry-a-sync.md). The exception
 * is a write for which the disk has no room; a file system that copies on write may have none even
 * within a file. Nothing was synced then, the batch isn't there, and the log is as it was.
 */
import { randomBytes } from "node:crypto";
import { invariant } from "@millrace/base";
import { crc32 } from "@millrace/codec";
import {
  ALIGNMENT,
  BATCH_CLEAN_END,
  BATCH_HEADER_BYTES,
  type BatchHeader,
  BATCH_RECOVERED,
  batchBytes,
  BatchSeal,
  encodeSegmentHeader,
  KIND,
  SEGMENT_HEADER_BYTES,
  SEGMENT_REUSED,
  SEGMENT_UNSYNCED,
  type SegmentEnd,
  segmentName,
} from "../files/format.ts";
import { journalError } from "../errors.ts";
import { type JournalLimits, leastSegmentBytes, nextSegmentBytes, segmentBytesFor } from "../files/limits.ts";
import type { RecoveredLog } from "./recovery.ts";
import { findLargestSpare, findReserve, findSpare, listSpares, takeSpare } from "../files/spare.ts";
import { isDiskFull, readFully, renameNew, type Storage, type StorageFile, writeFully } from "../storage/storage.ts";

const ZEROS: Buffer = Buffer.alloc(ALIGNMENT);

/** Part of a batch's body, in memory that doesn't change until `append` returns. */
export type Span = Uint8Array;

export class LogWriter {
  readonly #storage: Storage;
  readonly #limits: JournalLimits;
  readonly #logId: Buffer;
  readonly #epoch: number;
  readonly #wallMs: () => number;
  readonly #isSynced: boolean;
  readonly #header: Buffer = Buffer.alloc(BATCH_HEADER_BYTES);
  #file: StorageFile | undefined;
  #seal: BatchSeal | undefined;
  #segment: number;
  #segmentBytes = 0;
  /** Bytes that the current segment should have; on a full disk it may have fewer. */
  #grownBytes = 0;
  #offset = 0;
  #chain: number;
  #nextSequence: number;
  #isBroken = false;

  /**
   * Begins a new segment behind the recovered log, made from the spare of `spareBytes` bytes.
   * Without `isSynced` nothing is ever durable; that serves comparisons and tests.
   */
  constructor(
    storage: Storage,
    limits: JournalLimits,
    log: RecoveredLog,
    wallMs: () => number,
    spareBytes: number,
    isSynced = true,
  ) {
    this.#isSynced = isSynced;
    this.#storage = storage;
    this.#limits = limits;
    this.#logId = log.logId;
    this.#epoch = log.epoch;
    this.#wallMs = wallMs;
    this.#segment = log.nextSegment;
    this.#nextSequence = log.nextSequence;
    this.#chain = log.previous.chain;
    this.#begin(log.nextSegment, log.previous, log.tail, spareBytes);
    this.#grownBytes = nextSegmentBytes(limits, 0, log.tail?.body.length ?? 0);
  }

  get nextSequence(): number {
    return this.#nextSequence;
  }

  get segment(): number {
    return this.#segment;
  }

  /** Bytes that the current segment has. */
  get segmentBytes(): number {
    return this.#segmentBytes;
  }

  /** Of those, the ones that are left. */
  get segmentLeft(): number {
    return this.#segmentBytes - this.#offset;
  }

  /** Bytes that the next segment should have; it takes a batch of `bodyBytes`. */
  nextSegmentBytes(bodyBytes: number): number {
    return nextSegmentBytes(this.#limits, this.#grownBytes, bodyBytes);
  }

  /**
   * Bytes of a ready spare for a batch of `bodyBytes`, at least as large as the next segment should
   * be.
   */
  findSpare(bodyBytes: number): number | undefined {
    return findSpare(this.#storage, this.nextSegmentBytes(bodyBytes), this.#limits.segmentBytesMax)?.bytes;
  }

  /**
   * Bytes of the largest ready spare that takes a batch of `bodyBytes`, for a disk without room for
   * a full-sized one.
   */
  findSmallerSpare(bodyBytes: number): number | undefined {
    const least = leastSegmentBytes(this.#limits, bodyBytes);
    return findLargestSpare(this.#storage, least, this.#limits.segmentBytesMax)?.bytes;
  }

  /** Bytes of the reserve, if it takes a batch of `bodyBytes`. */
  findReserve(bodyBytes: number): number | undefined {
    const reserve = findReserve(this.#storage);
    return reserve !== undefined && reserve.bytes >= segmentBytesFor(bodyBytes) ? reserve.bytes : undefined;
  }

  /**
   * Whether a batch of `bodyBytes` and a clean end fit into the current segment. Otherwise `roll`
   * first.
   */
  fits(bodyBytes: number): boolean {
    return this.#offset + batchBytes(bodyBytes) + batchBytes(0) <= this.#segmentBytes;
  }

  /**
   * Writes the records in `spans` as one batch and makes it durable. Returns its first sequence.
   * `bodyBytes` and `count` are those of all spans together.
   */
  append(spans: readonly Span[], bodyBytes: number, count: number): number {
    this.#write(spans, bodyBytes, count, 0);
    const firstSequence = this.#nextSequence;
    this.#nextSequence += count;
    return firstSequence;
  }

  /**
   * Removes the spares, or else the reserve, to give their room to a write that needs room of its
   * own. False without any.
   */
  dropBallast(): boolean {
    const spares = listSpares(this.#storage);
    const reserve = findReserve(this.#storage);
    const dropped = spares.length > 0 || reserve === undefined ? spares : [reserve];
    for (const { name } of dropped) this.#storage.remove(name);
    if (dropped.length > 0) this.#storage.syncDirectory();
    return dropped.length > 0;
  }

  /** Whether the directory still has the segment that is being written. */
  isInPlace(): boolean {
    return (this.#file as StorageFile).isNamed?.(segmentName(this.#segment)) ?? true;
  }

  /** Whether anything may still be written: no error has ended the log. */
  get isSound(): boolean {
    return !this.#isBroken;
  }

  /** Goes on in a new segment, made from the spare of `spareBytes` bytes. */
  roll(spareBytes: number): void {
    this.#mustBeSound();
    const previous = {
      segment: this.#segment,
      endOffset: this.#offset,
      lastSequence: this.#nextSequence - 1,
      chain: this.#chain,
    };
    const full = this.#file as StorageFile;
    const grownBytes = this.nextSegmentBytes(0);
    this.#begin(this.#segment + 1, previous, undefined, spareBytes);
    this.#grownBytes = grownBytes;
    full.close();
  }

  /** Marks the end as clean and gives unused space back. */
  close(): void {
    this.#write([], 0, 0, BATCH_CLEAN_END);
    const file = this.#file as StorageFile;
    file.truncate(this.#offset);
    this.#sync(file);
    file.close();
    this.#file = undefined;
    this.#isBroken = true;
  }

  /** Begins a segment behind `previous`. Until it has its name, nothing of this object changes. */
  #begin(segment: number, previous: SegmentEnd, tail: RecoveredLog["tail"], spareBytes: number): void {
    this.#isBroken = true;
    const temporary = `${segmentName(segment)}.tmp`;
    const isReused = takeSpare(this.#storage, spareBytes, temporary);
    const file = this.#storage.open(temporary, "write");
    const salt = randomBytes(8);
    const header = encodeSegmentHeader({
      logId: this.#logId,
      segment,
      epoch: this.#epoch,
      salt,
      baseSequence: tail?.header.firstSequence ?? this.#nextSequence,
      segmentBytes: spareBytes,
      batchBytesMax: Math.max(this.#limits.batchBytesMax, tail?.body.length ?? 0),
      recordBytesMax: this.#limits.recordBytesMax,
      kind: tail !== undefined ? KIND.recovered : previous.segment === 0 ? KIND.first : KIND.rolled,
      createdMs: this.#wallMs(),
      previous,
      recovered: {
        first: tail?.header.firstSequence ?? 0,
        last: tail === undefined ? 0 : tail.header.firstSequence + tail.header.count - 1,
      },
      flags: (isReused ? SEGMENT_REUSED : 0) | (this.#isSynced ? 0 : SEGMENT_UNSYNCED),
    });
    const seal = new BatchSeal(this.#logId, segment, salt);
    const parts: Uint8Array[] = [header.bytes];
    let { chain } = header;
    if (tail !== undefined) {
      const { bodyCrc, count, firstSequence } = tail.header;
      const batch = { bodyCrc, bodyBytes: tail.body.length, count, flags: BATCH_RECOVERED, firstSequence, chain };
      chain = this.#sealBatch(seal, SEGMENT_HEADER_BYTES, batch);
      parts.push(this.#header, tail.body, padding(tail.body.length));
    }
    try {
      this.#nameSegment(file, segment, parts, temporary);
    } catch (thrown) {
      file.close();
      throw thrown;
    }
    this.#file = file;
    this.#segment = segment;
    this.#seal = seal;
    this.#chain = chain;
    this.#segmentBytes = spareBytes;
    this.#offset = SEGMENT_HEADER_BYTES + (tail === undefined ? 0 : batchBytes(tail.body.length));
    this.#isBroken = false;
  }

  #nameSegment(file: StorageFile, segment: number, parts: readonly Uint8Array[], temporary: string): void {
    const name = segmentName(segment);
    // Lock before naming: an opener that finds LOCK free tries to lock the newest segment.
    if (file.tryLock?.() === false) throw takenError(name);
    try {
      writeFully(file, parts, 0);
    } catch (thrown) {
      this.#isBroken = !isDiskFull(thrown);
      this.#storage.remove(temporary);
      throw thrown;
    }
    this.#sync(file);
    try {
      renameNew(this.#storage, temporary, name);
    } catch (thrown) {
      throw (thrown as NodeJS.ErrnoException).code === "EEXIST" ? takenError(name) : thrown;
    }
    this.#storage.syncDirectory();
  }

  #write(spans: readonly Span[], bodyBytes: number, count: number, flags: number): void {
    this.#mustBeSound();
    invariant(this.#offset + batchBytes(bodyBytes) <= this.#segmentBytes, "a batch fits into its segment");
    this.#isBroken = true;
    let bodyCrc = 0;
    for (const span of spans) bodyCrc = crc32(span, bodyCrc);
    const batch = { bodyCrc, bodyBytes, count, flags, firstSequence: this.#nextSequence, chain: this.#chain };
    const chain = this.#sealBatch(this.#seal as BatchSeal, this.#offset, batch);
    const file = this.#file as StorageFile;
    try {
      writeFully(file, [this.#header, ...spans, padding(bodyBytes)], this.#offset);
    } catch (thrown) {
      this.#isBroken = !isDiskFull(thrown) || this.#isWritten(file, bodyBytes, bodyCrc);
      throw thrown;
    }
    this.#sync(file);
    this.#chain = chain;
    this.#offset += batchBytes(bodyBytes);
    this.#isBroken = false;
  }

  /**
   * Whether the batch is there although its write failed. Then nobody can say that it isn't stored.
   */
  #isWritten(file: StorageFile, bodyBytes: number, bodyCrc: number): boolean {
    const bytes = Buffer.alloc(BATCH_HEADER_BYTES + bodyBytes);
    if (readFully(file, bytes, bytes.length, this.#offset) < bytes.length) return false;
    const isHeaderThere = this.#header.equals(bytes.subarray(0, BATCH_HEADER_BYTES));
    return isHeaderThere && crc32(bytes.subarray(BATCH_HEADER_BYTES)) === bodyCrc;
  }

  #sync(file: StorageFile): void {
    if (this.#isSynced) file.sync();
  }

  /** Writes a batch header into `#header`; returns the chain value of the next batch. */
  #sealBatch(seal: BatchSeal, offset: number, batch: Omit<BatchHeader, SealedHere>): number {
    return seal.encode(this.#header, offset, {
      ...batch,
      durableSequence: batch.firstSequence - 1,
      timeMs: this.#wallMs(),
    });
  }

  #mustBeSound(): void {
    invariant(!this.#isBroken, "nothing is written after an error or after the end");
  }
}

type SealedHere = "crc" | "nextChain" | "durableSequence" | "timeMs";

function takenError(name: string): Error {
  return journalError("ERR_JOURNAL_LOCKED", `another process writes this log: it has ${name}`, {
    details: { file: name },
  });
}

function padding(bodyBytes: number): Buffer {
  return ZEROS.subarray(0, batchBytes(bodyBytes) - BATCH_HEADER_BYTES - bodyBytes);
}
