/**
 * What a machine loads to give handlers their records (`context.record`), and to send what they
 * leave to the delivery thread: the functions of `TaskHooks`.
 */
import type { Handler, StageHost, TaskStage, ThrownByHandler } from "@millrace/scheduler";
import { packFailure, packOutcome } from "../format/outcome.ts";
import { TaskHeader } from "../format/task-header.ts";
import { keptResult } from "./kept-result.ts";
import { withRetry } from "./retry.ts";
import { Stage } from "./stage.ts";

export interface RecordSchedule {
  readonly name: string;
  /** Ms since 1970: the same at every delivery. */
  readonly dueAtMs: number;
  /** Due times since the schedule's record before that got none: see `catchUp`. */
  readonly missed: number;
}

/** What a handler learns about the record that it handles. */
export interface DeliveredRecord {
  /**
   * The same at every delivery of this record, and unlike that of any other journal: a key for
   * consumers downstream.
   */
  readonly id: string;
  /** The record's number in the journal: unique, the same at every delivery. */
  readonly sequence: number;
  readonly publishedAtMs: number;
  /** 1 for the first delivery; counted across restarts. */
  readonly attempt: number;
  /** How often it was a dead letter and was redriven; `attempt` began anew each time. */
  readonly redriven: number;
  /** The order key; undefined without. */
  readonly key: string | undefined;
  /** The sequence of the record that this one replays; undefined for a record of its own. */
  readonly replay: { readonly of: number } | undefined;
  /**
   * Whether this is a shadow replay (`Millrace.shadow`): the record was handled before, and nothing
   * that the handler leaves is kept.
   */
  readonly isShadow: boolean;
  /** Which schedule has published the record, and for which due time; undefined without one. */
  readonly schedule: RecordSchedule | undefined;
  /** What the publisher passed as `headers`. */
  readonly headers: unknown;
}

/**
 * Reads a task header; the scheduler's machines load this module for it. `runsBefore`: how often
 * the scheduler has begun the task before, because its thread died.
 */
export function readHeader(bytes: Uint8Array, runsBefore: number): DeliveredRecord {
  const header = new TaskHeader(bytes);
  const { scheduled, replayOf } = header;
  return {
    id: header.id,
    sequence: header.sequence,
    publishedAtMs: header.timeMs,
    attempt: header.attempt + runsBefore,
    redriven: header.redriven,
    key: header.key,
    replay: replayOf === undefined ? undefined : { of: replayOf },
    isShadow: false,
    schedule: scheduled && { name: scheduled.name, dueAtMs: scheduled.dueMs, missed: scheduled.missed },
    headers: header.headers,
  };
}

/** `context.publish` of the handler that gets the record with this header. */
export function openStage(header: Uint8Array, host: StageHost): TaskStage {
  return new Stage(new TaskHeader(header).stageLimits, host);
}

/** What the delivery thread gets of an error: with what the handler's own policy says. */
export function failureOf(header: Uint8Array, { handler, thrown, runsBefore, ranMs }: ThrownByHandler): unknown {
  const { attempt, isRecorded } = new TaskHeader(header);
  const hasPolicy = (handler as { retry?: unknown }).retry !== undefined;
  const error = hasPolicy ? withRetry(handler as Handler, thrown, attempt + runsBefore) : thrown;
  return isRecorded ? packFailure({ error, ranMs }) : error;
}

export { checkRetry as checkHandler } from "./retry.ts";

/** What the delivery thread gets; undefined when the handler has left nothing. */
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
