/** The figures of a journal: a plain value. */
import type { HistogramSummary } from "@millrace/metrics";
import type { DamageReport } from "../keeper/scrub.ts";
import type { StorageKind } from "../storage/storage-guard.ts";
import type { RecoverySummary } from "../writer/recovery.ts";
import type { StateName } from "./state.ts";

export interface JournalStats {
  readonly state: StateName;
  readonly durableSequence: number;
  readonly batches: number;
  readonly records: number;
  readonly bytes: number;
  readonly segment: number;
  /** Write and sync of a batch, in µs. */
  readonly syncMicroseconds: HistogramSummary;
  /**
   * How long the running write and sync has taken so far, in ms; 0 while none runs. It shows a
   * stuck disk.
   */
  readonly syncRunningMs: number;
  /** Appends that are not yet durable. */
  readonly outstanding: number;
  /** Whether records are refused now because the disk is full, and how many were. */
  readonly isDiskFull: boolean;
  readonly refused: number;
  /** How often the writer had to wait for a segment to be prepared. */
  readonly spareWaits: number;
  /** False with the option `sync: "none"`: nothing is durable, although it is called so. UNSAFE. */
  readonly isSynced: boolean;
  readonly storage: StorageKind;
  /**
   * Segments whose bodies the keeper has yet to read in the background, and the damage found there.
   */
  readonly unverifiedSegments: number;
  readonly damage: readonly DamageReport[];
  /**
   * The oldest sequence that a reader of this journal still needs. The journal gives up nothing
   * from there on. Undefined without readers.
   */
  readonly pinnedSequence: number | undefined;
  readonly keeperRestarts: number;
  readonly recovery: RecoverySummary;
}
