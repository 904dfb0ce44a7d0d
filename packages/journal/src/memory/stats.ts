/** The writer thread's counters; any thread may read them. */
import { counterPlaces, Counters, countersBytes } from "@millrace/metrics";

const NAMES = [
  "durableSequence",
  "batches",
  "records",
  "bytes",
  "segment",
  /** Bytes of the segment that is being written, and those of them that are left. */
  "segmentBytes",
  "segmentLeft",
  /**
   * `performance.timeOrigin + performance.now()` at the start of the running sync; 0 without one.
   */
  "syncStartedMs",
  /** How often the writer had to wait for a spare. */
  "spareWaits",
  /** Records that were refused because the disk was full. */
  "refused",
] as const;
const PLACES = counterPlaces(NAMES);

export type WriterStats = Counters<(typeof NAMES)[number]>;

export const WRITER_STATS_BYTES: number = countersBytes(PLACES);

export function writerStats(buffer: SharedArrayBuffer): WriterStats {
  return new Counters(PLACES, buffer);
}
