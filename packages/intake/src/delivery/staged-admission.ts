/**
 * Decides whether the records that a handler has published with its end may be stored: `Admission`
 * asks the same of a publish, but knows nothing of records that are staged on a machine.
 *
 * A producer counts from the end of the handler that has named it, and not only once its record is
 * durable: two handlers must not bring the last one twice.
 */
import type { MillraceError } from "@millrace/base";
import { deadLettersFull, producersFull } from "../errors.ts";
import type { Outcome } from "../format/outcome.ts";
import { handlerName, hasTerms, termsOf } from "../format/record-header.ts";
import type { RecordStates } from "../states/record-states.ts";
import type { Deaths } from "./deaths.ts";

export interface StagedAdmissionParts {
  readonly states: RecordStates;
  readonly deaths: Deaths;
  /** Producers that the intake may know. Default: no limit. */
  readonly producersMax?: number | undefined;
  /** A producer is known now that wasn't: publishers must learn it. */
  readonly onProducer?: ((id: string) => void) | undefined;
}

export class StagedAdmission {
  readonly #parts: StagedAdmissionParts;
  /** Producers whose first record is on its way to the log. */
  readonly #coming = new Set<string>();

  constructor(parts: StagedAdmissionParts) {
    this.#parts = parts;
  }

  /** Why nothing of it can be stored; undefined when all of it can. */
  refusalOf(outcome: Outcome | undefined): MillraceError | undefined {
    if (outcome === undefined || outcome.staged.length === 0) return undefined;
    return this.#refusalOfHandlers(outcome) ?? this.#refusalOfProducers(outcome);
  }

  /** A producer is dropped by command. */
  dropped(id: string): void {
    this.#coming.delete(id);
  }

  #refusalOfHandlers({ staged }: Outcome): MillraceError | undefined {
    const { deaths, states } = this.#parts;
    if (deaths.waiting === 0) return undefined;
    const full = deaths.fullHandlers;
    const name = staged.map(({ header }) => handlerName(viewOf(header))).find((each) => full.has(each));
    return name === undefined ? undefined : deadLettersFull(name, states.dead.bytes, deaths.waiting);
  }

  #refusalOfProducers({ staged }: Outcome): MillraceError | undefined {
    const { states, producersMax = Infinity, onProducer } = this.#parts;
    const ids = new Set<string>();
    for (const { header } of staged) {
      const view = viewOf(header);
      const id = hasTerms(view) ? termsOf(view).producer?.id : undefined;
      if (id !== undefined && !states.producers.has(id) && !this.#coming.has(id)) ids.add(id);
    }
    if (ids.size === 0) return undefined;
    for (const id of this.#coming) if (states.producers.has(id)) this.#coming.delete(id);
    let known = states.producers.size + this.#coming.size;
    for (const id of ids) {
      if (known >= producersMax) return producersFull(id, producersMax);
      known += 1;
    }
    for (const id of ids) {
      this.#coming.add(id);
      onProducer?.(id);
    }
    return undefined;
  }
}

function viewOf({ buffer, byteOffset, length }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, length);
}
