/**
 * Whether a source still says what was stored of it. The journal keeps a sum over blocks of its
 * records (`ContentSums`); the same sums over the records as they are now must agree.
 */
import { ContentSums, type Producer } from "@millrace/intake";
import { cliError } from "../errors.ts";

export class StoredCheck {
  readonly #source: string;
  readonly #unit: string;
  readonly #producer: Producer;
  readonly #seen: ContentSums;
  readonly #lastStored: number;
  #lastSeen = 0;
  #block = -1;

  /** `unit`: what the numbers of the source count, such as lines. */
  constructor(source: string, producer: Producer, unit: string) {
    const { stored, content } = producer;
    this.#unit = unit;
    this.#source = source;
    this.#producer = producer;
    this.#seen = new ContentSums(content.shift);
    this.#lastStored = stored.ranges === 0 ? -1 : stored.range(stored.ranges - 1)[1];
  }

  isStored(number: number): boolean {
    return number <= this.#lastStored && this.#producer.stored.has(number);
  }

  /** A record that is stored. Throws `ERR_INGEST_CHANGED` when those before it have changed. */
  again(number: number, payloadCrc: number): void {
    const block = this.#seen.blockOf(number);
    if (block !== this.#block) this.#check();
    this.#block = block;
    this.#lastSeen = number;
    this.#seen.add(number, payloadCrc);
  }

  /** Before the first record behind all that are stored, and at the end of the source. */
  over(): void {
    if (this.#lastStored < 0 || this.#block === Infinity) return;
    if (this.#lastSeen < this.#lastStored) {
      const text = `${this.#source} has no ${this.#unit} ${this.#lastStored} any more, which is stored`;
      throw this.#changed(this.#lastSeen + 1, this.#lastStored, text);
    }
    this.#check();
    this.#block = Infinity;
  }

  isOver(number: number): boolean {
    return number > this.#lastStored;
  }

  #check(): void {
    const block = this.#block;
    if (block < 0 || block === Infinity || this.#seen.sumOf(block) === this.#producer.content.sumOf(block)) return;
    const [first, last] = this.#seen.range(block);
    const from = Math.max(first, this.#first(first));
    const to = Math.min(last, this.#lastStored);
    const where = from === to ? `${this.#unit} ${from}` : `one of the ${this.#unit}s ${from} to ${to}`;
    throw this.#changed(from, to, `${this.#source}: ${where} differs from what is stored`);
  }

  /** The first stored number from `number` on. */
  #first(number: number): number {
    const { stored } = this.#producer;
    for (let index = 0; index < stored.ranges; index += 1) {
      const [first, last] = stored.range(index);
      if (last >= number) return Math.max(first, number);
    }
    return number;
  }

  #changed(from: number, to: number, text: string): Error {
    return cliError("ERR_INGEST_CHANGED", text, {
      details: { source: this.#source, line: from, from, to },
    });
  }
}
