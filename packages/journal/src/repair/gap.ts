/** A piece of a log that can't be read, as the survey finds it and the repair fills it. */
import type { BatchHeader, SegmentEnd } from "../files/format.ts";

/** Where the readable log continues behind a gap. */
export interface GapEnd {
  readonly segment: number;
  readonly offset: number;
  readonly nextSequence: number;
  /**
   * Chain value that the batch there names, or the next segment's header for the end of this one.
   */
  readonly chain: number;
  /** The segment's salt, where only the batch that was found there tells it. */
  readonly salt: Buffer | undefined;
}

/** A batch that an opening had repeated, read at its old place in the segment before. */
export interface OldCopy {
  readonly header: BatchHeader;
  readonly body: Buffer;
}

export interface Gap {
  readonly file: string;
  readonly segment: number;
  readonly reason: string;
  /** Where it begins in the file. */
  readonly offset: number;
  /** The sequences that are lost; none when `lastSequence` is below `firstSequence`. */
  readonly firstSequence: number;
  readonly lastSequence: number;
  /** Where the readable log ends; `endOffset` is 0 when the log begins with this gap. */
  readonly before: SegmentEnd;
  /** Where it continues; undefined when nothing follows. */
  readonly after: GapEnd | undefined;
  /** Segments within the gap of which nothing is readable, in order; some may not be there. */
  readonly hollow: readonly number[];
  /** The lost batch itself, when its old copy is intact: then no record is lost. */
  readonly copy: OldCopy | undefined;
}
