/** The findings of a shadow replay: counts, differences, latencies. */
import { Histogram } from "@millrace/metrics";
import type { ReasonName } from "../format/state-records.ts";
import { toPlain } from "../letters/plain.ts";
import type { ComparedEnd, Difference, DifferenceKind, ShadowPublished } from "./compare.ts";
import type { Unended } from "./finished.ts";

/** How a record ended, as it may be seen. */
export interface ShownEnd {
  /** Why it failed; left out when its handler has returned. */
  readonly reason?: ReasonName;
  /** Left out where it wasn't recorded. */
  readonly result?: unknown;
  readonly error?: unknown;
  readonly published: readonly ShadowPublished[];
  /** How long the handler ran; left out where nobody knows. */
  readonly ranMs?: number;
}

export interface ShadowDifference extends Difference {
  readonly sequence: number;
  /** The handler that got the record now. */
  readonly handler: string;
  readonly key: string | undefined;
  /** The attempt that is compared. */
  readonly attempt: number;
  readonly payload: unknown;
  readonly recorded: ShownEnd;
  /** Undefined when there is no such handler. */
  readonly shadow: ShownEnd | undefined;
}

/** Ms. */
export interface Latencies {
  readonly count: number;
  readonly mean: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
}

export interface ShadowHandlerReport {
  readonly records: number;
  readonly different: number;
  /** How long handlers ran: in the recorded attempts that say so, and now. */
  readonly recordedMs: Latencies;
  readonly shadowMs: Latencies;
}

export interface ShadowReport extends Readonly<Unended> {
  /** Records that were compared. */
  readonly records: number;
  readonly same: number;
  readonly different: number;
  /**
   * Of all compared records, those whose result or error wasn't recorded, or can't be. Of these
   * only the published records and the failure were compared.
   */
  readonly unrecorded: number;
  readonly kinds: Readonly<Partial<Record<DifferenceKind, number>>>;
  /** The first ones, up to `differencesMax`. Payloads and ends are shown as `redact` says. */
  readonly differences: readonly ShadowDifference[];
  readonly handlers: Readonly<Record<string, ShadowHandlerReport>>;
}

const MICROSECONDS = 1000;

class HandlerCounts {
  records = 0;
  different = 0;
  readonly recorded = new Histogram();
  readonly shadow = new Histogram();
}

function latenciesOf(histogram: Histogram): Latencies {
  const { count, mean, p50, p90, p99, max } = histogram.summary();
  const inMs = (microseconds: number): number => microseconds / MICROSECONDS;
  return { count, mean: inMs(mean), p50: inMs(p50), p90: inMs(p90), p99: inMs(p99), max: inMs(max) };
}

function note(histogram: Histogram, ranMs: number | undefined): void {
  if (ranMs !== undefined) histogram.record(Math.round(ranMs * MICROSECONDS));
}

export class ReportBuilder {
  readonly unended: Unended = { unfinished: 0, expired: 0 };
  readonly #differencesMax: number;
  readonly #handlers = new Map<string, HandlerCounts>();
  readonly #kinds: Partial<Record<DifferenceKind, number>> = {};
  readonly #differences: ShadowDifference[] = [];
  #records = 0;
  #different = 0;
  #unrecorded = 0;

  constructor(differencesMax: number) {
    this.#differencesMax = differencesMax;
  }

  /** A record was compared; `describe` is called for a difference that is shown. */
  compared(
    handler: string,
    then: ComparedEnd,
    now: ComparedEnd | undefined,
    difference: Difference | undefined,
    describe: (difference: Difference) => ShadowDifference,
  ): void {
    let counts = this.#handlers.get(handler);
    if (counts === undefined) this.#handlers.set(handler, (counts = new HandlerCounts()));
    counts.records += 1;
    this.#records += 1;
    if (!then.isKnown) this.#unrecorded += 1;
    note(counts.recorded, then.ranMs);
    note(counts.shadow, now?.ranMs);
    if (difference === undefined) return;
    counts.different += 1;
    this.#different += 1;
    this.#kinds[difference.kind] = (this.#kinds[difference.kind] ?? 0) + 1;
    if (this.#differences.length < this.#differencesMax) this.#differences.push(describe(difference));
  }

  report(): ShadowReport {
    const handlers = Array.from(this.#handlers, ([name, { records, different, recorded, shadow }]) => {
      return [name, { records, different, recordedMs: latenciesOf(recorded), shadowMs: latenciesOf(shadow) }] as const;
    });
    return {
      records: this.#records,
      same: this.#records - this.#different,
      different: this.#different,
      unrecorded: this.#unrecorded,
      ...this.unended,
      kinds: { ...this.#kinds },
      differences: this.#differences.toSorted((a, b) => a.sequence - b.sequence),
      handlers: Object.fromEntries(handlers),
    };
  }
}

/** `redacted` gives the parts of a handler's values that may be shown. */
export function shownEnd(
  handler: string,
  { reason, value, isKnown, published, ranMs }: ComparedEnd,
  redacted: (handler: string, value: unknown) => unknown,
): ShownEnd {
  const shown = published.map((each) => ({
    ...each,
    payload: redacted(each.handler, each.payload),
    headers: each.headers === undefined ? undefined : redacted(each.handler, each.headers),
  }));
  const own = reason === undefined ? { result: redacted(handler, value) } : { error: toPlain(value) };
  return {
    ...(reason === undefined ? {} : { reason }),
    ...(isKnown ? own : {}),
    published: shown,
    ...(ranMs === undefined ? {} : { ranMs }),
  };
}
