/**
 * Publishes recorded payloads again, as new records that name the one that they replay.
 *
 * A replay is a producer (`replay NAME`) whose sequences are those of the records that it replays.
 * So each is delivered once for one name, whatever crashes, and a replay that was broken off goes
 * on where it stopped. Terms that decide about a record once aren't carried over: idempotency keys,
 * producers, due times, schedules. Order keys, priorities, headers and trace contexts are.
 */
import { randomUUID } from "node:crypto";
import { types } from "node:util";
import {
  abortSignal,
  baseError,
  boolean,
  custom,
  number,
  oneOf,
  optional,
  optionsObject,
  type Resolved,
  resolveOptions,
  type Rule,
  type Rules,
  text,
} from "@millrace/base";
import { crc32 } from "@millrace/codec";
import type { Journal } from "@millrace/journal";
import type { AppendWaiter, RecordParts } from "@millrace/journal/kernel";
import type { Priority } from "@millrace/scheduler";
import type { LogRecord } from "../format/log-record.ts";
import { shortText } from "../format/publication.ts";
import { encodedHeaders, encodeTerms, handlerName, PRODUCER_ID_BYTES_MAX, termsOf } from "../format/record-header.ts";
import { RangeSet } from "../format/range-set.ts";
import { passed } from "../letters/passed.ts";
import type { WindowLimits } from "../states/dedupe-window.ts";
import type { ProducerSnapshot } from "../states/producer-state.ts";
import { recorded, type RecordedRange, recordedRange } from "./recorded.ts";

/** Picks records: those that match every given member. */
export interface RecordedFilter {
  /** Published to this handler, or to one of these. */
  readonly handler?: string | readonly string[];
  /** The order key. */
  readonly key?: string;
  readonly priority?: Priority;
}

export interface ReplayOptions {
  /**
   * The replay's name. Under one name each record is replayed once, and an interrupted replay goes
   * on. The intake remembers the name as the producer `replay NAME` until that is dropped. Default:
   * a new name, which is forgotten when the replay is complete.
   */
  readonly name?: string;
  /**
   * The first record: its sequence, the earliest time of its publishing, or "checkpoint" for the
   * first one behind the newest checkpoint. Default: the first that is there.
   */
  readonly from?: number | Date | "checkpoint";
  /** The last record: its sequence, or a time. Default: the last that is durable at the call. */
  readonly to?: number | Date;
  readonly filter?: RecordedFilter;
  /** The handler that gets them; default the one that each was published to. */
  readonly handler?: string;
  /** At most this many a second. Default: as fast as the intake takes them. */
  readonly ratePerSecond?: number;
  /** Count them, and publish nothing. Default false. */
  readonly dryRun?: boolean;
  /** Ends a replay early: the records that it has published stay. */
  readonly signal?: AbortSignal;
}

export interface Replayed {
  readonly name: string;
  /** Records that the options pick. */
  readonly matched: number;
  /** Of those, published by this call, and by earlier calls of this name. */
  readonly published: number;
  readonly publishedBefore: number;
  /** The records that the options pick, by the handler that gets them. */
  readonly handlers: Readonly<Record<string, number>>;
}

/** The parts of a journal that a replay needs, whether it is delivered from or not in use. */
export interface ReplayHost {
  readonly journal: Journal;
  readonly dedupe: WindowLimits;
  /** The durable state of a producer. */
  producer(id: string): Promise<ProducerSnapshot>;
  /** Throws `ERR_PRODUCERS_FULL`. */
  admit(id: string): void;
  dropProducer(id: string): Promise<void>;
  /** Stores all of them or none; waits for room. */
  append(records: readonly RecordParts[], waiter: AppendWaiter, signal: AbortSignal | undefined): void;
  /** Throws `ERR_HANDLER_UNKNOWN`. */
  mustBeHandler(name: string): void;
}

const PREFIX = "replay ";
const NAME_BYTES_MAX: number = PRODUCER_ID_BYTES_MAX - PREFIX.length;
/** Records that are stored together, and their bytes. */
const GROUP_RECORDS_MAX = 256;
const GROUP_BYTES_MAX: number = 256 * 1024;
/** Time that a replay with a rate takes for each group. */
const GROUP_MS = 100;
/** As the scheduler numbers them. */
const PRIORITIES: Readonly<Record<Priority, number>> = { high: 0, normal: 1, low: 2 };
const TIME_MAX = 8.64e15;

function isTime(value: unknown): value is Date {
  return types.isDate(value) && Math.abs(value.getTime()) <= TIME_MAX;
}

function isSequence(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

const names = custom<string | readonly string[]>(
  "a handler's name, or a list of them",
  (value): value is string | readonly string[] =>
    typeof value === "string" || (Array.isArray(value) && value.every((name) => typeof name === "string")),
);

/** The rules of `from`, `to` and `filter`, which pick the records. */
export const rangeRules: {
  readonly from: Rule<number | Date | "checkpoint" | undefined>;
  readonly to: Rule<number | Date | undefined>;
  readonly filter: Rule<RecordedFilter | undefined>;
} = {
  from: optional(
    custom<number | Date | "checkpoint">(
      `a sequence, a Date, or "checkpoint"`,
      (value): value is number | Date | "checkpoint" => isSequence(value) || isTime(value) || value === "checkpoint",
    ),
  ),
  to: optional(
    custom<number | Date>(
      "a sequence, or a Date",
      (value): value is number | Date => isSequence(value) || isTime(value),
    ),
  ),
  filter: optional(optionsObject<RecordedFilter>()),
};

const rules = {
  ...rangeRules,
  name: optional(shortText(NAME_BYTES_MAX)),
  handler: optional(text()),
  ratePerSecond: optional(number(0.001, 1e9)),
  dryRun: boolean(false),
  signal: optional(abortSignal()),
} satisfies Rules;

const filterRules = {
  handler: optional(names),
  key: optional(text()),
  priority: optional(oneOf(["high", "normal", "low"], "normal")),
} satisfies Rules;

/** A filter that is undefined by mistake would mean every record. Throws `ERR_INVALID_OPTION`. */
export function mustBeMeant(owner: string, given: object, members: readonly string[]): void {
  for (const name of members) {
    if (!Object.hasOwn(given, name) || (given as Record<string, unknown>)[name] !== undefined) continue;
    throw baseError("ERR_INVALID_OPTION", `${owner}: option "${name}" is undefined; leave it out to mean all records`, {
      details: { owner, name, value: undefined, allowed: "a value, or no such member" },
    });
  }
}

/** Whether a filter picks a record. Throws `ERR_INVALID_OPTION`. */
export function pickedBy(owner: string, given: RecordedFilter = {}): (record: LogRecord) => boolean {
  const { handler, key, priority } = resolveOptions(owner, filterRules, given);
  mustBeMeant(owner, given, Object.keys(filterRules));
  const handlers = handler === undefined ? undefined : new Set(typeof handler === "string" ? [handler] : handler);
  const keyBytes = key === undefined ? undefined : Buffer.from(key);
  return (record) => {
    if (handlers !== undefined && !handlers.has(handlerName(record.header()))) return false;
    if (keyBytes !== undefined && !record.key().equals(keyBytes)) return false;
    return priority === undefined || record.priority === PRIORITIES[priority];
  };
}

/**
 * See `Millrace.replay`. Throws `ERR_INVALID_OPTION`, `ERR_REPLAY_RANGE`, `ERR_HANDLER_UNKNOWN`,
 * `ERR_PRODUCERS_FULL`, the errors of a publish, and the signal's reason.
 */
export async function replay(host: ReplayHost, given: ReplayOptions = {}): Promise<Replayed> {
  const options = resolveOptions("replay", rules, given);
  mustBeMeant("replay", given, ["from", "to", "filter"]);
  const isPicked = pickedBy("replay.filter", options.filter);
  const name = options.name ?? randomUUID();
  options.signal?.throwIfAborted();
  const range = await recordedRange(host.journal, options.from, options.to);
  if (options.handler !== undefined) host.mustBeHandler(options.handler);
  const run = new ReplayRun(host, name, options);
  await run.all(range, isPicked);
  // Nobody knows the name.
  if (options.name === undefined && run.published > 0) await host.dropProducer(`${PREFIX}${name}`);
  return run.counts();
}

class ReplayRun {
  readonly #host: ReplayHost;
  readonly #name: string;
  readonly #options: Resolved<typeof rules>;
  readonly #stored = new RangeSet();
  readonly #handlers = new Map<string, number>();
  readonly #groupMax: number;
  #group: RecordParts[] = [];
  #size: ReturnType<Journal["groupSize"]>;
  #matched = 0;
  #publishedBefore = 0;
  published = 0;

  constructor(host: ReplayHost, name: string, options: Resolved<typeof rules>) {
    const { ratePerSecond } = options;
    this.#host = host;
    this.#name = name;
    this.#options = options;
    this.#size = host.journal.groupSize();
    const perGroup = ratePerSecond === undefined ? GROUP_RECORDS_MAX : Math.ceil((ratePerSecond * GROUP_MS) / 1000);
    this.#groupMax = Math.min(GROUP_RECORDS_MAX, perGroup);
  }

  counts(): Replayed {
    return {
      name: this.#name,
      matched: this.#matched,
      published: this.published,
      publishedBefore: this.#publishedBefore,
      handlers: Object.fromEntries(this.#handlers),
    };
  }

  async all(range: RecordedRange, isPicked: (record: LogRecord) => boolean): Promise<void> {
    const { dryRun, signal } = this.#options;
    const id = `${PREFIX}${this.#name}`;
    for (const [first, last] of (await this.#host.producer(id)).ranges) this.#stored.addRange(first, last);
    for await (const record of recorded(this.#host.journal, range, this.#host.dedupe, signal)) {
      if (!isPicked(record)) continue;
      const handler = this.#options.handler ?? handlerName(record.header());
      const known = this.#handlers.get(handler);
      this.#handlers.set(handler, (known ?? 0) + 1);
      this.#matched += 1;
      if (this.#stored.has(record.sequence)) this.#publishedBefore += 1;
      else if (!dryRun) {
        if (known === undefined) this.#host.mustBeHandler(handler);
        if (this.published + this.#group.length === 0) this.#host.admit(id);
        await this.#add(replayOf(record, handler, id));
      }
    }
    await this.#send();
  }

  async #add(record: RecordParts): Promise<void> {
    const isFull = this.#group.length >= this.#groupMax || this.#size.bytes >= GROUP_BYTES_MAX;
    if (isFull || !this.#fits(record)) {
      await this.#send();
      // Throws when it is too large by itself.
      this.#size.add(record);
    }
    this.#group.push(record);
  }

  /** Counts a record into the group, unless that would be too large with it. */
  #fits(record: RecordParts): boolean {
    if (this.#group.length === 0) return false;
    try {
      this.#size.add(record);
      return true;
    } catch {
      return false;
    }
  }

  async #send(): Promise<void> {
    const { ratePerSecond, signal } = this.#options;
    const group = this.#group;
    this.#group = [];
    this.#size = this.#host.journal.groupSize();
    if (group.length === 0) return;
    // The pause lies before the group, so that none follows the last one.
    if (ratePerSecond !== undefined && this.published > 0) await passed((group.length / ratePerSecond) * 1000, signal);
    signal?.throwIfAborted();
    await new Promise<void>((resolve, reject) => {
      this.#host.append(group, { durable: () => resolve(), failed: reject }, signal);
    });
    this.published += group.length;
  }
}

/** The record that replays another one. */
function replayOf(record: LogRecord, handler: string, id: string): RecordParts {
  const header = record.header();
  const [payload, key] = [record.payload(), record.key()];
  const { isOrdered, trace } = termsOf(header);
  const terms = encodeTerms(handler, {
    isOrdered,
    trace,
    producer: { id, sequence: record.sequence, payloadCrc: crc32(payload) },
    replayOf: record.sequence,
  });
  return {
    type: record.type,
    priority: record.priority,
    timeMs: Date.now(),
    header: Buffer.concat([terms, encodedHeaders(header)]),
    key,
    payload,
    flags: record.flags,
  };
}
