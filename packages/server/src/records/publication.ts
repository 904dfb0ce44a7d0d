/** From a request to a publish: what may be asked for, and what is answered. */
import { nearest } from "@millrace/base";
import { intakeError, type IntakeStats, type PublishOptions } from "@millrace/intake";
import type { Millrace } from "@millrace/runtime";
import { unknownHandler } from "@millrace/scheduler";
import { serverError } from "../errors.ts";

/** What a client may say about a record. */
export type RecordTerms = Pick<PublishOptions, "key" | "idempotencyKey" | "priority" | "delayMs" | "ttlMs" | "headers">;

/** A stored record, as it is told to its client. */
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

/** Of a name in a message. */
const NAME_SHOWN_MAX = 100;
const TERMS = ["key", "idempotencyKey", "priority", "delayMs", "ttlMs", "headers"] as const;

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

  /** Resolves when the record is durable; when the intake is full it rejects at once. */
  async try(handler: string, payload: unknown, terms: RecordTerms): Promise<Stored> {
    const { sequence, duplicate } = await this.#call("tryPublish", handler, payload, terms);
    return { sequence, duplicate };
  }

  /** As `try`, but waits while the intake is full. */
  async wait(handler: string, payload: unknown, terms: RecordTerms): Promise<Stored> {
    const { sequence, duplicate } = await this.#call("publish", handler, payload, terms);
    return { sequence, duplicate };
  }

  /** All or none. */
  async together(handler: string, records: readonly Envelope[]): Promise<Stored[]> {
    const group = records.map(({ payload, terms }) => ({ handler, payload, ...terms }));
    const acknowledged = await this.#mill.publishMany(group, { whenFull: "reject" });
    return acknowledged.map(({ sequence, duplicate }) => ({ sequence, duplicate }));
  }

  /** Whether a publish would be refused now. */
  get isFull(): boolean {
    return this.#mill.level === "reject";
  }

  /** How a publish would be refused now. */
  fullError(): Error {
    const { cause, retryAfterMs } = (this.#mill.stats().intake as IntakeStats).level;
    return intakeError("ERR_INTAKE_FULL", `the intake is full (${cause ?? "until now"})`, {
      details: { cause, retryAfterMs },
    });
  }

  #call(how: "publish" | "tryPublish", handler: string, payload: unknown, terms: RecordTerms): Promise<Stored> {
    const call = this.#mill[how][handler] as (payload: unknown, terms: RecordTerms) => Promise<Stored>;
    return call(payload, terms);
  }
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
