/** The segments of a log: which there are, where each begins, their headers. */
import { journalError } from "../errors.ts";
import { decodeSegmentHeader, SEGMENT_HEADER_BYTES, type SegmentHeader, segmentName, segmentOfName } from "./format.ts";
import { readFully, type Storage, type StorageFile } from "../storage/storage.ts";

/** The ids of the segments that are there, in order. */
export function segmentIds(storage: Storage): number[] {
  return storage
    .list()
    .map(segmentOfName)
    .filter((id) => id !== undefined)
    .toSorted((left, right) => left - right);
}

/** The header of a segment; undefined when the header is invalid or belongs to another name. */
export function readHeader(storage: Storage, name: string): SegmentHeader | undefined {
  return withFile(storage, name, (file) => {
    const bytes = Buffer.alloc(SEGMENT_HEADER_BYTES);
    readFully(file, bytes, SEGMENT_HEADER_BYTES, 0);
    const header = decodeSegmentHeader(bytes);
    if (header === "version") {
      throw journalError("ERR_JOURNAL_VERSION", `${name} has a format that this version can't read`, {
        details: { name },
      });
    }
    return header === "invalid" || header.segment !== segmentOfName(name) ? undefined : header;
  });
}

/**
 * As `readHeader`, beside a running journal. "gone" means that the keeper gave the segment up after
 * the caller had read its name.
 */
export function readHeaderIfThere(storage: Storage, name: string): SegmentHeader | "gone" | undefined {
  try {
    return readHeader(storage, name);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === "ENOENT") return "gone";
    throw thrown;
  }
}

/** Runs `use` with a file that is open for reading, and closes it. */
export function withFile<T>(storage: Storage, name: string, use: (file: StorageFile) => T): T {
  const file = storage.open(name, "read");
  try {
    return use(file);
  } finally {
    file.close();
  }
}

export interface SegmentPlace {
  readonly segment: number;
  readonly baseSequence: number;
  /** Bytes of its file. */
  readonly segmentBytes: number;
  /** When it was begun, ms since 1970. */
  readonly createdMs: number;
}

/** Where each segment begins; every header is read once. */
export class SegmentList {
  readonly #storage: Storage;
  readonly #known = new Map<number, SegmentPlace>();

  constructor(storage: Storage) {
    this.#storage = storage;
  }

  /** The segments that are there now, in order. */
  read(): SegmentPlace[] {
    const ids = segmentIds(this.#storage);
    for (const id of this.#known.keys()) if (!ids.includes(id)) this.#known.delete(id);
    return ids.flatMap((id) => {
      const known = this.#known.get(id) ?? this.#readOne(id);
      return known === undefined ? [] : [known];
    });
  }

  #readOne(segment: number): SegmentPlace | undefined {
    const header = readHeaderIfThere(this.#storage, segmentName(segment));
    if (header === undefined || header === "gone") return undefined;
    const { baseSequence, segmentBytes, createdMs } = header;
    const place = { segment, baseSequence, segmentBytes, createdMs };
    this.#known.set(segment, place);
    return place;
  }
}
