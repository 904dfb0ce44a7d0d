/**
 * The segments of a log that may be damaged: the headers that are valid, and substitutes for the
 * others.
 *
 * A segment without a valid header can be read all the same. Any valid batch in it tells the salt,
 * and the other fields follow from the batches and from a neighbour's header. The checksum of a
 * batch includes the log's id: that of `marks` or of most headers, or else the bytes in the damaged
 * header, if a batch is valid for them.
 */
import { randomBytes } from "node:crypto";
import {
  ALIGNMENT,
  BatchSeal,
  KIND,
  SEGMENT_HEADER_BYTES,
  SEGMENT_REPAIRED,
  SEGMENT_REUSED,
  type SegmentHeader,
  segmentName,
} from "../files/format.ts";
import { checkpointFiles } from "../files/checkpoint.ts";
import type { Marks } from "../files/marks.ts";
import { readHeader, segmentIds, withFile } from "../files/segments.ts";
import { firstBatch, type PlacedBatch } from "../read/behind-end.ts";
import { SegmentReader } from "../read/segment-reader.ts";
import { hasCheckpoint, readWitnesses, type Witnesses } from "../read/witnesses.ts";
import { readFully, type Storage, type StorageFile } from "../storage/storage.ts";

/** Limits of a segment without any neighbour: the largest that the options of a journal allow. */
const BATCH_BYTES_MAX: number = 2 ** 28;
const RECORD_BYTES_MAX: number = 2 ** 27;
const NO_SALT: Buffer = Buffer.alloc(8);
/** Where a segment's header holds the log's id. */
const ID_START = 16;
const ID_END = 32;

/**
 * A batch in a segment without a header, and a header with which the segment can be read from
 * there.
 */
export interface HeaderlessBatch {
  readonly batch: PlacedBatch;
  readonly header: SegmentHeader;
}

export class LogParts {
  readonly #storage: Storage;
  readonly #headers: ReadonlyMap<number, SegmentHeader>;
  readonly #witnesses: Witnesses;
  #logId: Buffer | undefined;
  /** Undefined when the file is missing or invalid, or belongs to another log. */
  readonly marks: Marks | undefined;
  /** Whether `marks` belongs to another log. */
  readonly hasForeignMarks: boolean;
  /** The segments that are there, in order, without those that were given up. */
  readonly ids: readonly number[];
  /** The first segment that belongs to the log, whether or not it is there. */
  readonly first: number;

  constructor(storage: Storage) {
    this.#storage = storage;
    const witnesses = readWitnesses(storage);
    const { marks } = witnesses;
    const all = segmentIds(storage);
    const headers = all.map((id) => readHeader(storage, segmentName(id))).filter((header) => header !== undefined);
    this.hasForeignMarks =
      marks !== undefined && headers.length > 0 && headers.every(({ logId }) => !logId.equals(marks.logId));
    this.marks = this.hasForeignMarks ? undefined : marks;
    const logId = this.marks?.logId ?? mostCommon(headers.map((header) => header.logId));
    this.#logId = logId;
    const checkpoints = witnesses.checkpoints.filter((page) => logId === undefined || page.logId.equals(logId));
    this.#witnesses = { ...witnesses, marks: this.marks, checkpoints };
    const first = this.marks?.firstSegment;
    this.ids = all.filter((id) => id >= (first ?? 0));
    this.first = Math.min(first ?? this.ids[0] ?? 1, this.ids[0] ?? Number.MAX_SAFE_INTEGER);
    // Without any header the damaged ones may still hold the id; a valid batch then proves it.
    if (logId === undefined) for (const id of this.ids) this.#logId ??= this.#provenId(id);
    this.#headers = new Map(
      headers
        .filter((header) => header.segment >= this.first && logId?.equals(header.logId) === true)
        .map((header) => [header.segment, header]),
    );
  }

  /** The last segment that is there; the one before the first when there is none. */
  get last(): number {
    return this.ids.at(-1) ?? this.first - 1;
  }

  /**
   * Everything up to this sequence was durable, as marks and checkpoints of this log say; 0 without
   * any.
   */
  get durable(): number {
    const { marks, checkpoints } = this.#witnesses;
    return Math.max(marks?.durableSequence ?? 0, ...checkpoints.map(({ from }) => from - 1));
  }

  /**
   * Whether a log that begins with `firstSequence` has lost its checkpoint: none is whole, and
   * marks name one; or where the front of the log is gone, a file of one is there.
   */
  lacksCheckpoint(firstSequence: number): boolean {
    const isNamed = (this.marks?.checkpoint ?? 0) > 0;
    const isLeft = firstSequence > 1 && checkpointFiles(this.#storage).length > 0;
    return (isNamed || isLeft) && !hasCheckpoint(this.#storage, this.#witnesses, firstSequence);
  }

  /** The header of a segment; undefined when it is invalid, missing, or another log's. */
  header(id: number): SegmentHeader | undefined {
    return this.#headers.get(id);
  }

  /**
   * The first batch of a segment without a header that is valid with its body; undefined when the
   * file is missing or has none.
   */
  firstBatchOf(id: number): HeaderlessBatch | undefined {
    if (!this.ids.includes(id)) return undefined;
    return withFile(this.#storage, segmentName(id), (file) => {
      // Ends: each turn begins behind the batch that the last one found.
      for (let from = SEGMENT_HEADER_BYTES; ;) {
        const batch = anyBatch(file, this.#logId, id, from);
        if (batch === undefined) return undefined;
        const { firstSequence } = batch.header;
        const header = this.headerFor(id, batch.salt, firstSequence, file.size());
        const reader = new SegmentReader(file, header);
        if (reader.startAt(batch.offset, firstSequence) && reader.next()) return { batch, header };
        from = batch.offset + ALIGNMENT;
      }
    });
  }

  /** Whether there is a valid batch header in a segment, whatever became of the batch's body. */
  holdsBatch(id: number): boolean {
    if (!this.ids.includes(id)) return false;
    return withFile(this.#storage, segmentName(id), (file) => {
      return anyBatch(file, this.#logId, id, SEGMENT_HEADER_BYTES) !== undefined;
    });
  }

  /** The id in the damaged header of a segment, if a batch of it is valid for that id. */
  #provenId(id: number): Buffer | undefined {
    return withFile(this.#storage, segmentName(id), (file) => {
      const logId = idIn(file);
      return anyBatch(file, logId, id, SEGMENT_HEADER_BYTES) === undefined ? undefined : logId;
    });
  }

  /** A header for a segment that has none; the fields that nothing tells are a neighbour's. */
  headerFor(segment: number, salt: Buffer, baseSequence: number, segmentBytes: number): SegmentHeader {
    const neighbours = [...this.#headers.values()];
    const neighbour =
      this.#headers.get(segment - 1) ?? neighbours.find((header) => header.segment > segment) ?? neighbours.at(-1);
    return {
      epoch: 1,
      batchBytesMax: BATCH_BYTES_MAX,
      recordBytesMax: RECORD_BYTES_MAX,
      createdMs: 0,
      ...neighbour,
      logId: this.#logId ?? randomBytes(ID_END - ID_START),
      segment,
      salt,
      baseSequence,
      segmentBytes,
      kind: KIND.rolled,
      previous: { segment: segment - 1, endOffset: 0, lastSequence: baseSequence - 1, chain: 0 },
      recovered: { first: 0, last: 0 },
      // Nothing tells whether the file had been used before: leftovers may lie behind its end.
      flags: SEGMENT_REPAIRED | SEGMENT_REUSED,
      chain: 0,
    };
  }
}

/** The first batch at or after `from` whose header is valid for the log's id, whatever its salt. */
function anyBatch(
  file: StorageFile,
  logId: Buffer | undefined,
  segment: number,
  from: number,
): PlacedBatch | undefined {
  return logId && firstBatch(file, new BatchSeal(logId, segment, NO_SALT), from, true);
}

/** The log's id as a damaged header has it. */
function idIn(file: StorageFile): Buffer {
  const bytes = Buffer.alloc(ID_END);
  readFully(file, bytes, ID_END, 0);
  return bytes.subarray(ID_START);
}

function mostCommon(ids: readonly Buffer[]): Buffer | undefined {
  const counts = new Map<string, number>();
  for (const id of ids) counts.set(id.toString("hex"), (counts.get(id.toString("hex")) ?? 0) + 1);
  const [best] = [...counts].toSorted(([, left], [, right]) => right - left);
  return best === undefined ? undefined : Buffer.from(best[0], "hex");
}
