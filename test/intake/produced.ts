/**
 * The oracle of records that are published in groups: by a publisher, or by a handler together with
 * the end of its own record.
 *
 * A handler's records say in their payloads which run of which record has published them, which of
 * them they are, and how many there are. So what stands in the log tells whether a group is whole,
 * whether it came with the ACK, and whether two runs have published for one record.
 */
import { RECORD_TYPE } from "@millrace/journal";
import { encode } from "@millrace/codec";
import type { Outcome, StagedRecord } from "@millrace/intake/internal/format/outcome";
import { decodeResultHead, resultIn } from "@millrace/intake/internal/format/result-record";
import type { KeptResult } from "@millrace/intake/internal/states/results";
import type { LogRecord } from "@millrace/intake/internal/format/log-record";
import { encodeHandler, encodeTerms, type Terms } from "@millrace/intake/internal/format/record-header";
import { ackRanges } from "@millrace/intake/internal/format/state-records";

const NO_BYTES = Buffer.alloc(0);

/** A record's own fields. */
export interface Published {
  readonly handler: string;
  readonly priority: number;
  readonly key: string | undefined;
  readonly terms: Terms;
  readonly payload: string;
}

export function partsOf({ handler, priority, key, terms, payload }: Published, timeMs: number): StagedRecord {
  const isPlain = Object.values(terms).every((term) => term === undefined || term === false);
  return {
    priority,
    timeMs,
    header: isPlain ? encodeHandler(handler) : encodeTerms(handler, terms),
    key: key === undefined ? NO_BYTES : Buffer.from(key),
    payload: Buffer.from(payload),
  };
}

export class Produced {
  readonly #broken: (what: string) => never;
  #runs = 0;
  /** The records that the latest returned run has published, by the record's origin. */
  readonly #returned = new Map<number, { readonly run: number; readonly count: number; readonly result?: string }>();
  /** Results that are kept: what they say, and until when. */
  readonly #kept = new Map<number, { readonly result: string; readonly untilMs: number }>();
  /** The records that have become durable with an ACK, by the origin of that record. */
  readonly #durable = new Map<number, readonly number[]>();
  readonly #described = new Map<string, Published>();
  groups = 0;
  /** Results that were found where they must be. */
  resultsFound = 0;

  constructor(broken: (what: string) => never) {
    this.#broken = broken;
  }

  /**
   * A handler returns, and has published this many records. `counts`: its time wasn't over before;
   * `keeps`: its result is kept. Describes its records by `describe`.
   */
  returns(
    origin: number,
    count: number,
    { counts, keeps }: { readonly counts: boolean; readonly keeps: boolean },
    describe: () => { readonly published: Published; readonly timeMs: number },
  ): Outcome {
    this.#runs += 1;
    const run = this.#runs;
    const text = `result of run ${run}`;
    if (counts) this.#returned.set(origin, keeps ? { run, count, result: text } : { run, count });
    const staged = Array.from({ length: count }, (_, index) => {
      const { published, timeMs } = describe();
      const own = { ...published, payload: `of ${origin} run ${run} number ${index} of ${count}` };
      this.#described.set(own.payload, own);
      return partsOf(own, timeMs);
    });
    return { staged, result: keeps ? { isOk: true, bytes: Uint8Array.from(encode(text)) } : undefined };
  }

  /** The result of a record's handler in the run that counts, if that is kept. */
  resultOf(origin: number): string | undefined {
    return this.#returned.get(origin)?.result;
  }

  /** A record of this time is durable. */
  read(timeMs: number): void {
    for (const [origin, { untilMs }] of this.#kept) if (untilMs <= timeMs) this.#kept.delete(origin);
  }

  /**
   * A group of delivery has become durable, or a record of its own that is none; `originOf` knows
   * the origin of what lies at a place. Returns what it publishes.
   */
  appended(group: readonly LogRecord[], originOf: (place: number) => number): (Published | undefined)[] {
    const published = group.map((record) => {
      const isPublished = record.type === RECORD_TYPE.data && record.replaces === 0;
      return isPublished ? this.#described.get(record.payload().toString()) : undefined;
    });
    const ackOf = group.flatMap((record) => (record.type === RECORD_TYPE.ack ? originsOf(record, originOf) : []));
    const sequences = group.filter((_, index) => published[index] !== undefined).map(({ sequence }) => sequence);
    for (const [index, record] of group.entries()) {
      if (published[index] !== undefined) this.#check(record, sequences.length, ackOf);
    }
    if (sequences.length > 0) this.groups += 1;
    for (const origin of ackOf) this.#acknowledged(origin, sequences);
    const results = group.filter(({ type, replaces }) => type === RECORD_TYPE.result && replaces === 0);
    for (const result of results) this.#keeps(result.payload(), ackOf);
    if (results.length === 0) for (const origin of ackOf) this.#keepsNothing(origin);
    return published;
  }

  #keeps(payload: Buffer, ackOf: readonly number[]): void {
    const { origin, untilMs } = decodeResultHead(payload);
    const result = resultIn(payload) as string;
    if (ackOf.length !== 1 || ackOf[0] !== origin) this.#broken(`"${result}" is durable without the ACK of ${origin}`);
    if (this.#returned.get(origin)?.result !== result) this.#broken(`"${result}" of ${origin} didn't count`);
    this.#kept.set(origin, { result, untilMs });
  }

  #keepsNothing(origin: number): void {
    const result = this.#returned.get(origin)?.result;
    if (result !== undefined) this.#broken(`the ACK of ${origin} is durable without "${result}"`);
  }

  #check(record: LogRecord, inGroup: number, ackOf: readonly number[]): void {
    const payload = record.payload().toString();
    const [, origin, run, count] = /^of (\d+) run (\d+) number \d+ of (\d+)$/.exec(payload)?.map(Number) ?? [];
    if (origin === undefined) this.#broken(`"${payload}" says nothing of itself`);
    if (ackOf.length !== 1 || ackOf[0] !== origin) this.#broken(`"${payload}" is durable without the ACK of ${origin}`);
    if (inGroup !== count) this.#broken(`"${payload}" is durable with ${inGroup} in all`);
    if (this.#returned.get(origin)?.run !== run) this.#broken(`"${payload}" is durable, of a run that didn't count`);
  }

  #acknowledged(origin: number, sequences: readonly number[]): void {
    const returned = this.#returned.get(origin);
    if (returned === undefined) return;
    if (this.#durable.has(origin)) this.#broken(`record ${origin} is acknowledged twice`);
    if (sequences.length !== returned.count) {
      this.#broken(`the ACK of ${origin} is durable with ${sequences.length} of ${returned.count} records`);
    }
    this.#durable.set(origin, sequences);
  }

  /**
   * All records were read: one has published exactly if it is finished, and each result that is
   * kept is where the states say. `at` reads the log.
   */
  compare(
    isSettled: (origin: number) => boolean,
    results: ReadonlyMap<number, KeptResult>,
    at: (place: number) => LogRecord | undefined,
  ): void {
    for (const [origin, { result }] of this.#kept) {
      const record = at(results.get(origin)?.place ?? 0);
      if (record?.type !== RECORD_TYPE.result) this.#broken(`"${result}" of ${origin} is lost before its time`);
      if (resultIn(record.payload()) !== result) this.#broken(`record ${origin} has another result than "${result}"`);
      this.resultsFound += 1;
    }
    for (const [origin, sequences] of this.#durable) {
      if (sequences.length > 0 && !isSettled(origin))
        this.#broken(`record ${origin} has published, and isn't finished`);
    }
  }
}

export function originsOf(ack: LogRecord, originOf: (place: number) => number): number[] {
  const ranges = ackRanges(ack.payload());
  const origins: number[] = [];
  for (let index = 0; index < ranges.ranges; index += 1) {
    const [first, last] = ranges.range(index);
    for (let place = first; place <= last; place += 1) origins.push(originOf(place));
  }
  return origins;
}
