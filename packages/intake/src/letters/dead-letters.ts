/** Questions about dead letters, and commands to them, by filter. */
import {
  abortSignal,
  baseError,
  boolean,
  checkArgument,
  integer,
  number,
  oneOf,
  optional,
  optionsObject,
  type Resolved,
  resolveOptions,
  type Rules,
  text,
} from "@millrace/base";
import type { JournalRecord } from "@millrace/journal";
import type { Letters } from "../delivery/commands.ts";
import type { DeadPiece } from "../delivery/dead-scan.ts";
import { deadKeyHash, REASON, type ReasonName } from "../format/state-records.ts";
import type { DeadQuery } from "../states/dead-table.ts";
import { type DeadRow, DeadRows } from "./dead-rows.ts";
import { type DeadLetter, letterOf, matches, shownLetter } from "./letter.ts";
import { writeLines } from "./lines-file.ts";
import { passed } from "./passed.ts";

/** Why a record is dead: a snooze is never the reason. */
export type DeadReason = Exclude<ReasonName, "snooze">;

const DEATH_REASONS = (Object.keys(REASON) as ReasonName[]).filter((name): name is DeadReason => name !== "snooze");

/** Picks letters: those that match every given member. */
export interface DeadFilter {
  /** The handler in which they died. */
  readonly handler?: string;
  readonly reason?: DeadReason;
  /** Died at this time or later, before this time; ms since 1970. */
  readonly from?: number;
  readonly to?: number;
  /** The order key. */
  readonly key?: string;
  /**
   * Occurs in the last error's text, or in the payload as JSON, as far as `redact` lets it be seen.
   * Reads every letter in question.
   */
  readonly text?: string;
  /** At most this many. Default 1000 for `list`, otherwise no limit. */
  readonly limit?: number;
  /** Letters of records behind this sequence. */
  readonly after?: number;
}

export interface RedriveOptions extends DeadFilter {
  /** The handler that gets them; default the one in which they died. */
  readonly toHandler?: string;
  /** Count them, and do nothing. Default false. */
  readonly dryRun?: boolean;
  /** At most this many a second. Default: no limit but the handler's own. */
  readonly ratePerSecond?: number;
  /** Ends a redrive early: letters that were redriven stay so. */
  readonly signal?: AbortSignal;
}

export interface DropOptions extends DeadFilter {
  /** Count them, and do nothing. Default false. */
  readonly dryRun?: boolean;
}

export interface DeadExportOptions extends DeadFilter {
  /** A file that isn't there yet; only its owner may read it (0600). */
  readonly file: string;
}

const sequenceRule = integer(1, Number.MAX_SAFE_INTEGER);

const filterRules = {
  handler: optional(text()),
  reason: optional(oneOf(DEATH_REASONS, "error")),
  from: optional(number(0, 8.64e15)),
  to: optional(number(0, 8.64e15)),
  key: optional(text()),
  text: optional(text()),
  limit: integer(1, 2 ** 31, 1000),
  after: optional(integer(0, Number.MAX_SAFE_INTEGER, 0)),
} satisfies Rules;
/**
 * A command applies to all letters, so it has no limit by default; people read a list, so it has
 * one.
 */
const allRules = { ...filterRules, limit: integer(1, 2 ** 31, 2 ** 31) } satisfies Rules;
const dropRules = { ...allRules, dryRun: boolean(false) } satisfies Rules;
const redriveRules = {
  ...dropRules,
  toHandler: optional(text()),
  ratePerSecond: optional(number(0.001, 1e9)),
  signal: optional(abortSignal()),
} satisfies Rules;
const exportRules = { ...allRules, file: text() } satisfies Rules;

type Filter = Resolved<typeof filterRules>;

/** Letters whose records are read together, in the order of the log: each batch is read once. */
const READ_TOGETHER = 1024;
/** Time that a redrive with a rate takes for each part. */
const PART_MS = 100;
/** As many origins as one record takes: a part of a redrive is durable, or it isn't. */
const PART_MAX = 4096;

/** The parts of a journal that dead letters need, whether it is delivered from or not in use. */
export interface DeadLettersHost {
  /** The record at a place; undefined when it was given up. */
  get(place: number): Promise<JournalRecord | undefined>;
  scan(query: DeadQuery, behind: number): Promise<DeadPiece>;
  find(sequence: number): Promise<DeadPiece>;
  redrive(letters: Letters, handler: string): Promise<void>;
  drop(letters: Letters): Promise<void>;
  /** Throws `ERR_HANDLER_UNKNOWN`. */
  mustBeHandler(name: string): void;
  /** The part of a payload, or of headers, that may be shown, as JSON can have it. */
  redacted(handler: string, value: unknown): unknown;
}

export class DeadLetters {
  readonly #host: DeadLettersHost;

  constructor(host: DeadLettersHost) {
    this.#host = host;
  }

  /**
   * The letters that `filter` picks, in the order of their records, with payloads as they were
   * published. Throws `ERR_INVALID_OPTION`.
   */
  async list(filter: DeadFilter = {}): Promise<DeadLetter[]> {
    const letters: DeadLetter[] = [];
    for await (const letter of this.#pick(resolveOptions("dead.list", filterRules, filter))) letters.push(letter);
    return letters;
  }

  /** Number of letters that `filter` picks, without regard to `limit`. */
  async count(filter: DeadFilter = {}): Promise<number> {
    const resolved = resolveOptions("dead.count", filterRules, filter);
    return (await this.#letters({ ...resolved, limit: Infinity })).origins.length;
  }

  /** One letter; undefined when the record isn't dead. Throws `ERR_INVALID_OPTION`. */
  async get(sequence: number): Promise<DeadLetter | undefined> {
    checkArgument("dead.get", "the sequence", sequenceRule, sequence);
    return (await this.#read(new DeadRows([await this.#host.find(sequence)]).rows(0, 1)))[0];
  }

  /**
   * Redrives the letters that `filter` picks now: their handler gets them again, or another one
   * does. Resolves with their number when that is durable. Each death is redriven once, however
   * many calls ask for it. After a crash on the way the rest are still dead, and can be redriven by
   * another call. Attempts begin anew, and `context.record.redriven` counts. An idempotency key
   * isn't looked at again. Throws `ERR_INVALID_OPTION`, `ERR_HANDLER_UNKNOWN`.
   */
  async redrive(options: RedriveOptions): Promise<number> {
    mustBeMeant("dead.redrive", options);
    const resolved = resolveOptions("dead.redrive", redriveRules, options);
    const { toHandler, dryRun, ratePerSecond, signal, ...filter } = resolved;
    if (toHandler !== undefined) this.#host.mustBeHandler(toHandler);
    const { origins, lastDeath } = await this.#letters(filter);
    if (dryRun) return origins.length;
    const perPart = ratePerSecond === undefined ? PART_MAX : Math.ceil((ratePerSecond * PART_MS) / 1000);
    const count = Math.min(PART_MAX, perPart);
    for (let from = 0; from < origins.length; from += count) {
      signal?.throwIfAborted();
      const part = origins.slice(from, from + count);
      await this.#host.redrive({ origins: part, lastDeath }, toHandler ?? "");
      const isLast = from + count >= origins.length;
      if (ratePerSecond !== undefined && !isLast) await passed((part.length / ratePerSecond) * 1000, signal);
    }
    return origins.length;
  }

  /**
   * Drops the letters that `filter` picks, for good. Resolves with their number when that is
   * durable. From then on nobody can read them through Millrace. Their bytes leave the disk when
   * the journal gives up their segment: soon after nothing before it is needed, or at once with
   * `millrace journal compact`. Copies and backups keep them.
   */
  async drop(options: DropOptions): Promise<number> {
    mustBeMeant("dead.drop", options);
    const { dryRun, ...filter } = resolveOptions("dead.drop", dropRules, options);
    const letters = await this.#letters(filter);
    if (!dryRun && letters.origins.length > 0) await this.#host.drop(letters);
    return letters.origins.length;
  }

  /**
   * Writes the letters that `filter` picks into a new file, a line of JSON each, redacted as the
   * handler's option `redact` says. Resolves with their number when the file is on disk. Throws
   * `ERR_INVALID_OPTION`, and the system's error for a file that can't be made, or is there.
   */
  async export(options: DeadExportOptions): Promise<number> {
    const { file, ...filter } = resolveOptions("dead.export", exportRules, options);
    return await writeLines(file, this.#show(filter));
  }

  /**
   * The letters that `filter` picks, one by one, as an object for JSON: redacted, with bytes, dates
   * and big numbers as texts.
   */
  show(filter: DeadFilter = {}): AsyncGenerator<object, void> {
    return this.#show(resolveOptions("dead.show", allRules, filter));
  }

  /** One letter as `show` gives it; undefined when the record isn't dead. */
  async showOne(sequence: number): Promise<object | undefined> {
    const letter = await this.get(sequence);
    return letter === undefined ? undefined : this.#shown(letter);
  }

  #shown(letter: DeadLetter): object {
    return shownLetter(letter, (handler, value) => this.#host.redacted(handler, value));
  }

  async *#show(filter: Filter): AsyncGenerator<object, void> {
    for await (const letter of this.#pick(filter)) yield this.#shown(letter);
  }

  // ── picking ───────────────────────────────────────────────────────────────────────────────────

  /** The letters of a command. Reads records only where nothing else can tell. */
  async #letters(filter: Filter): Promise<Letters> {
    const rows = await this.#rows(filter);
    const origins: number[] = [];
    let lastDeath = 0;
    const take = ({ origin, death }: DeadRow): void => {
      origins.push(origin);
      lastDeath = Math.max(lastDeath, death);
    };
    const isReading = filter.text !== undefined || !rows.isSure;
    if (isReading) for await (const [row] of this.#readMatching(rows, filter)) take(row);
    else for (let index = 0; index < rows.length && index < filter.limit; index += 1) take(rows.row(index));
    return { origins, lastDeath };
  }

  async *#pick(filter: Filter): AsyncGenerator<DeadLetter, void> {
    for await (const [, letter] of this.#readMatching(await this.#rows(filter), filter)) yield letter;
  }

  /** The letters that the delivery thread lets pass, in the order of the records. */
  async #rows({ handler, reason, from = 0, to = Infinity, key, after = 0 }: Filter): Promise<DeadRows> {
    const query: DeadQuery = {
      handler,
      reason: reason === undefined ? undefined : REASON[reason],
      fromMs: from,
      toMs: to,
      keyHash: key === undefined ? undefined : deadKeyHash(Buffer.from(key)),
      after,
    };
    const pieces: DeadPiece[] = [];
    // Ends: each piece goes on behind the one before, and there is a last death.
    for (let behind: number | undefined = 0; behind !== undefined;) {
      const piece: DeadPiece = await this.#host.scan(query, behind);
      pieces.push(piece);
      ({ behind } = piece);
    }
    return new DeadRows(pieces);
  }

  async *#readMatching(
    rows: DeadRows,
    filter: Filter,
  ): AsyncGenerator<readonly [row: DeadRow, letter: DeadLetter], void> {
    const isSearch = filter.text !== undefined || filter.key !== undefined;
    const redacted = (name: string, value: unknown): unknown => this.#host.redacted(name, value);
    let found = 0;
    for (let from = 0; from < rows.length && found < filter.limit;) {
      const part = rows.rows(from, from + (isSearch ? READ_TOGETHER : Math.min(READ_TOGETHER, filter.limit - found)));
      from += part.length;
      for (const [index, letter] of (await this.#read(part)).entries()) {
        if (letter === undefined || !matches(letter, filter, redacted)) continue;
        yield [part[index] as DeadRow, letter];
        found += 1;
        if (found >= filter.limit) return;
      }
    }
  }

  /** Undefined for a letter that was redriven or dropped meanwhile, and whose records are gone. */
  async #read(rows: readonly DeadRow[]): Promise<(DeadLetter | undefined)[]> {
    const records = await this.#recordsAt(rows.map(({ dataPlace }) => dataPlace));
    const fates = await this.#recordsAt(rows.map(({ place }) => place));
    return records.map((record, index) => {
      const fate = fates[index];
      return record === undefined || fate === undefined ? undefined : letterOf(record, fate);
    });
  }

  async #recordsAt(places: readonly number[]): Promise<(JournalRecord | undefined)[]> {
    const found = new Map<number, JournalRecord | undefined>();
    for (const place of places.toSorted((left, right) => left - right)) {
      found.set(place, await this.#host.get(place));
    }
    return places.map((place) => found.get(place));
  }
}

/**
 * A filter whose value is missing by mistake picks every letter: what changes letters takes none,
 * and `{}` for all of them.
 */
function mustBeMeant(owner: string, options: unknown): void {
  checkArgument(owner, "the filter", optionsObject(), options);
  for (const [name, value] of Object.entries(options as object)) {
    if (value !== undefined || !Object.hasOwn(filterRules, name)) continue;
    throw baseError(
      "ERR_INVALID_OPTION",
      `${owner}: option "${name}" is undefined; leave it out to mean every letter`,
      {
        details: { owner, name, value, allowed: "a value, or no such member" },
      },
    );
  }
}
