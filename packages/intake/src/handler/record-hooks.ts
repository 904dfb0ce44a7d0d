/**
 * The functions of `TaskHooks`, which a machine loads to give handlers their records
 * (`context.record`), and to send their outcomes to the delivery thread.
 */
import type { Handler, StageHost, TaskStage, ThrownByHandler } from "@millrace/scheduler";
import type { DeliveredRecord } from "../format/delivered-record.ts";
import { packFailure, packOutcome } from "../format/outcome.ts";
import { TaskHeader } from "../format/task-header.ts";
import { unpackTrace } from "../format/trace-context.ts";
import { type ResolvedSpanOptions, SPANS_PARAMETER } from "../spans/options.ts";
import { around as aroundHandler, originalOf, RecordSpans } from "../spans/record-spans.ts";
import { keptResult } from "./kept-result.ts";
import { withRetry } from "./retry.ts";
import { Stage } from "./stage.ts";

/** Of this thread, with the option `spans`. */
let spans: RecordSpans | undefined;
/** The spans of the attempts before. */
const priors = new WeakMap<DeliveredRecord, string>();

/**
 * `url`: of this module, with the options of spans in its query. Throws `ERR_SPANS_UNAVAILABLE`.
 */
export async function begin(url: string): Promise<void> {
  const given = new URL(url).searchParams.get(SPANS_PARAMETER);
  if (given === null) return;
  spans = await RecordSpans.load(JSON.parse(given) as ResolvedSpanOptions, (record) => priors.get(record));
}

/** The function that is called in place of a handler. */
export function around(name: string, handler: Handler): Handler {
  return aroundHandler(spans, name, handler);
}

/**
 * Reads a task header; the scheduler's machines load this module for it. `runsBefore`: how often
 * the scheduler has begun the task before, because its thread died.
 */
export function readHeader(bytes: Uint8Array, runsBefore: number): DeliveredRecord {
  const header = new TaskHeader(bytes);
  const { scheduled, replayOf, trace, lastSpan } = header;
  const context = trace === undefined ? undefined : unpackTrace(trace);
  const record: DeliveredRecord = {
    id: header.id,
    sequence: header.sequence,
    publishedAtMs: header.timeMs,
    attempt: header.attempt + runsBefore,
    redriven: header.redriven,
    key: header.key,
    replay: replayOf === undefined ? undefined : { of: replayOf },
    isShadow: false,
    schedule: scheduled && { name: scheduled.name, dueAtMs: scheduled.dueMs, missed: scheduled.missed },
    traceparent: context?.traceparent,
    tracestate: context?.tracestate,
    headers: header.headers,
  };
  if (lastSpan !== undefined) priors.set(record, lastSpan);
  return record;
}

/** `context.publish` of the handler that gets the record with this header. */
export function openStage(header: Uint8Array, host: StageHost): TaskStage {
  const { stageLimits, trace, replayOf } = new TaskHeader(header);
  // The trace of a replay is the one of the record that it replays.
  const own = replayOf === undefined ? trace : undefined;
  return new Stage(stageLimits, host, () => spans?.active() ?? own);
}

/** The error as the delivery thread gets it, with the decision of the handler's own policy. */
export function failureOf(header: Uint8Array, { handler, thrown, runsBefore, ranMs }: ThrownByHandler): unknown {
  const { attempt, isRecorded } = new TaskHeader(header);
  const original = originalOf(handler as Handler);
  const hasPolicy = (original as { retry?: unknown }).retry !== undefined;
  const error = hasPolicy ? withRetry(original, thrown, attempt + runsBefore) : thrown;
  return isRecorded ? packFailure({ error, ranMs }) : error;
}

export { checkRetry as checkHandler } from "./retry.ts";

/** The outcome that the delivery thread gets; undefined when the handler has left nothing. */
export function outcomeOf(
  header: Uint8Array,
  stage: TaskStage | undefined,
  result: unknown,
  ranMs: number | undefined,
): unknown {
  const staged = stage instanceof Stage ? stage.records : [];
  const { resultBytesMax } = new TaskHeader(header);
  const kept = resultBytesMax === 0 ? undefined : keptResult(result, resultBytesMax);
  return staged.length === 0 && kept === undefined ? undefined : packOutcome({ staged, result: kept, ranMs });
}
