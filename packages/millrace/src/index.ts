export type { MillraceError } from "@millrace/base";
export { isMillraceError } from "@millrace/base";
export {
  Barrier,
  Claim,
  Cond,
  Hold,
  locksHeld,
  Mutex,
  type MutexOptions,
  Once,
  Permit,
  RWHold,
  RWMutex,
  Semaphore,
  type SyncHandle,
  WaitGroup,
  type WaitGroupResult,
  type WaitOptions,
  watchThread,
} from "@millrace/atomics-sync";
export {
  after,
  Chan,
  otherwise,
  receive,
  recv,
  type Received,
  select,
  selectAsync,
  type SelectCase,
  type Selected,
  type SelectOptions,
  send,
} from "@millrace/channels";
// Go's context, `Context` in @millrace/context. The context of a handler is `TaskContext`.
export {
  background,
  Context as CancelContext,
  type ContextHandle,
  Scope,
  withCancel,
  withDeadline,
  withTimeout,
  withValue,
} from "@millrace/context";
export type {
  Acknowledgement,
  DeadFilter,
  DeadLetter,
  DeadLetters,
  DedupeOptions,
  DeliveredRecord,
  Drained,
  DrainOptions,
  Failure,
  HandlerOptions,
  IntakeOptions,
  IntakeStats,
  Publish,
  PublishedName,
  PublishOptions,
  ReasonName,
  RecordToPublish,
  RedriveOptions,
} from "@millrace/intake";
export type { BlockingCallOptions, BlockingOptions, BlockingRun, BlockingStats } from "@millrace/pool";
/** @deprecated The former name of `TaskContext`. */
export type { TaskContext as Context } from "@millrace/scheduler";
export type {
  ChromeTrace,
  ParallelMap,
  ParallelReduce,
  Run,
  RunMany,
  RunManyOptions,
  RunOptions,
  SchedulerStats,
  TaskContext,
  TaskGroup,
} from "@millrace/scheduler";
export {
  errors,
  type Millrace,
  type MillraceOptions,
  type MillraceStats,
  open,
  TRACE_ENVIRONMENT,
  TRACE_RECORDS_DEFAULT,
  TRACE_RECORDS_MAX,
} from "@millrace/runtime";
