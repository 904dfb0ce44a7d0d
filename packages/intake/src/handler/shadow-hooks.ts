/**
 * As record-hooks.ts, for the machines of a shadow replay: records that a handler publishes go no
 * further than into the outcome of its task, and those that it publishes at once go nowhere.
 */
import type { StageHost, TaskStage } from "@millrace/scheduler";
import type { PublishedNowAnswer } from "../format/publication.ts";
import { TaskHeader } from "../format/task-header.ts";
import type { DeliveredRecord } from "../format/delivered-record.ts";
import { readHeader as readRecord } from "./record-hooks.ts";
import { Stage } from "./stage.ts";

export { begin, checkHandler, failureOf, outcomeOf } from "./record-hooks.ts";

/** The hooks report nothing: the service itself handled the record before. */
export function around<One>(_name: string, handler: One): One {
  return handler;
}

/** The answer of `context.publishNow`: no record has this sequence. */
const NOWHERE: PublishedNowAnswer = { sequence: 0, duplicate: false };

/** The attempt is the recorded one, however often its thread has died. */
export function readHeader(bytes: Uint8Array): DeliveredRecord {
  return { ...readRecord(bytes, 0), isShadow: true };
}

export function openStage(header: Uint8Array, host: StageHost): TaskStage {
  const shadowHost: StageHost = {
    mustRun: (what) => host.mustRun(what),
    bind: (one) => host.bind(one),
    ask: async () => NOWHERE,
  };
  return new Stage(new TaskHeader(header).stageLimits, shadowHost, () => undefined);
}
