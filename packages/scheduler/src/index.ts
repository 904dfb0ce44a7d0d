export { type ChromeEvent, type ChromeTrace, chromeTrace, PID } from "./trace/chrome-trace.ts";
export type { ArgumentOf, ArgumentsOf, CallOf, HandlerName, HandlerOf, ResultOf } from "./handler/handler-types.ts";
export { type ContextHost, type Handler, TaskContext, type TaskGroupView as TaskGroup } from "./handler/context.ts";
export {
  type HeaderReader,
  type StageHost,
  type TaskHooks,
  type TaskStage,
  type ThrownByHandler,
  WANTS_RESULT,
  WANTS_TIME,
} from "./handler/task-hooks.ts";
export { closeAborted, type CloseOptions, closeLimits, isOverdue, type TasksAlive } from "./closing.ts";
export { schedulerErrors } from "./errors.ts";
export { checkedTransferList, cloneRefusal } from "./calls/transfer-list.ts";
export {
  bindHandlers,
  type LoadedHandlers,
  loadHandlers,
  loadWithin,
  moduleUrl,
  unknownHandler,
} from "./handler/handlers.ts";
export { Output } from "./supervisor/output.ts";
export { type Printed, printTo } from "./machine/print.ts";
export { Scheduler, type SubmitterHandle } from "./scheduler.ts";
export type { SchedulerStats } from "./scheduler-stats.ts";
export type { MachineCounts } from "./machine/stats.ts";
export { type OutcomeSink, Submitter } from "./calls/submitter.ts";
export { PRIORITY, type Priority } from "./shared/priorities.ts";
export { type Death, type DeathReason, deathOf, describeDeath } from "./supervisor/death.ts";
export { type LastWords, speakLastWords } from "./machine/last-words.ts";
export type { RecoveryReport } from "./supervisor/recovery.ts";
export type { MachineDeath } from "./supervisor/supervisor.ts";
export {
  allocateTraceRings,
  readTrace,
  TRACE,
  TRACE_RECORD_WORDS,
  type TraceKind,
  type TraceRecord,
  TraceRecorder,
  type TraceRings,
  type TraceSnapshot,
} from "./shared/trace-ring.ts";
export { checkResourceLimits, resolveWithScheduler, type SchedulerOptions } from "./options.ts";
export type { ParallelMap, ParallelReduce, Run, RunMany, RunManyOptions, RunOptions } from "./run-types.ts";
