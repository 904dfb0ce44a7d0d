/** The writer thread's counters, as its opener reads them. */
import { performance } from "@millrace/base";
import { Histogram } from "@millrace/metrics";
import type { JournalMemory } from "../memory/control.ts";
import { type WriterStats, writerStats } from "../memory/stats.ts";
import type { JournalStats } from "./stats.ts";

/** The part of the journal's stats that the writer counts. */
type Written = Pick<
  JournalStats,
  | "durableSequence"
  | "batches"
  | "records"
  | "bytes"
  | "segment"
  | "syncMicroseconds"
  | "syncRunningMs"
  | "refused"
  | "spareWaits"
>;

export class Figures {
  readonly #counts: WriterStats;
  /** Write and sync of a batch in µs, and how many records it has. */
  readonly histograms: { readonly syncMicroseconds: Histogram; readonly batchRecords: Histogram };

  constructor(memory: JournalMemory) {
    this.#counts = writerStats(memory.stats);
    this.histograms = {
      syncMicroseconds: new Histogram(memory.syncHistogram),
      batchRecords: new Histogram(memory.batchHistogram),
    };
  }

  get durableSequence(): number {
    return this.#counts.get("durableSequence");
  }

  /** Id of the segment that is being written; set before anything in the segment is durable. */
  get segment(): number {
    return this.#counts.get("segment");
  }

  /** How long the running write and sync has taken so far, in ms; 0 while none runs. */
  get syncRunningMs(): number {
    const startedMs = this.#counts.get("syncStartedMs");
    return startedMs === 0 ? 0 : performance.timeOrigin + performance.now() - startedMs;
  }

  written(): Written {
    const { durableSequence, batches, records, bytes, segment, refused, spareWaits } = this.#counts.read();
    const syncMicroseconds = this.histograms.syncMicroseconds.summary();
    const { syncRunningMs } = this;
    return {
      durableSequence,
      batches,
      records,
      bytes,
      segment,
      syncMicroseconds,
      syncRunningMs,
      refused,
      spareWaits,
    };
  }
}
