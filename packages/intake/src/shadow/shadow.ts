/**
 * Shadow replay: gives recorded records to the handlers of another module, and compares their ends
 * with the recorded ones. It writes nothing: the records that the handlers publish are compared,
 * and never stored.
 */
import {
  abortSignal,
  custom,
  integer,
  number,
  optional,
  type Resolved,
  resolveOptions,
  type Rules,
  text,
} from "@millrace/base";
import { decode } from "@millrace/codec";
import { type AttemptEnd, valueOf } from "../format/attempt-record.ts";
import type { StagedRecord } from "../format/outcome.ts";
import { encodedHeaders, handlerName, publisherHeaders, termsOf } from "../format/record-header.ts";
import { TaskHeaderWriter } from "../format/task-header.ts";
import { passed } from "../letters/passed.ts";
import { type RecordedFilter, mustBeMeant, pickedBy, rangeRules } from "../replay/replay.ts";
import { type RecordedLog, recordedRange } from "../replay/recorded.ts";
import type { WindowLimits } from "../states/dedupe-window.ts";
import { type ComparedEnd, type Difference, differenceOf, type ShadowPublished } from "./compare.ts";
import { type Finished, finishedRecords } from "./finished.ts";
import { IgnoredPaths } from "./paths.ts";
import { ReportBuilder, type ShadowDifference, type ShadowReport, shownEnd } from "./report.ts";
import { type ShadowEnd, ShadowRunner } from "./runner.ts";

export interface ShadowOptions {
  /** The module whose handlers get the records: a URL or a path, as for `open`. */
  readonly handlers: URL | string;
  /** As for `replay`: a sequence, a time, or "checkpoint". Default: the first that is there. */
  readonly from?: number | Date | "checkpoint";
  /** As for `replay`. Default: the last that is durable at the call. */
  readonly to?: number | Date;
  readonly filter?: RecordedFilter;
  /** The handler that gets them; default the one that each was handled by. */
  readonly handler?: string;
  /** At most this many a second. Default: as fast as they end. */
  readonly ratePerSecond?: number;
  /** Threads. Default 1. */
  readonly processors?: number;
  /** Records in hand at once. Default 16. */
  readonly concurrencyMax?: number;
  /** Longest time of a handler, ms. Default 30 s. */
  readonly timeoutMs?: number;
  /** How long a thread may take to load the module, ms. Default 30 s. */
  readonly startTimeoutMs?: number;
  /**
   * Places that the shadow replay doesn't compare, with everything below them: `result.at`,
   * `published[*].headers`, `error.message`.
   */
  readonly ignore?: readonly string[];
  /** Differences that the report shows; all are counted. Default 100. */
  readonly differencesMax?: number;
  /** Ends it early: the promise rejects with its reason. */
  readonly signal?: AbortSignal;
}

/** The parts of a journal that it needs, whether a service has it open or not. */
export interface ShadowHost {
  readonly log: RecordedLog;
  readonly logId: Uint8Array;
  readonly dedupe: WindowLimits;
  /** Most bytes of a record. */
  readonly recordBytesMax: number;
  redacted(handler: string, value: unknown): unknown;
}

const GROUP_BYTES_MAX: number = 64 * 2 ** 20;
const TIMER_MS_MAX: number = 2 ** 31 - 1;
const NO_BYTES = new Uint8Array(0);

/** Also one of another realm. */
function isUrl(value: unknown): value is URL {
  return Object.prototype.toString.call(value) === "[object URL]";
}

const rules = {
  ...rangeRules,
  handlers: custom(
    "a URL or a path",
    (value): value is URL | string => isUrl(value) || (typeof value === "string" && value.length > 0),
  ),
  handler: optional(text()),
  ratePerSecond: optional(number(0.001, 1e9)),
  processors: integer(1, 64, 1),
  concurrencyMax: integer(1, 1024, 16),
  timeoutMs: integer(1, TIMER_MS_MAX, 30_000),
  startTimeoutMs: integer(1, TIMER_MS_MAX, 30_000),
  ignore: custom<readonly string[]>(
    "a list of paths",
    (value): value is readonly string[] => Array.isArray(value) && value.every((path) => typeof path === "string"),
    () => [],
  ),
  differencesMax: integer(0, 1_000_000, 100),
  signal: optional(abortSignal()),
} satisfies Rules;

/**
 * See `Millrace.shadow`. Throws `ERR_INVALID_OPTION`, `ERR_REPLAY_RANGE`, `ERR_HANDLER_MODULE`,
 * `ERR_JOURNAL_DAMAGED`, and the signal's reason.
 */
export async function shadow(host: ShadowHost, given: ShadowOptions): Promise<ShadowReport> {
  const options = resolveOptions("shadow", rules, given);
  mustBeMeant("shadow", given, ["from", "to", "filter"]);
  const isPicked = pickedBy("shadow.filter", options.filter);
  const ignored = new IgnoredPaths("shadow", options.ignore);
  options.signal?.throwIfAborted();
  const range = await recordedRange(host.log, options.from, options.to);
  const runner = await ShadowRunner.open(options);
  const run = new ShadowRun(host, options, runner, ignored);
  try {
    const { unended } = run.builder;
    const limits = { dedupe: host.dedupe };
    for await (const each of finishedRecords(host.log, range, limits, unended, isPicked, options.signal)) {
      await run.begin(each);
    }
    await run.ended();
  } finally {
    await runner.close();
  }
  return run.builder.report();
}

class ShadowRun {
  readonly #host: ShadowHost;
  readonly #options: Resolved<typeof rules>;
  readonly #runner: ShadowRunner;
  readonly #ignored: IgnoredPaths;
  readonly #headers: TaskHeaderWriter;
  readonly builder: ReportBuilder;
  readonly #inHand = new Set<Promise<void>>();
  /** The error that ends the run, such as a record that can't be read. */
  #failure: { readonly error: unknown } | undefined;
  /** The last record of each order key that is in hand. */
  readonly #keys = new Map<string, Promise<void>>();

  constructor(host: ShadowHost, options: Resolved<typeof rules>, runner: ShadowRunner, ignored: IgnoredPaths) {
    this.#host = host;
    this.#options = options;
    this.#runner = runner;
    this.#ignored = ignored;
    this.builder = new ReportBuilder(options.differencesMax);
    const { logId, recordBytesMax } = host;
    this.#headers = new TaskHeaderWriter(logId, { recordBytesMax, groupBytesMax: GROUP_BYTES_MAX });
  }

  /** Resolves when the next record may begin. */
  async begin(finished: Finished): Promise<void> {
    const { ratePerSecond, concurrencyMax, signal } = this.#options;
    if (ratePerSecond !== undefined) await passed(1000 / ratePerSecond, signal);
    // Ends: one of them ends, by its time limit at the latest.
    while (this.#inHand.size >= concurrencyMax) await this.#untilOneEnds();
    const { record } = finished;
    const isOrdered = termsOf(record.header()).isOrdered === true;
    const line = isOrdered
      ? `${handlerName(record.header())} ${record.priority} ${record.key().toString("latin1")}`
      : "";
    const before = isOrdered ? this.#keys.get(line) : undefined;
    const one = this.#one(finished, before)
      .catch((error: unknown) => void (this.#failure ??= { error }))
      .finally(() => {
        this.#inHand.delete(one);
        if (this.#keys.get(line) === one) this.#keys.delete(line);
      });
    this.#inHand.add(one);
    if (isOrdered) this.#keys.set(line, one);
  }

  async ended(): Promise<void> {
    while (this.#inHand.size > 0) await this.#untilOneEnds();
  }

  /** Throws the signal's reason. */
  async #untilOneEnds(): Promise<void> {
    const { signal } = this.#options;
    const over = new AbortController();
    try {
      const aborted = signal === undefined ? [] : [untilAborted(signal, over.signal)];
      await Promise.race([...this.#inHand, ...aborted]);
    } finally {
      over.abort();
    }
    signal?.throwIfAborted();
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  async #one(finished: Finished, before: Promise<void> | undefined): Promise<void> {
    await before;
    const { record, end } = finished;
    const handler = this.#options.handler ?? end?.handler ?? handlerName(record.header());
    const then = recordedEnd(finished);
    if (!this.#runner.handlerNames.includes(handler)) {
      this.#compared(finished, handler, then, undefined, { kind: "missing", paths: [] });
      return;
    }
    const now = shadowEnd(await this.#run(finished, handler));
    this.#compared(finished, handler, then, now, differenceOf(then, now, this.#ignored));
  }

  async #run({ record, end }: Finished, handler: string): Promise<ShadowEnd> {
    const header = record.header();
    const terms = termsOf(header);
    const bytes = this.#headers.write({
      sequence: record.origin,
      timeMs: record.timeMs,
      attempt: end?.attempt ?? 1,
      redriven: end?.redriven ?? 0,
      resultBytesMax: GROUP_BYTES_MAX,
      isRecorded: true,
      key: terms.isOrdered === true ? record.key() : NO_BYTES,
      replayOf: terms.replayOf ?? 0,
      scheduled: terms.scheduled,
      trace: terms.trace ?? "",
      lastSpan: "",
      headers: encodedHeaders(header),
    });
    const own = Uint8Array.from(bytes);
    // Ends: without others in hand there is room for one, or it is too large and throws.
    for (;;) {
      const running = this.#runner.run(handler, record.payload(), own);
      if (running !== undefined) return await running;
      // One after the other, as room comes.
      // oxlint-disable-next-line no-await-in-loop
      await passed(1, this.#options.signal);
    }
  }

  #compared(
    { record, end }: Finished,
    handler: string,
    then: ComparedEnd,
    now: ComparedEnd | undefined,
    difference: Difference | undefined,
  ): void {
    const redacted = (name: string, value: unknown): unknown => this.#host.redacted(name, value);
    this.builder.compared(handler, then, now, difference, (found): ShadowDifference => {
      const isOrdered = termsOf(record.header()).isOrdered === true;
      return {
        ...found,
        sequence: record.origin,
        handler,
        key: isOrdered ? record.key().toString() : undefined,
        attempt: end?.attempt ?? 1,
        payload: redacted(handlerName(record.header()), decode(record.payload())),
        recorded: shownEnd(handler, then, redacted),
        shadow: now === undefined ? undefined : shownEnd(handler, now, redacted),
      };
    });
  }
}

function untilAborted(signal: AbortSignal, over: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", () => resolve(), { signal: over });
  });
}

function recordedEnd({ end, failure, isDead, published }: Finished): ComparedEnd {
  const own = {
    published: published.map((each) => publishedOf(each.header(), each.key(), each.payload(), each.priority)),
  };
  if (end !== undefined) return { ...own, ...recordedValue(end), ranMs: end.ranMs };
  const reason = isDead ? (failure?.reason ?? "error") : undefined;
  return { ...own, reason, value: failure?.error, isKnown: failure !== undefined, ranMs: undefined };
}

function recordedValue(end: AttemptEnd): Pick<ComparedEnd, "reason" | "value" | "isKnown"> {
  return { reason: end.reason, value: valueOf(end), isKnown: !end.isRefused };
}

function shadowEnd({ reason, value, staged, ranMs }: ShadowEnd): ComparedEnd {
  const published = staged.map(publishedBy);
  return { reason, value, isKnown: true, published, ranMs };
}

function publishedBy({ header, key, payload, priority }: StagedRecord): ShadowPublished {
  return publishedOf(Buffer.from(header), Buffer.from(key), Buffer.from(payload), priority);
}

function publishedOf(header: Buffer, key: Buffer, payload: Buffer, priority: number): ShadowPublished {
  const { isOrdered, idempotency } = termsOf(header);
  return {
    handler: handlerName(header),
    payload: decode(payload),
    priority,
    key: isOrdered === true ? key.toString() : undefined,
    idempotencyKey: idempotency === undefined ? undefined : Buffer.from(idempotency.key).toString(),
    headers: publisherHeaders(header),
  };
}
