/** Dead letters: what is asked of them, read back from the journal. */
import { integer, number, optional, type Resolved, resolveOptions, type Rules, text } from "@millrace/base";
import { decode } from "@millrace/codec";
import type { Journal, JournalRecord } from "@millrace/journal";
import { encodedHeaders, handlerName } from "../format/record-header.ts";
import { decodeHistory, type Failure, reasonName, type ReasonName } from "../format/state-records.ts";

/** Which letters; every member that is given must hold. */
export interface DeadFilter {
  readonly handler?: string;
  readonly reason?: ReasonName;
  /** Died at this time or later, before this time; ms since 1970. */
  readonly from?: number;
  readonly to?: number;
  /** The order key. */
  readonly key?: string;
  /** Occurs in the last error's text, or in the payload as JSON. */
  readonly text?: string;
  /** At most this many. Default 1000 for `list`, otherwise no limit. */
  readonly limit?: number;
  /** Letters of records behind this sequence. */
  readonly after?: number;
}

export interface DeadLetter {
  /** The record's number: the one that its publish resolved with. */
  readonly sequence: number;
  readonly handler: string;
  /** The order key; undefined without. */
  readonly key: string | undefined;
  readonly payload: unknown;
  readonly headers: unknown;
  readonly publishedAtMs: number;
  readonly diedAtMs: number;
  readonly reason: ReasonName;
  readonly attempts: number;
  /** The first three and the last ten failures, oldest first. */
  readonly failures: readonly Failure[];
  /** Failures between those, which aren't kept. */
  readonly failuresLeft: number;
}

/** As the delivery thread lists it. */
export interface DeadPlace {
  readonly sequence: number;
  /** Place of the DEAD record. */
  readonly place: number;
  /** Place of the record. */
  readonly dataPlace: number;
  readonly reason: number;
  readonly attempts: number;
  readonly atMs: number;
}

export interface RedriveOptions extends DeadFilter {
  /** The handler that gets them; default the one that they were for. */
  readonly toHandler?: string;
}

const filterRules = {
  handler: optional(text()),
  reason: optional(text()),
  from: optional(number(0, 8.64e15)),
  to: optional(number(0, 8.64e15)),
  key: optional(text()),
  text: optional(text()),
  limit: integer(1, 2 ** 31, 1000),
  after: optional(integer(0, Number.MAX_SAFE_INTEGER, 0)),
} satisfies Rules;
/** What is done to letters is done to all of them; a list is to be read. */
const dropRules = { ...filterRules, limit: integer(1, 2 ** 31, 2 ** 31) } satisfies Rules;
const redriveRules = { ...dropRules, toHandler: optional(text()) } satisfies Rules;

type Filter = Resolved<typeof filterRules>;

/** What dead letters need of the delivery thread. */
export interface DeadLettersHost {
  readonly journal: Journal;
  list(): Promise<readonly DeadPlace[]>;
  redrive(sequences: readonly number[], handler: string): Promise<void>;
  drop(sequences: readonly number[]): Promise<void>;
  mustBeHandler(name: string): void;
}

export class DeadLetters {
  readonly #host: DeadLettersHost;

  constructor(host: DeadLettersHost) {
    this.#host = host;
  }

  /**
   * The letters that `filter` picks, in the order of their records. Throws `ERR_INVALID_OPTION`.
   */
  async list(filter: DeadFilter = {}): Promise<DeadLetter[]> {
    const letters: DeadLetter[] = [];
    for await (const letter of this.#pick(resolveOptions("dead.list", filterRules, filter))) letters.push(letter);
    return letters;
  }

  /** How many letters `filter` picks; `limit` doesn't count. */
  async count(filter: DeadFilter = {}): Promise<number> {
    const resolved = resolveOptions("dead.count", filterRules, filter);
    let count = 0;
    for await (const _ of this.#pick({ ...resolved, limit: Infinity })) count += 1;
    return count;
  }

  /** One letter; undefined when the record isn't dead. */
  async get(sequence: number): Promise<DeadLetter | undefined> {
    const place = (await this.#host.list()).find((each) => each.sequence === sequence);
    return place === undefined ? undefined : this.#read(place);
  }

  /**
   * Gives the letters that `filter` picks to their handler again, or to another one; resolves with
   * their number when that is durable. Attempts begin anew. Throws `ERR_INVALID_OPTION`,
   * `ERR_HANDLER_UNKNOWN`.
   */
  async redrive(filter: RedriveOptions): Promise<number> {
    const { toHandler, ...resolved } = resolveOptions("dead.redrive", redriveRules, filter);
    if (toHandler !== undefined) this.#host.mustBeHandler(toHandler);
    const sequences = await this.#sequences(resolved);
    await this.#host.redrive(sequences, toHandler ?? "");
    return sequences.length;
  }

  /**
   * Gives the letters that `filter` picks up for good; resolves with their number when that is
   * durable. Their bytes leave the disk when their segments are given up.
   */
  async drop(filter: DeadFilter): Promise<number> {
    const sequences = await this.#sequences(resolveOptions("dead.drop", dropRules, filter));
    await this.#host.drop(sequences);
    return sequences.length;
  }

  async #sequences(filter: Filter): Promise<number[]> {
    const sequences: number[] = [];
    for await (const { sequence } of this.#pick(filter)) sequences.push(sequence);
    return sequences;
  }

  async *#pick(filter: Omit<Filter, "limit"> & { readonly limit: number }): AsyncGenerator<DeadLetter, void> {
    const { from = 0, to = Infinity, reason, after = 0, limit } = filter;
    let found = 0;
    const places = await this.#host.list();
    for (const place of [...places].toSorted((left, right) => left.sequence - right.sequence)) {
      if (found >= limit) return;
      const { sequence, atMs } = place;
      if (sequence <= after || atMs < from || atMs >= to) continue;
      if (reason !== undefined && reasonName(place.reason) !== reason) continue;
      const letter = await this.#read(place);
      if (letter === undefined || !matches(letter, filter)) continue;
      found += 1;
      yield letter;
    }
  }

  /** Undefined when it was redriven or dropped meanwhile, and its records are gone. */
  async #read(place: DeadPlace): Promise<DeadLetter | undefined> {
    const [record, fate] = await Promise.all([
      this.#host.journal.get(place.dataPlace),
      this.#host.journal.get(place.place),
    ]);
    return record === undefined || fate === undefined ? undefined : letterOf(place, record, fate);
  }
}

function letterOf(place: DeadPlace, record: JournalRecord, fate: JournalRecord): DeadLetter {
  const { failures, left } = decodeHistory(fate.payload);
  const headers = encodedHeaders(record.header);
  return {
    sequence: place.sequence,
    handler: handlerName(record.header),
    key: record.key.length === 0 ? undefined : record.key.toString(),
    payload: decode(record.payload),
    headers: headers.length === 0 ? undefined : decode(headers),
    publishedAtMs: record.timeMs,
    diedAtMs: place.atMs,
    reason: reasonName(place.reason),
    attempts: place.attempts,
    failures,
    failuresLeft: left,
  };
}

function matches(letter: DeadLetter, { handler, key, text: wanted }: Omit<Filter, "limit">): boolean {
  if (handler !== undefined && letter.handler !== handler) return false;
  if (key !== undefined && letter.key !== key) return false;
  if (wanted === undefined) return true;
  const error = letter.failures.at(-1)?.error;
  return textOf(error).includes(wanted) || textOf(letter.payload).includes(wanted);
}

function textOf(value: unknown): string {
  if (value instanceof Error) return `${value.name}: ${value.message}`;
  try {
    return JSON.stringify(value, (_, each: unknown) => (typeof each === "bigint" ? String(each) : each)) ?? "";
  } catch {
    // Circles have no text.
    return String(value);
  }
}
