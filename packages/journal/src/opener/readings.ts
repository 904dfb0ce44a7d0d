/**
 * Reading on the opener's thread: in order, by sequence, by key. Readers pin the part of the log
 * that they still need.
 */
import { abortSignal, boolean, custom, type MillraceError, optional, resolveOptions, type Rules } from "@millrace/base";
import { type Checkpoint, readCheckpoints } from "../files/checkpoint.ts";
import { journalError } from "../errors.ts";
import { Lookup } from "../read/lookup.ts";
import { readMarks } from "../files/marks.ts";
import { openStorage } from "../storage/open-storage.ts";
import { keyBytes } from "./record-parts.ts";
import type { JournalRecord } from "../read/record.ts";
import { type ReadPlan, type ReadStart, RecordStream } from "../read/record-stream.ts";
import type { Storage, StorageSource } from "../storage/storage.ts";

export interface ReadOptions {
  /**
   * Where to begin: a sequence, 0 for the first that is there; a time; a key, for its newest
   * record; or "checkpoint", for the sequence that the newest checkpoint names. Default: 0.
   */
  readonly from?: number | Date | Uint8Array | string;
  /**
   * Where to end, inclusive: a sequence or a time. The default is the last sequence that was
   * durable when the reading began; with `follow`, a reading has no end.
   */
  readonly to?: number | Date;
  /** Wait for more at the end, until the journal closes or `signal` is aborted. Default false. */
  readonly follow?: boolean;
  readonly signal?: AbortSignal;
}

const isSequence = (value: unknown): value is number => typeof value === "number" && value >= 0;
const isTime = (value: unknown): value is Date => value instanceof Date && !Number.isNaN(value.getTime());
const isText = (value: unknown): value is string => typeof value === "string" && value.length > 0;

const readRules = {
  from: optional(
    custom(
      `a sequence, a valid Date, a key, or "checkpoint"`,
      (value): value is number | Date | Uint8Array | string =>
        isSequence(value) || isTime(value) || isText(value) || value instanceof Uint8Array,
    ),
  ),
  to: optional(
    custom("a sequence or a valid Date", (value): value is number | Date => isSequence(value) || isTime(value)),
  ),
  follow: boolean(false),
  signal: optional(abortSignal()),
} satisfies Rules;

/** The open log, as readings need it. */
export interface OpenLog {
  /** Everything up to this sequence is durable. */
  durable(): number;
  logId(): Buffer;
  /** Id of the segment that is being written. */
  newestSegment(): number;
  /** Throws when the journal is closed. */
  mustBeOpen(): void;
  /**
   * Waits until more than `after` is durable; false when no more comes. Throws once the journal is
   * poisoned.
   */
  more(after: number, signal: AbortSignal | undefined): Promise<boolean>;
}

export class Readings {
  readonly #source: StorageSource;
  readonly #log: OpenLog;
  readonly #cacheBytes: number;
  /** Where each reader is. */
  readonly #pins = new Map<object, number>();
  readonly #truncations = new Set<Promise<number>>();
  #storage: Promise<Storage> | undefined;
  #lookup: Promise<Lookup> | undefined;
  /** Once it is open: a look-up then takes one turn of the microtask queue. */
  #lookupNow: Lookup | undefined;
  /** The first sequence that is still there. */
  firstSequence = 1;

  /** `cacheBytes`: what look-ups may keep of what they read. */
  constructor(source: StorageSource, log: OpenLog, cacheBytes: number) {
    this.#source = source;
    this.#log = log;
    this.#cacheBytes = cacheBytes;
  }

  /** The oldest sequence that a reader still wants; undefined without readers. */
  get pinned(): number | undefined {
    return this.#pins.size === 0 ? undefined : Math.min(...this.#pins.values());
  }

  /** While `body` runs nothing is given up. */
  async holding<T>(body: () => Promise<T>): Promise<T> {
    const reader = {};
    this.#pins.set(reader, 0);
    try {
      return await body();
    } finally {
      this.#pins.delete(reader);
    }
  }

  read(options: ReadOptions): RecordStream {
    const reader = {};
    const log = this.#log;
    const begin = async (): Promise<ReadStart> => {
      const { from, to, follow, signal } = resolveOptions("read", readRules, options);
      signal?.throwIfAborted();
      // Until it is known where to begin, nothing more is given up.
      this.#pins.set(reader, 0);
      await Promise.allSettled(this.#truncations);
      const first = await this.#sequenceOf(from ?? this.firstSequence);
      this.#pins.set(reader, first);
      const known = log.durable();
      const plan: ReadPlan = {
        from: first,
        fromMs: from instanceof Date ? from.getTime() : undefined,
        to: typeof to === "number" ? to : follow || to !== undefined ? undefined : known,
        toMs: to instanceof Date ? to.getTime() : undefined,
        durable: () => (follow ? log.durable() : known),
        more: follow ? (after) => log.more(after, signal) : undefined,
        signal,
        at: (sequence) => this.#pins.set(reader, sequence),
      };
      return { storage: await this.#openStorage(), plan };
    };
    return new RecordStream(begin, () => this.#pins.delete(reader));
  }

  async get(sequence: number): Promise<JournalRecord | undefined> {
    return (this.#openedNow() ?? (await this.#openLookup())).get(sequence);
  }

  async find(key: Uint8Array | string): Promise<JournalRecord | undefined> {
    return (this.#openedNow() ?? (await this.#openLookup())).find(keyBytes(key));
  }

  async lastCheckpoint(): Promise<Checkpoint | undefined> {
    return readCheckpoints(await this.#openStorage(), this.#log.logId())[0];
  }

  /**
   * Changes the log from its front by `giveUp`, which resolves with the log's new first sequence.
   * Readings that begin meanwhile wait until it has ended.
   */
  async truncating(giveUp: () => Promise<number>): Promise<number> {
    const truncation = this.#truncate(giveUp);
    this.#truncations.add(truncation);
    return truncation.finally(() => this.#truncations.delete(truncation));
  }

  async #truncate(giveUp: () => Promise<number>): Promise<number> {
    let first = 0;
    try {
      first = await giveUp();
    } catch (thrown) {
      // It may have broken off after the log had got its new beginning.
      first = await this.#markedFirst();
      throw thrown;
    } finally {
      this.firstSequence = Math.max(this.firstSequence, first);
      const lookup = await this.#openedLookup();
      lookup?.forget();
    }
    return this.firstSequence;
  }

  /**
   * The first sequence according to `marks`. 0 where `marks` can't be read: the caller must learn
   * of the earlier error, not of this one.
   */
  async #markedFirst(): Promise<number> {
    try {
      const marks = readMarks(await this.#openStorage());
      return marks?.logId.equals(this.#log.logId()) === true ? marks.firstSequence : 0;
    } catch {
      return 0;
    }
  }

  async close(): Promise<void> {
    const lookup = await this.#openedLookup();
    lookup?.close();
  }

  /** If it is open. */
  #openedLookup(): Promise<Lookup | undefined> {
    // The caller that asked for it has got the error.
    return this.#lookup?.catch(() => undefined) ?? Promise.resolve(undefined);
  }

  missing(sequence: number): MillraceError {
    return journalError(
      "ERR_JOURNAL_TRUNCATED",
      `sequence ${sequence} isn't there; the first one is ${this.firstSequence}`,
      { details: { sequence, firstSequence: this.firstSequence } },
    );
  }

  async #sequenceOf(from: number | Date | Uint8Array | string): Promise<number> {
    if (from instanceof Date) return this.firstSequence;
    if (typeof from === "number") {
      if (from < this.firstSequence && from >= 1 && this.firstSequence > 1) throw this.missing(from);
      return Math.max(from, this.firstSequence);
    }
    if (from === "checkpoint") return (await this.lastCheckpoint())?.from ?? this.firstSequence;
    const found = await this.find(from);
    if (found !== undefined) return found.sequence;
    throw journalError("ERR_JOURNAL_NO_KEY", "no record has the key that the reading was to begin with");
  }

  #openStorage(): Promise<Storage> {
    this.#storage ??= openStorage(this.#source).catch((thrown: unknown) => {
      this.#storage = undefined;
      this.#lookup = undefined;
      throw thrown;
    });
    return this.#storage;
  }

  #openedNow(): Lookup | undefined {
    this.#log.mustBeOpen();
    return this.#lookupNow;
  }

  #openLookup(): Promise<Lookup> {
    this.#lookup ??= this.#openStorage().then((storage) => {
      const log = this.#log;
      const ends = {
        first: () => this.firstSequence,
        durable: () => log.durable(),
        newestSegment: () => log.newestSegment(),
      };
      this.#lookupNow = new Lookup(storage, ends, this.#cacheBytes);
      return this.#lookupNow;
    });
    return this.#lookup;
  }
}
