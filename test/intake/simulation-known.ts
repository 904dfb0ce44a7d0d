/** The test's knowledge of each record: from publishers, from the log, and from handlers. */
import type { Idempotency } from "@millrace/intake/internal/format/record-header";
import { ContentSums } from "@millrace/intake/internal/states/producer-state";
import type { Published } from "./produced.ts";
import type { SimContext } from "./simulation-context.ts";
import type { SimRecord } from "./simulation-disk.ts";

export interface Known extends Published {
  readonly sequence: number;
  /** When it was published, by a clock that nobody sets. */
  readonly steadyMs: number;
  /** By the log: the first of its key, or not. */
  first: number | undefined;
  /** The records that it was published with. */
  group: readonly Known[];
  state: "unfinished" | "finished" | "dead" | "expired";
  /** Whether that is durable: it survives a crash. */
  isDurable: boolean;
  inHand: boolean;
  /** Its last handler has published: that may be refused, and the attempt has failed then. */
  mayBeRefused: boolean;
  runs: number;
  /** Ends of the intake's own process since it was redriven so often. */
  kills: number;
  redriven: number;
}

export class KnownRecords {
  readonly #context: SimContext;
  readonly #records = new Map<number, Known>();
  /** Sequences of producers that are durable, and records that repeat one. */
  readonly #sequences = new Set<string>();
  readonly #repeating = new Set<number>();
  /** Places of durable records by which the producer was dropped. */
  readonly #producerDrops: number[] = [];

  constructor(context: SimContext) {
    this.#context = context;
  }

  get size(): number {
    return this.#records.size;
  }

  /** In the order of the log. */
  all(): MapIterator<Known> {
    return this.#records.values();
  }

  get(origin: number): Known | undefined {
    return this.#records.get(origin);
  }

  /** Of a record that was published. */
  of(origin: number): Known {
    return this.#records.get(origin) as Known;
  }

  /** A record is durable. */
  add(published: Published, sequence: number): Known {
    const { handler, priority, key, terms } = published;
    this.#context.trace(`published ${sequence} ${handler} ${priority} ${key} ${JSON.stringify(terms)}`);
    this.#context.counts.records += 1;
    const { timeMs } = this.#context.disk.records[sequence - 1] as SimRecord;
    const known: Known = {
      ...published,
      sequence,
      steadyMs: terms.idempotency?.steadyMs ?? timeMs,
      first: undefined,
      group: [],
      state: "unfinished",
      isDurable: false,
      inHand: false,
      mayBeRefused: false,
      runs: 0,
      kills: 0,
      redriven: 0,
    };
    this.#records.set(sequence, known);
    if (terms.producer === undefined) return known;
    const name = `${terms.producer.id}/${terms.producer.sequence}`;
    if (this.#sequences.has(name)) this.#repeating.add(sequence);
    this.#sequences.add(name);
    return known;
  }

  /** A record is durable by which the producer was dropped. */
  producerDropped(place: number): void {
    this.#sequences.clear();
    this.#producerDrops.push(place);
  }

  /** Whether a record before this one has its producer's sequence. */
  repeatsSequence(origin: number): boolean {
    return this.#repeating.has(origin);
  }

  /** Whether a record before this one has its idempotency key. */
  repeatsKey({ sequence, handler, terms: { idempotency } }: Known): boolean {
    if (idempotency === undefined) return false;
    return [...this.all()].some(
      (other) => other.sequence < sequence && other.handler === handler && hasKey(other, idempotency),
    );
  }

  /** The sums over what the records of the producer have said, each sequence the first time. */
  contentBefore(place: number): ContentSums {
    const content = new ContentSums();
    const seen = new Set<number>();
    const droppedAt = this.#producerDrops.findLast((drop) => drop < place) ?? 0;
    for (const { sequence, terms } of this.all()) {
      const { producer } = terms;
      if (
        producer?.payloadCrc === undefined ||
        sequence >= place ||
        sequence < droppedAt ||
        seen.has(producer.sequence)
      )
        continue;
      seen.add(producer.sequence);
      content.add(producer.sequence, producer.payloadCrc);
    }
    return content;
  }
}

export function hasKey({ terms }: Known, { key }: Idempotency): boolean {
  return terms.idempotency !== undefined && Buffer.compare(terms.idempotency.key, key) === 0;
}
