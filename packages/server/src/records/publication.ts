/** From a request to a publish: what may be asked for, and what is answered. */
import { nearest } from "@millrace/base";
import { intakeError, type IntakeStats, type LevelReport, type PublishOptions } from "@millrace/intake";
import type { Millrace } from "@millrace/runtime";
import { unknownHandler } from "@millrace/scheduler";
import { serverError } from "../errors.ts";

/** The options of a record that a client may set. */
export type RecordTerms = Pick<PublishOptions, (typeof TERMS)[number]>;

/** A stored record, as its client gets it. */
export interface Stored {
  readonly sequence: number;
  readonly duplicate: boolean;
}

/** A record with what its client says about it. */
export interface Envelope {
  readonly handler: unknown;
  readonly payload: unknown;
  readonly terms: RecordTerms;
}

/**
 * Time that a request waits for room in the ring to the disk: many syncs, and shorter than any
 * client's limit.
 */
const RING_WAIT_MS = 2000;
/** Of a name in a message. */
const NAME_SHOWN_MAX = 100;
const TERMS = [
  "key",
  "idempotencyKey",
  "priority",
  "delayMs",
  "ttlMs",
  "headers",
  "traceparent",
  "tracestate",
] as const;

/** Handlers that clients may publish for. */
export class Publications {
  readonly #mill: Millrace;
  readonly #names: ReadonlySet<string>;

  /** `handlers`: all of the module's unless some are named. */
  constructor(mill: Millrace, handlers: readonly string[] | undefined) {
    this.#mill = mill;
    this.#names = new Set(handlers ?? mill.handlerNames);
  }

  /** Throws `ERR_HANDLER_UNKNOWN`. */
  mustBeHandler(name: unknown): asserts name is string {
    if (typeof name !== "string") throw serverError("ERR_REQUEST_INVALID", '"handler" must be a text');
    if (!this.#names.has(name)) throw unknownHandler(name.slice(0, NAME_SHOWN_MAX), [...this.#names]);
  }

  /**
   * Resolves when the record is durable. When the intake is full it rejects: at once, unless only
   * the ring to the disk is full, which passes with the next sync.
   */
  async publish(handler: string, payload: unknown, terms: RecordTerms): Promise<Stored> {
    if (this.refusal(handler) !== undefined) return stored(await this.#call("tryPublish", handler, payload, terms));
    return stored(
      await this.#call("publish", handler, payload, { ...terms, whenFull: "wait", timeoutMs: RING_WAIT_MS }),
    );
  }

  /** As `publish`, but waits while the intake is full, until `signal` aborts. */
  async wait(handler: string, payload: unknown, terms: RecordTerms, signal?: AbortSignal): Promise<Stored> {
    const options: PublishOptions = { ...terms, whenFull: "wait", ...(signal === undefined ? undefined : { signal }) };
    return stored(await this.#call("publish", handler, payload, options));
  }

  /** All or none. */
  async together(handler: string, records: readonly Envelope[]): Promise<Stored[]> {
    const group = records.map(({ payload, terms }) => ({ handler, payload, ...terms }));
    const isRefused = this.refusal(handler) !== undefined;
    const acknowledged = await this.#mill.publishMany(
      group,
      isRefused ? { whenFull: "reject" } : { whenFull: "wait", timeoutMs: RING_WAIT_MS },
    );
    return acknowledged.map(stored);
  }

  /** Why a handler takes nothing, if that lasts longer than the next sync; undefined otherwise. */
  refusal(handler: string): Error | undefined {
    if (this.#mill.levelOf(handler) !== "reject") return undefined;
    // It may have fallen since.
    const { level, cause, refusedHandlers } = this.#level();
    if (refusedHandlers.includes(handler)) return stoppedError(handler);
    return level !== "reject" || cause === "ring" ? undefined : this.fullError();
  }

  /** That the intake is full, as a publish would say it. */
  fullError(): Error {
    const { cause, retryAfterMs } = this.#level();
    return intakeError("ERR_INTAKE_FULL", `the intake is full (${cause})`, { details: { cause, retryAfterMs } });
  }

  #level(): LevelReport {
    return (this.#mill.stats().intake as IntakeStats).level;
  }

  #call(how: "publish" | "tryPublish", handler: string, payload: unknown, options: PublishOptions): Promise<Stored> {
    const call = this.#mill[how][handler] as (payload: unknown, options: PublishOptions) => Promise<Stored>;
    return call(payload, options);
  }
}

function stoppedError(handler: string): Error {
  const text = `the handler ${handler} takes no records now: it is stopped, and too many records wait to be handled`;
  return intakeError("ERR_INTAKE_FULL", text, { details: { cause: "stopped", retryAfterMs: 1000 } });
}

function stored({ sequence, duplicate }: Stored): Stored {
  return { sequence, duplicate };
}

/** Throws `ERR_REQUEST_INVALID` for what isn't an object with known members. */
export function readEnvelope(value: unknown, more: readonly string[] = []): Envelope {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw serverError("ERR_REQUEST_INVALID", 'a record must be an object with "payload"');
  }
  const known = ["payload", ...TERMS, ...more];
  for (const name of Object.keys(value)) {
    if (known.includes(name)) continue;
    const near = nearest(name, known);
    const hint = near === undefined ? `known are ${known.join(", ")}` : `did you mean "${near}"?`;
    throw serverError(
      "ERR_REQUEST_INVALID",
      `unknown member ${JSON.stringify(name.slice(0, NAME_SHOWN_MAX))}; ${hint}`,
    );
  }
  if (!Object.hasOwn(value, "payload")) throw serverError("ERR_REQUEST_INVALID", 'a record needs a member "payload"');
  const given = value as Record<string, unknown>;
  const terms = Object.fromEntries(
    TERMS.filter((name) => Object.hasOwn(given, name)).map((name) => [name, given[name]]),
  );
  return { handler: given.handler, payload: given.payload, terms };
}
