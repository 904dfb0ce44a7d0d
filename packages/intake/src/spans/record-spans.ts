/**
 * Reports a record's handler on the thread that runs it: by a span, and by messages of
 * `node:diagnostics_channel`.
 *
 * The trace context comes with the record. The first attempt is a child of the publish's span. A
 * later one is so too, and is linked to the span of the attempt before. A redriven record and a
 * replay begin a trace of their own, with a link to the publish: that trace is long over, and its
 * sampling decides nothing about today.
 */
import type * as Api from "@opentelemetry/api";
import type { Handler, TaskContext } from "@millrace/scheduler";
import type { DeliveredRecord } from "../format/delivered-record.ts";
import { markFailure, traceparentOf } from "../format/trace-context.ts";
import { isHeard, RECORD, told } from "./channels.ts";
import type { ResolvedSpanOptions } from "./options.ts";
import { ATTRIBUTE, spanTime, Tracing } from "./tracing.ts";

type Call = (argument: unknown, context: TaskContext) => unknown;
/** The attempt before of each record: what the record's header says beside the record itself. */
type Prior = (record: DeliveredRecord) => string | undefined;

const originals = new WeakMap<Handler, Handler>();

/** The user's function behind one that `around` has made. */
export function originalOf(handler: Handler): Handler {
  return originals.get(handler) ?? handler;
}

/**
 * The function that is called in place of a handler, on a thread whose module is initialised; the
 * handler itself if nobody listens.
 */
export function around(spans: RecordSpans | undefined, name: string, handler: Handler): Handler {
  if (spans === undefined && !isHeard(RECORD)) return handler;
  const traced: Call = spans === undefined ? handler : spans.around(name, handler);
  const wrapped: Call = (argument, context) => {
    const { record } = context as TaskContext<never, DeliveredRecord>;
    if (record === undefined || !isHeard(RECORD)) return traced(argument, context);
    const { sequence, attempt } = record;
    const message = { handler: name, sequence, attempt, machine: context.machine };
    return told(RECORD, message, () => awaitable(traced(argument, context)));
  };
  originals.set(wrapped, handler);
  return wrapped;
}

/** A promise of our own, for a thenable of any kind. */
function awaitable(value: unknown): unknown {
  return isThenable(value) ? Promise.resolve(value) : value;
}

function isThenable(value: unknown): boolean {
  return typeof (value as { then?: unknown } | null | undefined)?.then === "function";
}

export class RecordSpans {
  readonly #tracing: Tracing;
  readonly #prior: Prior;

  private constructor(tracing: Tracing, prior: Prior) {
    this.#tracing = tracing;
    this.#prior = prior;
  }

  /** Throws `ERR_SPANS_UNAVAILABLE`. */
  static async load(options: ResolvedSpanOptions, prior: Prior): Promise<RecordSpans> {
    return new RecordSpans(await Tracing.load(options), prior);
  }

  /** The active span, as a record keeps it. */
  active(): string | undefined {
    return this.#tracing.isOn ? this.#tracing.activeTrace() : undefined;
  }

  around(name: string, handler: Call): Call {
    const { api } = this.#tracing;
    return (argument, context) => {
      if (!this.#tracing.isOn) return handler(argument, context);
      const { record } = context as TaskContext<never, DeliveredRecord>;
      if (record !== undefined) return this.#attempt(name, handler, argument, context, record);
      // A task may run on the stack of another one that waits: that one's span isn't its parent.
      return api.context.active() === api.ROOT_CONTEXT
        ? handler(argument, context)
        : api.context.with(api.ROOT_CONTEXT, handler, undefined, argument, context);
    };
  }

  #attempt(name: string, handler: Call, argument: unknown, context: TaskContext, record: DeliveredRecord): unknown {
    const { api } = this.#tracing;
    const span = this.#start(name, record, context.machine);
    const within = api.trace.setSpan(api.ROOT_CONTEXT, span);
    let outcome: unknown;
    try {
      outcome = api.context.with(within, handler, undefined, argument, context);
    } catch (thrown) {
      this.#failed(span, thrown);
      throw thrown;
    }
    if (!isThenable(outcome)) {
      span.end();
      return outcome;
    }
    return Promise.resolve(outcome).then(
      (value: unknown) => {
        span.end();
        return value;
      },
      (thrown: unknown) => {
        this.#failed(span, thrown);
        throw thrown;
      },
    );
  }

  #start(name: string, record: DeliveredRecord, machine: number): Api.Span {
    const { api } = this.#tracing;
    const { traceparent, tracestate, attempt, redriven, replay } = record;
    const published = traceparent === undefined ? undefined : this.#tracing.spanContext({ traceparent, tracestate });
    const isAgain = redriven > 0 || replay !== undefined;
    const links = isAgain ? this.#tracing.link(published, replay === undefined ? "redrive" : "replay") : [];
    const prior = attempt > 1 ? this.#prior(record) : undefined;
    links.push(...this.#tracing.link(this.#tracing.keptContext(prior), "retry"));
    const parent =
      published === undefined || isAgain ? api.ROOT_CONTEXT : api.trace.setSpanContext(api.ROOT_CONTEXT, published);
    if (parent !== api.ROOT_CONTEXT && attempt === 1) this.#delivered(name, record, parent);
    const attributes = { ...this.#tracing.ofRecord("process", name), ...attributesOf(record, machine) };
    return this.#tracing.start(`process ${name}`, { kind: api.SpanKind.CONSUMER, attributes, links }, parent);
  }

  /** From the publish to the handler: the journal, the lane, the queue of the scheduler. */
  #delivered(name: string, { publishedAtMs }: DeliveredRecord, parent: Api.Context): void {
    const endTime = spanTime();
    const startTime = Math.min(publishedAtMs, endTime);
    const attributes = { [ATTRIBUTE.destination]: name };
    this.#tracing.start(`deliver ${name}`, { startTime, attributes }, parent).end(endTime);
  }

  #failed(span: Api.Span, thrown: unknown): void {
    // It comes again, and nothing is wrong.
    if ((thrown as { name?: unknown } | null | undefined)?.name === "Snooze")
      span.setAttribute(ATTRIBUTE.snoozed, true);
    else this.#tracing.failed(span, thrown);
    span.end();
    const context = span.spanContext();
    if (this.#tracing.api.isSpanContextValid(context)) markFailure(thrown, traceparentOf(context));
  }
}

function attributesOf(
  { sequence, attempt, redriven, replay, schedule }: DeliveredRecord,
  machine: number,
): Api.Attributes {
  return {
    [ATTRIBUTE.messageId]: String(sequence),
    [ATTRIBUTE.attempt]: attempt,
    [ATTRIBUTE.machine]: machine,
    ...(redriven === 0 ? undefined : { [ATTRIBUTE.redriven]: redriven }),
    ...(replay === undefined ? undefined : { [ATTRIBUTE.replayOf]: replay.of }),
    ...(schedule === undefined ? undefined : { [ATTRIBUTE.schedule]: schedule.name }),
  };
}
