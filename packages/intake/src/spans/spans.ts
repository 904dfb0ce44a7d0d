/** Spans of the opening thread: publishes, acknowledgements, calls. */
import type * as Api from "@opentelemetry/api";
import { isMillraceError } from "@millrace/base";
import { partsOfTraceparent, type TraceContext } from "../format/trace-context.ts";
import type { ResolvedSpanOptions } from "./options.ts";
import { ATTRIBUTE, spanTime, Tracing } from "./tracing.ts";

/** The result of a publish, as far as spans report it. */
interface Stored {
  readonly sequence: number;
  readonly duplicate: boolean;
}

/** `admitted` is called when a record that had to wait has got its room in the ring. */
export type PublishCall<Answer> = (value: unknown, given: object | undefined, admitted?: () => void) => Promise<Answer>;

/** The trace context that a record of the journal keeps; undefined without. */
type TraceOfRecord = (sequence: number) => Promise<string | undefined>;

export class Spans {
  readonly #tracing: Tracing;
  /** Later, when the journal is open. */
  traceOfRecord: TraceOfRecord = async () => undefined;

  private constructor(tracing: Tracing) {
    this.#tracing = tracing;
  }

  /** Throws `ERR_SPANS_UNAVAILABLE`. */
  static async load(options: ResolvedSpanOptions): Promise<Spans> {
    return new Spans(await Tracing.load(options));
  }

  get options(): ResolvedSpanOptions {
    return this.#tracing.options;
  }

  /** `publish` for a handler, with spans. */
  publishing<Answer extends Stored>(handler: string, publish: PublishCall<Answer>): PublishCall<Answer> {
    return (value, given) => {
      if (!this.#tracing.isOn || !isPlain(given)) return publish(value, given);
      return this.#publish(handler, (options, admitted) => publish(value, options, admitted), given);
    };
  }

  async #publish<Answer extends Stored>(
    handler: string,
    publish: (given: object | undefined, admitted: () => void) => Promise<Answer>,
    given: (object & Partial<TraceContext>) | undefined,
  ): Promise<Answer> {
    const { api } = this.#tracing;
    const parent = this.#parentOf(given?.traceparent === undefined ? undefined : (given as TraceContext));
    const attributes = this.#tracing.ofRecord("publish", handler);
    const span = this.#tracing.start(`publish ${handler}`, { kind: api.SpanKind.PRODUCER, attributes }, parent);
    const context = api.trace.setSpan(parent, span);
    const trace = this.#tracing.traceOf(span.spanContext());
    const options = trace === undefined ? given : { ...given, tracestate: undefined, ...trace };
    let admittedAt = 0;
    const promise = api.context.with(context, publish, undefined, options, () => (admittedAt = spanTime()));
    // Appended within the call, unless it had to wait.
    const journalFrom = spanTime();
    try {
      const answer = await promise;
      const endedAt = spanTime();
      this.#journal(handler, context, admittedAt || journalFrom, endedAt);
      span.setAttribute(ATTRIBUTE.messageId, String(answer.sequence));
      if (answer.duplicate) this.#endDuplicate(span, answer.sequence, endedAt);
      else span.end(endedAt);
      this.#watch(handler, context, answer);
      return answer;
    } catch (thrown) {
      const endedAt = spanTime();
      if (isMillraceError(thrown, "ERR_JOURNAL_UNCERTAIN")) {
        this.#journal(handler, context, admittedAt || journalFrom, endedAt, thrown);
      }
      this.#tracing.failed(span, thrown);
      span.end(endedAt);
      throw thrown;
    }
  }

  /** From the ring to the receipt of the sync. */
  #journal(handler: string, parent: Api.Context, startTime: number, endTime: number, thrown?: unknown): void {
    const attributes = { [ATTRIBUTE.destination]: handler };
    const span = this.#tracing.start(`journal ${handler}`, { startTime, attributes }, parent);
    if (thrown !== undefined) this.#tracing.failed(span, thrown);
    span.end(endTime);
  }

  /** Linked to the publish of the record that came first, where that is still known. */
  #endDuplicate(span: Api.Span, first: number, endedAt: number): void {
    span.setAttribute(ATTRIBUTE.duplicate, true);
    const end = (trace: string | undefined): void => {
      for (const link of this.#tracing.link(this.#tracing.keptContext(trace), "duplicate")) span.addLink(link);
      span.end(endedAt);
    };
    this.traceOfRecord(first).then(end, () => end(undefined));
  }

  /** A span from the question what became of the record to its answer. */
  #watch(handler: string, parent: Api.Context, answer: object): void {
    for (const name of ["done", "result"] as const) {
      if (!(name in answer)) continue;
      let awaited: Promise<unknown> | undefined;
      const ask = (): Promise<unknown> => {
        const attributes = this.#tracing.ofRecord("ack", handler);
        const kind = this.#tracing.api.SpanKind.CLIENT;
        const span = this.#tracing.start(`ack ${handler}`, { kind, attributes }, parent);
        const promise = Reflect.get(Object.getPrototypeOf(answer) as object, name, answer) as Promise<unknown>;
        this.#endWith(span, promise);
        return promise;
      };
      Object.defineProperty(answer, name, { get: () => (awaited ??= ask()), configurable: true });
    }
  }

  #endWith(span: Api.Span, promise: Promise<unknown>): void {
    promise.then(
      () => span.end(),
      (thrown: unknown) => {
        this.#tracing.failed(span, thrown);
        span.end();
      },
    );
  }

  /** As `publishing`, for records of several handlers: one span for all. */
  async publishingMany<Answer extends Stored>(
    records: Iterable<object>,
    publish: (records: Iterable<object>) => Promise<Answer[]>,
  ): Promise<Answer[]> {
    if (!this.#tracing.isOn) return await publish(records);
    const { api } = this.#tracing;
    const parent = api.context.active();
    const attributes = this.#tracing.ofRecord("publish", undefined);
    const span = this.#tracing.start("publish", { kind: api.SpanKind.PRODUCER, attributes }, parent);
    const trace = this.#tracing.traceOf(span.spanContext());
    try {
      const context = api.trace.setSpan(parent, span);
      const answers = await api.context.with(context, publish, undefined, traced(records, trace));
      span.setAttribute(ATTRIBUTE.batchCount, answers.length);
      return answers;
    } catch (thrown) {
      this.#tracing.failed(span, thrown);
      throw thrown;
    } finally {
      span.end();
    }
  }

  /** A call of a handler by `run` and its like, of some of them (`runRatio`). */
  calling<Answer>(how: string, handler: string, count: number, call: () => Promise<Answer>): Promise<Answer> {
    const { api, options } = this.#tracing;
    if (options.runRatio === 0 || (options.runRatio < 1 && Math.random() >= options.runRatio)) return call();
    if (!this.#tracing.isOn) return call();
    const parent = api.context.active();
    const attributes = { [ATTRIBUTE.handler]: handler, [ATTRIBUTE.calls]: count };
    const span = this.#tracing.start(`${how} ${handler}`, { attributes }, parent);
    const promise = api.context.with(api.trace.setSpan(parent, span), call);
    this.#endWith(span, promise);
    return promise;
  }

  /** The trace that a publisher names, unless the active span is a part of it. */
  #parentOf(given: TraceContext | undefined): Api.Context {
    const { api } = this.#tracing;
    const active = api.context.active();
    const named = given && this.#tracing.spanContext(given);
    if (named === undefined || api.trace.getSpanContext(active)?.traceId === named.traceId) return active;
    return api.trace.setSpanContext(active, named);
  }
}

/** Options that publishing refuses must reach it unchanged. */
function isPlain(given: unknown): given is (object & Partial<TraceContext>) | undefined {
  if (given === undefined) return true;
  if (typeof given !== "object" || given === null) return false;
  const prototype: unknown = Object.getPrototypeOf(given);
  if (prototype !== null && Object.getPrototypeOf(prototype) !== null) return false;
  const { traceparent } = given as Partial<TraceContext>;
  return traceparent === undefined || partsOfTraceparent(traceparent) !== undefined;
}

/** A record with a trace of its own keeps it. */
function* traced(records: Iterable<object>, trace: TraceContext | undefined): Generator<object, void> {
  for (const record of records) {
    const isOwn =
      trace === undefined || !isPlain(record) || (record as Partial<TraceContext>).traceparent !== undefined;
    yield isOwn ? record : { ...record, tracestate: undefined, ...trace };
  }
}
