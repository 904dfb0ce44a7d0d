/**
 * Spans by `@opentelemetry/api`, which only this folder knows, and which is loaded only with the
 * option `spans`. The user's SDK decides what becomes of a span; without one nothing is made.
 *
 * Names follow OpenTelemetry's conventions for messaging, whose state is "development":
 * opentelemetry.io/docs/specs/semconv/messaging/messaging-spans. They are all in this file.
 */
import type * as Api from "@opentelemetry/api";
import { performance } from "@millrace/base";
import { intakeError } from "../errors.ts";
import {
  packTrace,
  partsOfTraceparent,
  type TraceContext,
  traceparentOf,
  unpackTrace,
} from "../format/trace-context.ts";
import type { ResolvedSpanOptions } from "./options.ts";

export const ATTRIBUTE = {
  system: "messaging.system",
  operationName: "messaging.operation.name",
  operationType: "messaging.operation.type",
  destination: "messaging.destination.name",
  messageId: "messaging.message.id",
  batchCount: "messaging.batch.message_count",
  errorType: "error.type",
  exceptionType: "exception.type",
  duplicate: "millrace.record.duplicate",
  attempt: "millrace.record.attempt",
  redriven: "millrace.record.redriven",
  replayOf: "millrace.record.replay_of",
  snoozed: "millrace.record.snoozed",
  schedule: "millrace.schedule.name",
  machine: "millrace.machine",
  handler: "millrace.handler",
  calls: "millrace.calls",
  /** Of a link: why it is there. */
  link: "millrace.link",
} as const;

/** Why a span is linked to another one. */
export type LinkKind = "retry" | "redrive" | "replay" | "duplicate";

/** The operation of a span on a record, and its type by the conventions. */
const OPERATIONS = { publish: "send", process: "process", ack: "settle" } as const;

const TRACER = "millrace";

export class Tracing {
  readonly api: typeof Api;
  readonly options: ResolvedSpanOptions;
  readonly #tracer: Api.Tracer;
  readonly #none: unknown;

  private constructor(api: typeof Api, options: ResolvedSpanOptions) {
    this.api = api;
    this.options = options;
    this.#tracer = api.trace.getTracer(TRACER);
    this.#none = new api.ProxyTracerProvider().getDelegate();
  }

  /** Throws `ERR_SPANS_UNAVAILABLE`. */
  static async load(options: ResolvedSpanOptions): Promise<Tracing> {
    try {
      return new Tracing(await import("@opentelemetry/api"), options);
    } catch (cause) {
      throw intakeError("ERR_SPANS_UNAVAILABLE", "the option spans needs the package @opentelemetry/api", { cause });
    }
  }

  /** Whether anybody has registered a provider in this thread, by now. */
  get isOn(): boolean {
    const provider = this.api.trace.getTracerProvider() as Partial<Api.ProxyTracerProvider>;
    return provider.getDelegate?.() !== this.#none;
  }

  start(name: string, options: Api.SpanOptions, parent: Api.Context): Api.Span {
    return this.#tracer.startSpan(name, options, parent);
  }

  /** Attributes of a span about records of a handler. */
  ofRecord(operation: keyof typeof OPERATIONS, handler: string | undefined): Api.Attributes {
    return {
      [ATTRIBUTE.system]: "millrace",
      [ATTRIBUTE.operationName]: operation,
      [ATTRIBUTE.operationType]: OPERATIONS[operation],
      ...(handler === undefined ? undefined : { [ATTRIBUTE.destination]: handler }),
    };
  }

  /** The context of a span elsewhere; undefined for what is no trace context. */
  spanContext({
    traceparent,
    tracestate,
  }: {
    readonly traceparent: string;
    readonly tracestate?: string | undefined;
  }): Api.SpanContext | undefined {
    const parts = partsOfTraceparent(traceparent);
    if (parts === undefined) return undefined;
    const state = tracestate === undefined ? undefined : { traceState: this.api.createTraceState(tracestate) };
    return { ...parts, isRemote: true, ...state };
  }

  /** Of a text that a record keeps. */
  keptContext(trace: string | undefined): Api.SpanContext | undefined {
    return trace === undefined ? undefined : this.spanContext(unpackTrace(trace));
  }

  link(context: Api.SpanContext | undefined, kind: LinkKind): Api.Link[] {
    return context === undefined ? [] : [{ context, attributes: { [ATTRIBUTE.link]: kind } }];
  }

  /** The trace context that a record keeps of a span; undefined for a span that isn't valid. */
  traceOf(span: Api.SpanContext | undefined): TraceContext | undefined {
    if (span === undefined || !this.api.isSpanContextValid(span)) return undefined;
    const tracestate = span.traceState?.serialize() ?? "";
    return { traceparent: traceparentOf(span), ...(tracestate === "" ? undefined : { tracestate }) };
  }

  /** The active span, as a record keeps it. */
  activeTrace(): string | undefined {
    const trace = this.traceOf(this.api.trace.getSpanContext(this.api.context.active()));
    return trace && packTrace(trace);
  }

  /** Marks the span as failed. */
  failed(span: Api.Span, thrown: unknown): void {
    const type = typeOf(thrown);
    const { errorMessages } = this.options;
    const { ERROR: code } = this.api.SpanStatusCode;
    span.setAttribute(ATTRIBUTE.errorType, type);
    if (errorMessages) {
      const error = thrown instanceof Error ? thrown : String(thrown);
      span.recordException(error);
      span.setStatus({ code, message: thrown instanceof Error ? thrown.message : String(thrown) });
      return;
    }
    span.addEvent("exception", { [ATTRIBUTE.exceptionType]: type });
    span.setStatus({ code });
  }
}

/** A code, or a class: nothing that a payload says. */
function typeOf(thrown: unknown): string {
  if (typeof thrown !== "object" || thrown === null) return typeof thrown;
  const { code, name } = thrown as { code?: unknown; name?: unknown };
  if (typeof code === "string" && /^[A-Z][A-Z\d_]*$/.test(code)) return code;
  return typeof name === "string" && /^\w{1,100}$/.test(name) ? name : "Error";
}

/** Ms since 1970, with fractions, by the clock that nobody sets. */
export function spanTime(): number {
  return performance.timeOrigin + performance.now();
}
