/** The type of a handler's `context.record`. */

export interface RecordSchedule {
  readonly name: string;
  /** Ms since 1970: the same at every delivery. */
  readonly dueAtMs: number;
  /** Number of due times since the schedule's last record that got no record: see `catchUp`. */
  readonly missed: number;
}

/** The record that a handler handles, as it sees it. */
export interface DeliveredRecord {
  /**
   * The same at every delivery of this record, and different from that of every record of any
   * journal: an idempotency key for systems downstream.
   */
  readonly id: string;
  /** The record's number in the journal: unique, the same at every delivery. */
  readonly sequence: number;
  readonly publishedAtMs: number;
  /** 1 for the first delivery; it counts on across restarts. */
  readonly attempt: number;
  /** How often the record was redriven as a dead letter; `attempt` began anew each time. */
  readonly redriven: number;
  /** The order key; undefined without. */
  readonly key: string | undefined;
  /** The sequence of the record that this one replays; undefined for a record of its own. */
  readonly replay: { readonly of: number } | undefined;
  /**
   * Whether this is a shadow replay (`Millrace.shadow`): the record was handled before, and the
   * handler's result and published records aren't kept.
   */
  readonly isShadow: boolean;
  /** The schedule that has published the record, and the due time; undefined without one. */
  readonly schedule: RecordSchedule | undefined;
  /**
   * The trace that the record belongs to, as a W3C `traceparent`, and its `tracestate`; undefined
   * without. Of a replay: the trace of the record that it replays.
   */
  readonly traceparent: string | undefined;
  readonly tracestate: string | undefined;
  /** The `headers` that the publisher passed. */
  readonly headers: unknown;
}
