/** The events and the counts of delivery. */
import type { Verdict } from "../states/dedupe-window.ts";

/** A handler kept failing and rests, is tried with one record, or works again. */
export interface BreakerEvent {
  readonly handler: string;
  /** "open": nothing is handed out. "halfOpen": one record is, to see. "closed": it works. */
  readonly state: "open" | "halfOpen" | "closed";
  /** First attempts that have failed in a row. */
  readonly failures: number;
  /** How long it rests, ms; 0 unless it is open. */
  readonly restMs: number;
}

/** Records wait for a handler that the module doesn't export. Once for each handler and opening. */
export interface HandlerMissingEvent {
  readonly handler: string;
}

/**
 * Idempotency keys were forgotten before their time, because there were more than `keysMax`: a
 * record that repeats one is handled again. At most once a minute.
 */
export interface KeysEvictedEvent {
  /** Since the event before. */
  readonly count: number;
  readonly keysMax: number;
  readonly forMs: number;
}

export type DeliveryEvent =
  | ({ readonly name: "breaker" } & BreakerEvent)
  | ({ readonly name: "handlerMissing" } & HandlerMissingEvent)
  | ({ readonly name: "keysEvicted" } & KeysEvictedEvent);

/** The events of delivery: everything here was durable before. */
export interface DeliveryEvents {
  /** Whether anybody waits for a record to be finished. */
  readonly wantsFinished: boolean;
  /** The record is finished. */
  finished(origin: number): void;
  /** The record is dead; `history` is encoded. */
  dead(origin: number, history: Uint8Array): void;
  /** Nobody will handle the record: its time was over, or it was dropped by command. */
  expired(origin: number): void;
  /** A record isn't delivered; `isAsked`: its publisher asks why. */
  judged(place: number, verdict: Verdict, isAsked: boolean): void;
  /**
   * A record is to be handled in a process of its own, within `timeoutMs`; its end goes to
   * `Delivery.quarantined`.
   */
  quarantine(origin: number, handler: string, header: Uint8Array, payload: Uint8Array, timeoutMs: number): void;
  /** Something that users may want to know. */
  told(event: DeliveryEvent): void;
}

/** Numbers of attempts, and of their outcomes; for `stats()`. */
export interface DeliveryCounts {
  delivered: number;
  done: number;
  retried: number;
  dead: number;
  expired: number;
  duplicates: number;
}
