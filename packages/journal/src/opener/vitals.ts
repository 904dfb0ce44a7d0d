import type { StateName } from "./state.ts";

/** Figures of a running journal that are cheap to read, for frequent health checks. */
export interface JournalVitals {
  readonly state: StateName;
  /** Why it is poisoned: what failed, and the system's error; undefined otherwise. */
  readonly failure: { readonly step: string; readonly errno: string | undefined } | undefined;
  /** How long the running write and sync has taken so far, in ms; 0 while none runs. */
  readonly syncRunningMs: number;
  /** Whether records are refused now because the disk is full. */
  readonly isDiskFull: boolean;
  /** Whether the thread that prepares segments and writes marks runs; another one replaces it. */
  readonly isKeeperRunning: boolean;
  /** Places of old segments where the background has found damage. */
  readonly damaged: number;
}
