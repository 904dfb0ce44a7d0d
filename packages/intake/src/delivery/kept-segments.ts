/**
 * Segments that are kept although nobody needs them any more: for a time, or up to a number of
 * bytes.
 *
 * A segment's time begins when the next one is begun. While the process runs it is measured by a
 * clock that nobody sets: a clock that is set gives nothing up too early. An opening reads the
 * times in the headers of the segments by the wall clock. A segment whose time lies in the future
 * then counts from the opening.
 */
import type { Clock } from "./ports.ts";

/** Whole segments are given up when either limit is passed. */
export interface RetainTerms {
  readonly forMs: number;
  /** Of all segments, those with unfinished records as well. */
  readonly bytesMax: number;
}

/** Nothing stays that isn't needed. */
export const NOTHING_KEPT: RetainTerms = { forMs: 0, bytesMax: 0 };

export interface SegmentFacts {
  readonly baseSequence: number;
  readonly segmentBytes: number;
  /** Ms since 1970. */
  readonly createdMs: number;
}

export class KeptSegments {
  readonly #terms: RetainTerms;
  readonly #clock: Clock;
  /** By the first sequence of a segment, when it was begun, by the clock that only grows. */
  readonly #begunAt = new Map<number, number>();

  /** `segments`: those that the opening has found. */
  constructor(terms: RetainTerms, clock: Clock, segments: readonly SegmentFacts[]) {
    this.#terms = terms;
    this.#clock = clock;
    const [now, wall] = [clock.now(), clock.wall()];
    for (const { baseSequence, createdMs } of segments) {
      // A repair may not know the time.
      this.#begunAt.set(baseSequence, createdMs === 0 ? now : Math.min(now, now - (wall - createdMs)));
    }
  }

  /** Index of the first segment that is kept; the last one always is. */
  first(segments: readonly SegmentFacts[]): number {
    this.#learn(segments);
    return Math.max(this.#firstByTime(segments), this.#firstByBytes(segments));
  }

  #learn(segments: readonly SegmentFacts[]): void {
    const now = this.#clock.now();
    for (const { baseSequence } of segments) if (!this.#begunAt.has(baseSequence)) this.#begunAt.set(baseSequence, now);
    const first = segments[0]?.baseSequence ?? 0;
    for (const baseSequence of this.#begunAt.keys()) if (baseSequence < first) this.#begunAt.delete(baseSequence);
  }

  #firstByTime(segments: readonly SegmentFacts[]): number {
    const oldest = this.#clock.now() - this.#terms.forMs;
    const last = Math.max(0, segments.length - 1);
    for (let index = 0; index < last; index += 1) {
      const { baseSequence } = segments[index + 1] as SegmentFacts;
      if ((this.#begunAt.get(baseSequence) as number) > oldest) return index;
    }
    return last;
  }

  #firstByBytes(segments: readonly SegmentFacts[]): number {
    let bytes = 0;
    for (let index = segments.length - 1; index >= 0; index -= 1) {
      bytes += (segments[index] as SegmentFacts).segmentBytes;
      if (bytes > this.#terms.bytesMax) return Math.min(index + 1, segments.length - 1);
    }
    return 0;
  }
}
