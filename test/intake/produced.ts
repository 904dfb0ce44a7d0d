/**
 * The oracle of records that are published in groups: by a publisher, or by a handler together with
 * the end of its own record.
 *
 * A handler's records say in their payloads which run of which record has published them, which of
 * them they are, and how many there are. So what stands in the log tells whether a group is whole,
 * whether it came with the ACK, and whether two runs have published for one record.
 */
import { RECORD_TYPE } from "@millrace/journal";
import type { StagedRecord } from "@millrace/intake/internal/format/outcome";
import type { LogRecord } from "@millrace/intake/internal/format/log-record";
import { encodeHandler, encodeTerms, type Terms } from "@millrace/intake/internal/format/record-header";
import { ackRanges } from "@millrace/intake/internal/format/state-records";

const NO_BYTES = Buffer.alloc(0);

/** What a record says of itself. */
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
  /** What the latest run that returned has published, by the record's origin. */
  readonly #returned = new Map<number, { readonly run: number; readonly count: number }>();
  /** The records that have become durable with an ACK, by the origin of that record. */
  readonly #durable = new Map<number, readonly number[]>();
  readonly #described = new Map<string, Published>();
  groups = 0;

  constructor(broken: (what: string) => never) {
    this.#broken = broken;
  }

  /**
   * A handler returns, and has published this many records; `counts`: its time wasn't over before.
   * The function makes each of them.
   */
  begin(
    origin: number,
    count: number,
    counts: boolean,
  ): (index: number, published: Published, timeMs: number) => StagedRecord {
    this.#runs += 1;
    const run = this.#runs;
    if (counts) this.#returned.set(origin, { run, count });
    return (index, published, timeMs) => {
      const own = { ...published, payload: `of ${origin} run ${run} number ${index} of ${count}` };
      this.#described.set(own.payload, own);
      return partsOf(own, timeMs);
    };
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
    return published;
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

  /** After a crash: a record has published exactly if it is finished, and once. */
  compare(isSettled: (origin: number) => boolean): void {
    for (const [origin, sequences] of this.#durable) {
      if (sequences.length > 0 && !isSettled(origin))
        this.#broken(`record ${origin} has published, and isn't finished`);
    }
  }
}

function originsOf(ack: LogRecord, originOf: (place: number) => number): number[] {
  const ranges = ackRanges(ack.payload());
  const origins: number[] = [];
  for (let index = 0; index < ranges.ranges; index += 1) {
    const [first, last] = ranges.range(index);
    for (let place = first; place <= last; place += 1) origins.push(originOf(place));
  }
  return origins;
}
