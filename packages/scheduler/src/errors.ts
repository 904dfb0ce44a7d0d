import { errorFactory, type ErrorFactory, type ErrorTable } from "@millrace/base";

export type SchedulerErrorCode =
  | "ERR_SCHEDULER_CLOSED"
  | "ERR_CLOSE_ABORTED"
  | "ERR_TEARDOWN_FAILED"
  | "ERR_HANDLER_MODULE"
  | "ERR_HANDLER_UNKNOWN"
  | "ERR_MACHINE_DIED"
  | "ERR_MACHINES_EXHAUSTED"
  | "ERR_ASYNC_PENDING"
  | "ERR_JOIN_DEPTH"
  | "ERR_TASK_MEMORY"
  | "ERR_GROUP_AWAITED"
  | "ERR_RECORD_ABSENT"
  | "ERR_TASK_OVER"
  | "ERR_TASK_ABORTED"
  | "ERR_TASK_TIMEOUT"
  | "ERR_ARENA_FULL"
  | "ERR_ARENA_MEMORY"
  | "ERR_TRANSFER_REFUSED"
  | "ERR_LIST_EMPTY"
  | "ERR_LIST_UNSUPPORTED"
  | "ERR_GUEST_UNKNOWN";

export const schedulerErrors: ErrorTable<SchedulerErrorCode> = {
  ERR_SCHEDULER_CLOSED: {
    cause: "A call was made after close(), or terminate() ended the runtime before the task did.",
    cure: "Await what you started before you close, and make no calls afterwards.",
  },
  ERR_CLOSE_ABORTED: {
    cause:
      "The time of close() was over, or its signal was aborted, while handlers ran; `details.tasks` names them. Their threads were ended, and records that they had in hand are delivered again at the next opening.",
    cure: "Find out what they wait for, or give them more time: timeoutMs of close().",
  },
  ERR_TEARDOWN_FAILED: {
    cause:
      "teardown() of the handlers' module threw in a worker thread, ended the thread, took longer than teardownTimeoutMs, or could not begin because a handler still ran. All else is closed.",
    cure: "The cause holds its error, `details.machines` every machine where it failed. Give it more time, or correct it.",
  },
  ERR_HANDLER_MODULE: {
    cause:
      "The module with the handlers could not be loaded in a worker thread, ended the thread meanwhile, was not loaded within startTimeoutMs, exports no handler, or its initialize() threw.",
    cure: "Check the path or URL and what the module does while it loads; the cause holds its own error.",
  },
  ERR_HANDLER_UNKNOWN: {
    cause: "No handler of that name is exported by the module.",
    cure: "Correct the name, or export a function under it.",
  },
  ERR_MACHINE_DIED: {
    cause:
      "The worker thread that ran the task ended: an uncaught error, an unhandled rejection, process.exit(), out of memory, or terminate().",
    cure: 'The cause is the error behind it. `details.reason` and `details.exitCode` say how the thread ended, `details.limits` what memory it had, `details.crashedMachines` which threads the task has ended. Pass `retry: "crash"` for handlers that may safely run twice.',
  },
  ERR_MACHINES_EXHAUSTED: {
    cause: "More handlers wait at the same time (blocking(), locks, channels) than there are spare threads.",
    cure: "Use the async forms, wait in fewer handlers at once, or raise machinesMax.",
  },
  ERR_ASYNC_PENDING: {
    cause: "A handler would have blocked a thread on which async handlers wait for their event loop.",
    cure: "Use the async form, or keep handlers that block and handlers that await in separate runtimes.",
  },
  ERR_JOIN_DEPTH: {
    cause:
      "Handlers that join their tasks lie so deep within one another that the thread's stack has no room for one more; `details.joins` says how deep.",
    cure: "Await the group's done() in an async handler, which takes no stack, divide the work into fewer levels, or raise resourceLimits.stackSizeMb.",
  },
  ERR_TASK_MEMORY: {
    cause:
      "So many handlers of one worker thread wait for tasks that they have submitted that its heap is nearly full; the usual reason is a recursion without an end.",
    cure: "End the recursion, submit fewer tasks at once, or raise resourceLimits.maxOldGenerationSizeMb.",
  },
  ERR_GROUP_AWAITED: {
    cause: "done() was called on a group of tasks whose end is awaited already.",
    cure: "Await a group once, or make another group.",
  },
  ERR_RECORD_ABSENT: {
    cause:
      "context.publish or publishNow was used in a task that delivers no record: a call by run, spawn or blocking, also from within a handler of a record. What publish publishes is stored with the end of that record.",
    cure: "Publish from the handler that gets the record, or return what is to be published to it.",
  },
  ERR_TASK_OVER: {
    cause:
      "A context, or a group of tasks made by it, was used after its task was over: kept by the module, or by code that the handler started and didn't await.",
    cure: "Await everything that uses the context before the handler returns.",
  },
  ERR_TASK_ABORTED: {
    cause: "The call's AbortSignal was aborted before the task was over; `cause` is the signal's reason.",
    cure: "Nothing, if you aborted it. A handler that had begun goes on until it looks at context.isCancelled or context.signal.",
  },
  ERR_TASK_TIMEOUT: {
    cause: "The task was not over within timeoutMs of the call, or within runTimeoutMs of its start.",
    cure: "Allow more time, run fewer tasks at once, or let the handler end early by context.isCancelled or context.signal.",
  },
  ERR_ARENA_FULL: {
    cause: "An argument or a result is larger than arenaBytesMax.",
    cure: "Send it in pieces, or raise arenaBytesMax.",
  },
  ERR_ARENA_MEMORY: {
    cause:
      "The operating system gave no memory for an argument, a result, or a new runtime; `details.bytes` were needed.",
    cure: "Raise the limit of the process or container, or keep fewer and smaller calls under way.",
  },
  ERR_TRANSFER_REFUSED: {
    cause:
      "An entry of transferList can't be moved: it was moved before, is listed twice, or is nothing that can be moved; or the value holds a port that isn't listed. Nothing was sent.",
    cure: "List each ArrayBuffer and port once, and use neither after the call.",
  },
  ERR_LIST_EMPTY: {
    cause: "parallelReduce was given a list without values; there is nothing that it could return.",
    cure: "Check the length first, or put the neutral value of the reduction into the list.",
  },
  ERR_LIST_UNSUPPORTED: {
    cause: "runMany, parallelMap or parallelReduce was given something that isn't iterable.",
    cure: "Pass an array, a Set, a typed array, a generator or another iterable; collect what an async iterable yields first.",
  },
  ERR_GUEST_UNKNOWN: {
    cause: "submitterHandle was asked for a thread that the option `guests` doesn't name.",
    cure: "List the thread in the option `guests` when you open the scheduler.",
  },
};

export const schedulerError: ErrorFactory<SchedulerErrorCode> = errorFactory(schedulerErrors);
