/**
 * Finds single records by sequence and by key, for the opener's thread.
 *
 * A question finds the segment in a list that is read only when the log has changed at one of its
 * ends, then the batch and the record (known-segment.ts). What was read is kept within a bound
 * (page-cache.ts).
 */
import { segmentName } from "../files/format.ts";
import { firstSegmentIn } from "../files/marks.ts";
import { readHeaderIfThere, segmentIds } from "../files/segments.ts";
import { isNotThere } from "../storage/not-there.ts";
import type { Storage } from "../storage/storage.ts";
import { BatchProver } from "./batch-pages.ts";
import { damaged } from "./damage.ts";
import { IndexLost } from "./key-index.ts";
import { KnownSegment, type SegmentTools, Unreadable } from "./known-segment.ts";
import { OpenFiles } from "./open-files.ts";
import { PageCache } from "./page-cache.ts";
import { keyHash } from "./places.ts";
import type { JournalRecord } from "./record.ts";

/** The ends of the log, now. */
export interface LogEnds {
  /** The first sequence that is still there. */
  first(): number;
  /** Everything up to this sequence is durable. */
  durable(): number;
  /** Id of the segment that is being written. */
  newestSegment(): number;
}

export class Lookup {
  readonly #log: LogEnds;
  readonly #tools: SegmentTools;
  readonly #known = new Map<number, KnownSegment>();
  /** The same in order, and the ends of the log when it was listed. */
  #inOrder: readonly KnownSegment[] = [];
  /** The ids that were listed, also of segments without a valid header. */
  #ids: readonly number[] = [];
  #newestThen = -1;
  #firstThen = -1;

  /** `cacheBytes`: what may be kept between two questions. */
  constructor(storage: Storage, log: LogEnds, cacheBytes: number) {
    this.#log = log;
    const files = new OpenFiles(storage);
    this.#tools = { storage, files, cache: new PageCache(files, cacheBytes), prover: new BatchProver() };
  }

  /**
   * The record with this sequence; undefined when it was given up, or isn't durable yet. Throws
   * `ERR_JOURNAL_DAMAGED` when it must be there and can't be read.
   */
  get(sequence: number): JournalRecord | undefined {
    if (!Number.isInteger(sequence) || sequence < this.#log.first() || sequence > this.#log.durable()) return undefined;
    return this.#again(() => this.#get(sequence));
  }

  /**
   * The newest record with this key. Throws `ERR_JOURNAL_DAMAGED` when a record that can't be read
   * may be a newer one.
   */
  find(key: Uint8Array): JournalRecord | undefined {
    const durable = this.#log.durable();
    return this.#again(() => this.#find(key, durable));
  }

  /**
   * The log was changed from its front: what was removed gives its space on the disk back only when
   * it isn't open any more.
   */
  forget(): void {
    this.#newestThen = -1;
    this.#tools.files.closeAll();
    for (const segment of this.#known.values()) segment.forgetIndex();
  }

  close(): void {
    for (const segment of this.#known.values()) segment.close();
    this.#known.clear();
    this.#inOrder = [];
    this.#newestThen = -1;
    this.#tools.files.closeAll();
  }

  #get(sequence: number): JournalRecord | undefined {
    const segments = this.#refresh();
    // An opening may have repeated a segment's last batch in the next segment; the newest copy
    // counts.
    let low = 0;
    let high = segments.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      if ((segments[middle] as KnownSegment).header.baseSequence <= sequence) low = middle + 1;
      else high = middle - 1;
    }
    const segment = segments[high];
    if (segment === undefined) throw this.#lost((segments[0]?.header.segment ?? this.#newestId() + 1) - 1, sequence);
    return segment.record(sequence, high === segments.length - 1);
  }

  #find(key: Uint8Array, durable: number): JournalRecord | undefined {
    const segments = this.#refresh();
    const hash = keyHash(key);
    const first = this.#log.first();
    let last = durable;
    let id = this.#newestId();
    for (let at = segments.length - 1; last >= first; at -= 1, id -= 1) {
      const segment = segments[at];
      // One that is missing may have a newer record with this key than all before it.
      if (segment?.header.segment !== id) throw this.#lost(id, last);
      const isNewest = at === segments.length - 1;
      const keys = segment.keys(last, isNewest);
      for (let place = keys.newest(hash); place >= 0; place = keys.older(place)) {
        const sequence = keys.sequenceAt(place);
        // An opening has repeated the records above in the next segment.
        if (sequence > last) continue;
        const record = segment.record(sequence, isNewest);
        if (record.key.equals(key)) return record;
      }
      last = Math.min(last, segment.header.baseSequence - 1);
    }
    return undefined;
  }

  /** The segments with a valid header that are there, in order. */
  #refresh(): readonly KnownSegment[] {
    const newest = this.#log.newestSegment();
    const first = this.#log.first();
    if (newest === this.#newestThen && first === this.#firstThen) return this.#inOrder;
    const { storage } = this.#tools;
    const ids = segmentIds(storage);
    this.#ids = ids;
    for (const [id, segment] of this.#known) {
      if (ids.includes(id)) continue;
      segment.close();
      this.#known.delete(id);
    }
    this.#inOrder = ids.flatMap((id) => {
      const known = this.#known.get(id);
      if (known !== undefined) return [known];
      const header = readHeaderIfThere(storage, segmentName(id));
      if (header === undefined || header === "gone") return [];
      const fresh = new KnownSegment(header, this.#tools);
      this.#known.set(id, fresh);
      return [fresh];
    });
    this.#newestThen = newest;
    this.#firstThen = first;
    return this.#inOrder;
  }

  /** The log has a segment with this id: it gets its name before the writer tells of it. */
  #newestId(): number {
    return Math.max(this.#newestThen, this.#ids.at(-1) ?? 0);
  }

  #lost(segment: number, sequence: number): Unreadable {
    const what = this.#ids.includes(segment) ? "the segment's header is invalid" : "the segment is missing";
    return new Unreadable(segment, 0, what, sequence);
  }

  /**
   * What `look` gives; undefined when what can't be read was given up meanwhile, and with it all
   * that comes before it. Looks again when a segment or an index was removed between the listing
   * and the opening of its file, or isn't what it was.
   */
  #again<T>(look: () => T): T | undefined {
    // Ends: each further turn means that one more of the known segments or indexes has gone.
    for (let left = Number.POSITIVE_INFINITY; ; left -= 1) {
      try {
        return look();
      } catch (thrown) {
        if (thrown instanceof Unreadable && this.#isGivenUp(thrown.segment)) return undefined;
        if (left <= 0 || !this.#hasChanged(thrown)) throw thrown instanceof Unreadable ? damageOf(thrown) : thrown;
        left = Math.min(left, 2 * this.#inOrder.length + 1);
        this.forget();
      }
    }
  }

  /** Whether the log, and not damage, explains what a look has met. */
  #hasChanged(thrown: unknown): boolean {
    if (!(thrown instanceof Unreadable)) return thrown instanceof IndexLost || isNotThere(thrown);
    // A segment was given up, and its file may be another's by now; or one was begun of which the
    // writer hasn't told yet.
    const ids = segmentIds(this.#tools.storage);
    return ids.length !== this.#ids.length || ids.some((id, at) => id !== this.#ids[at]);
  }

  /** Marks say so before anything happens to the segment's file. */
  #isGivenUp(segment: number): boolean {
    try {
      return firstSegmentIn(this.#tools.storage) > segment;
    } catch {
      // What couldn't be read is told instead.
      return false;
    }
  }
}

function damageOf({ segment, offset, message, sequence }: Unreadable): Error {
  const what = `${message}, where sequence ${sequence} must be`;
  return damaged(segmentName(segment), offset, what, { firstSequence: sequence });
}
