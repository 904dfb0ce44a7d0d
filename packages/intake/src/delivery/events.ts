/** What delivery tells the world, and what it counts. */
import type { Verdict } from "../states/dedupe-window.ts";

/** What delivery tells: everything here was durable before. */
export interface DeliveryEvents {
  /** Whether anybody waits for a record to be finished. */
  readonly wantsFinished: boolean;
  /** The record is finished. */
  finished(origin: number): void;
  /** The record is dead; `history` is encoded. */
  dead(origin: number, history: Uint8Array): void;
  /** Nobody will handle the record: its time was over, or it was dropped by command. */
  expired(origin: number): void;
  /** A record with a key isn't the first. */
  judged(place: number, verdict: Verdict): void;
  /**
   * A record is to be handled in a process of its own; `Delivery.quarantined` is told what became
   * of it.
   */
  quarantine(origin: number, handler: string, header: Uint8Array, payload: Uint8Array): void;
}

/** How many attempts, and what came of them; for `stats()`. */
export interface DeliveryCounts {
  delivered: number;
  done: number;
  retried: number;
  dead: number;
  expired: number;
  duplicates: number;
}
