/**
 * Appends batches to the log, each durable when `append` returns. Knows nothing of threads or rings.
 *
 * What each step promises if the power goes right after it:
 *
 *   a spare was filled and synced      nothing of the log has changed
 *   header (and, after a recovery, the last batch again) written to it and synced   nothing yet: it has no segment's name
 *   renamed, directory synced          the segment is part of the log; what it repeats is durable twice
 *   batch written                      it is there whole, or torn and not acknowledged
 *   batch synced                       it is there
 *
 * Any error is final for this object: nothing is written afterwards, because after a failed sync the kernel may call pages
 * clean that never reached the disk (docs/adr/0005-never-retry-a-sync.md).
 */
import { randomBytes } from "node:crypto";
import { invariant } from "@millrace/base";
import { crc32 } from "@millrace/codec";
import {
  ALIGNMENT,
  BATCH_CLEAN_END,
  BATCH_HEADER_BYTES,
  BATCH_RECOVERED,
  batchBytes,
  BatchSeal,
  encodeSegmentHeader,
  KIND,
  SEGMENT_HEADER_BYTES,
  SEGMENT_REUSED,
  SEGMENT_UNSYNCED,
  type SegmentHeader,
  segmentName,
} from "../files/format.ts";
import { type JournalLimits, nextSegmentBytes, segmentBytesFor } from "../files/limits.ts";
import type { RecoveredLog } from "./recovery.ts";
import { findReserve, findSpare, takeSpare } from "../files/spare.ts";
import { type Storage, type StorageFile, writeFully } from "../storage/storage.ts";

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
  #offset = 0;
  #chain: number;
  #nextSequence: number;
  #isBroken = false;

  /**
   * Begins a new segment behind what was recovered; `spareBytes` is the size of the spare to use. Without `isSynced` nothing is ever
   * durable: for comparisons and tests.
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
    this.#begin(log.previous, log.tail, spareBytes);
  }

  get nextSequence(): number {
    return this.#nextSequence;
  }

  get segment(): number {
    return this.#segment;
  }

  /** Bytes of the spare that `roll` will need for a batch of `bodyBytes`. */
  nextSegmentBytes(bodyBytes: number): number {
    return nextSegmentBytes(this.#limits, this.#segmentBytes, bodyBytes);
  }

  /** Bytes of a ready spare that takes a batch of `bodyBytes` and is as large as the next segment should be. */
  findSpare(bodyBytes: number): number | undefined {
    return findSpare(this.#storage, this.nextSegmentBytes(bodyBytes), this.#limits.segmentBytesMax)?.bytes;
  }

  /** Bytes of the reserve, if it takes a batch of `bodyBytes`. */
  findReserve(bodyBytes: number): number | undefined {
    const reserve = findReserve(this.#storage);
    return reserve !== undefined && reserve.bytes >= segmentBytesFor(bodyBytes) ? reserve.bytes : undefined;
  }

  /** Whether a batch of `bodyBytes` fits into the current segment, with room for a clean end; otherwise `roll` first. */
  fits(bodyBytes: number): boolean {
    return this.#offset + batchBytes(bodyBytes) + batchBytes(0) <= this.#segmentBytes;
  }

  /**
   * Writes the records in `spans` as one batch and makes it durable; returns its first sequence. `bodyBytes` and `count` are
   * those of all spans together.
   */
  append(spans: readonly Span[], bodyBytes: number, count: number): number {
    this.#write(spans, bodyBytes, count, 0);
    const firstSequence = this.#nextSequence;
    this.#nextSequence += count;
    return firstSequence;
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
    (this.#file as StorageFile).close();
    this.#file = undefined;
    this.#segment += 1;
    this.#begin(previous, undefined, spareBytes);
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

  #begin(previous: SegmentHeader["previous"], tail: RecoveredLog["tail"], spareBytes: number): void {
    this.#isBroken = true;
    const temporary = `${segmentName(this.#segment)}.tmp`;
    const isReused = takeSpare(this.#storage, spareBytes, temporary);
    const file = this.#storage.open(temporary, "write");
    const salt = randomBytes(8);
    const { bytes, chain } = encodeSegmentHeader({
      logId: this.#logId,
      segment: this.#segment,
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
    this.#seal = new BatchSeal(this.#logId, this.#segment, salt);
    this.#chain = chain;
    this.#segmentBytes = spareBytes;
    this.#offset = SEGMENT_HEADER_BYTES;
    const parts: Uint8Array[] = [bytes];
    if (tail !== undefined) {
      this.#sealBatch(
        tail.header.bodyCrc,
        tail.body.length,
        tail.header.count,
        BATCH_RECOVERED,
        tail.header.firstSequence,
      );
      parts.push(this.#header, tail.body, padding(tail.body.length));
    }
    writeFully(file, parts, 0);
    this.#sync(file);
    this.#storage.rename(temporary, segmentName(this.#segment));
    this.#storage.syncDirectory();
    this.#file = file;
    if (tail !== undefined) this.#offset += batchBytes(tail.body.length);
    this.#isBroken = false;
  }

  #write(spans: readonly Span[], bodyBytes: number, count: number, flags: number): void {
    this.#mustBeSound();
    invariant(this.#offset + batchBytes(bodyBytes) <= this.#segmentBytes, "a batch fits into its segment");
    this.#isBroken = true;
    let bodyCrc = 0;
    for (const span of spans) bodyCrc = crc32(span, bodyCrc);
    this.#sealBatch(bodyCrc, bodyBytes, count, flags, this.#nextSequence);
    const file = this.#file as StorageFile;
    writeFully(file, [this.#header, ...spans, padding(bodyBytes)], this.#offset);
    this.#sync(file);
    this.#offset += batchBytes(bodyBytes);
    this.#isBroken = false;
  }

  #sync(file: StorageFile): void {
    if (this.#isSynced) file.sync();
  }

  #sealBatch(bodyCrc: number, bodyBytes: number, count: number, flags: number, firstSequence: number): void {
    this.#chain = (this.#seal as BatchSeal).encode(this.#header, this.#offset, {
      bodyCrc,
      bodyBytes,
      firstSequence,
      count,
      flags,
      durableSequence: firstSequence - 1,
      chain: this.#chain,
      timeMs: this.#wallMs(),
    });
  }

  #mustBeSound(): void {
    invariant(!this.#isBroken, "nothing is written after an error or after the end");
  }
}

function padding(bodyBytes: number): Buffer {
  return ZEROS.subarray(0, batchBytes(bodyBytes) - BATCH_HEADER_BYTES - bodyBytes);
}
