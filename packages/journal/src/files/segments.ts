/** Which segments there are and where each begins; headers are read once. */
import { segmentName } from "./format.ts";
import { readHeaderIfThere } from "../read/scan.ts";
import type { Storage } from "../storage/storage.ts";
import { segmentIds } from "../keeper/truncate.ts";

export interface SegmentPlace {
  readonly segment: number;
  readonly baseSequence: number;
}

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
    const place = { segment, baseSequence: header.baseSequence };
    this.#known.set(segment, place);
    return place;
  }
}
