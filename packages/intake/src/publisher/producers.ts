/**
 * The producers that the intake knows. The intake never forgets their stored sequences by itself,
 * so it limits their number; a command drops a producer that is no longer needed.
 */
import { checkArgument, text } from "@millrace/base";
import { producersFull } from "../errors.ts";
import type { ProducerInfo } from "../states/producer-state.ts";

/** The parts of the delivery thread that producers need. */
export interface ProducersHost {
  list(): Promise<readonly ProducerInfo[]>;
  drop(id: string): Promise<void>;
}

export class Producers {
  readonly #host: ProducersHost;
  readonly #max: number;
  /** Those of which a record is durable, or may be, and those that somebody has asked for. */
  readonly #known = new Set<string>();
  /** Number of publishes under way of each of the others. */
  readonly #trying = new Map<string, number>();

  constructor(host: ProducersHost, max: number) {
    this.#host = host;
    this.#max = max;
  }

  /** @internal Learns which producers the journal has. */
  async begin(): Promise<void> {
    for (const { id } of await this.#host.list()) this.#known.add(id);
  }

  /** @internal Records of this producer will be published. Throws `ERR_PRODUCERS_FULL`. */
  admit(id: string): void {
    this.publishing(id);
    this.admitted(id);
  }

  /** @internal A record of this producer is stored, or may be. */
  admitted(id: string): void {
    this.#known.add(id);
    this.#trying.delete(id);
  }

  /** @internal A publish begins, and `settled` follows it. Throws `ERR_PRODUCERS_FULL`. */
  publishing(id: string): void {
    if (this.#known.has(id)) return;
    const trying = this.#trying.get(id);
    if (trying === undefined && this.#known.size + this.#trying.size >= this.#max) throw producersFull(id, this.#max);
    this.#trying.set(id, (trying ?? 0) + 1);
  }

  /**
   * @internal The end of a publish: one that was refused takes no place.
   */
  settled(id: string, isStored: boolean): void {
    const trying = this.#trying.get(id);
    if (trying === undefined) return;
    if (isStored) this.admitted(id);
    else if (trying === 1) this.#trying.delete(id);
    else this.#trying.set(id, trying - 1);
  }

  /** Every producer of which a record is stored, sorted by id. */
  async list(): Promise<ProducerInfo[]> {
    const all = await this.#host.list();
    return [...all].toSorted((left, right) => (left.id < right.id ? -1 : 1));
  }

  /**
   * Forgets the sequences that a producer has stored. Resolves when that is durable. Its records
   * stay; a sequence that is published again afterwards is a first one. An unknown id does no harm.
   * Throws `ERR_INVALID_OPTION`.
   */
  async drop(id: string): Promise<void> {
    checkArgument("producers.drop", "the id", text(), id);
    await this.#host.drop(id);
    this.#known.delete(id);
  }
}
