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
    cure: "Await all calls before you close, and make none afterwards.",
  },
  ERR_CLOSE_ABORTED: {
    cause:
      "The time of close() was over, or its signal aborted, while handlers were running; " +
      "`details.tasks` names them. Their threads were ended. The next opening delivers the " +
      "records again that they had in hand.",
    cure: "Find out what they wait for, or give them more time: timeoutMs of close().",
  },
  ERR_TEARDOWN_FAILED: {
    cause:
      "teardown() of the handlers' module threw in a worker thread, ended the thread, took " +
      "longer than teardownTimeoutMs, or could not begin because a handler still ran. All " +
      "else is closed.",
    cure:
      "`cause` has its error, and `details.machines` lists the machines on which it failed. " +
      "Give it more time, or correct it.",
  },
  ERR_HANDLER_MODULE: {
    cause:
      "A worker thread could not load the module with the handlers: the module failed, ended " +
      "the thread, took longer than startTimeoutMs, exports no handler, or its initialize() " +
      "threw.",
    cure: "Check the path or URL, and the code that the module runs while it loads; `cause` has its error.",
  },
  ERR_HANDLER_UNKNOWN: {
    cause: "The module exports no handler of that name.",
    cure: "Correct the name, or export a function under it.",
  },
  ERR_MACHINE_DIED: {
    cause:
      "The worker thread that ran the task ended: an uncaught error, an unhandled rejection, " +
      "process.exit(), out of memory, or terminate().",
    cure:
      "`cause` is the error behind it. `details.reason` and `details.exitCode` say how the " +
      "thread ended, `details.limits` has its memory limits, and `details.crashedMachines` " +
      'lists the threads that the task has ended. Pass `retry: "crash"` for handlers that may ' +
      "safely run twice.",
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
    cause: "Joins are nested so deeply that the thread's stack has no room for one more; `details.joins` is the depth.",
    cure:
      "Await the group's done() in an async handler, which takes no stack, divide the work " +
      "into fewer levels, or raise resourceLimits.stackSizeMb.",
  },
  ERR_TASK_MEMORY: {
    cause:
      "The heap of a worker thread is nearly full, because thousands of its handlers wait for " +
      "tasks that they have submitted. The usual reason is an endless recursion.",
    cure: "End the recursion, submit fewer tasks at once, or raise resourceLimits.maxOldGenerationSizeMb.",
  },
  ERR_GROUP_AWAITED: {
    cause: "done() was called on a group of tasks while another done() waits for it.",
    cure: "Await a group once, or make another group.",
  },
  ERR_RECORD_ABSENT: {
    cause:
      "context.publish or publishNow was used in a task that delivers no record: a call by " +
      "run, spawn or blocking, even one that a handler of a record has made. context.publish " +
      "stores records with the end of the task's own record.",
    cure: "Publish from the handler that gets the record, or return the values to that handler and publish them there.",
  },
  ERR_TASK_OVER: {
    cause:
      "A context, or a group of tasks made by it, was used after its task was over. The " +
      "module has kept it, or the handler has started code that it didn't await.",
    cure: "Await everything that uses the context before the handler returns.",
  },
  ERR_TASK_ABORTED: {
    cause: "The call's AbortSignal was aborted before the task was over; `cause` is the signal's reason.",
    cure:
      "Nothing, if you aborted the call. A handler that has begun runs on until it checks " +
      "context.isCancelled or context.signal.",
  },
  ERR_TASK_TIMEOUT: {
    cause: "The task was not over within timeoutMs of the call, or within runTimeoutMs of its start.",
    cure:
      "Allow more time, run fewer tasks at once, or let the handler end early by " +
      "context.isCancelled or context.signal.",
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
      "An entry of transferList can't be moved: it was moved before, is listed twice, or " +
      "isn't transferable. Or the value holds a port that isn't listed. Nothing was sent.",
    cure: "List each ArrayBuffer and port once, and use neither after the call.",
  },
  ERR_LIST_EMPTY: {
    cause: "parallelReduce got a list without values, so there is nothing that it could return.",
    cure: "Check the length first, or put the neutral value of the reduction into the list.",
  },
  ERR_LIST_UNSUPPORTED: {
    cause: "The argument of runMany, parallelMap or parallelReduce isn't iterable.",
    cure:
      "Pass an array, a Set, a typed array, a generator or another iterable. Collect the " +
      "values of an async iterable first.",
  },
  ERR_GUEST_UNKNOWN: {
    cause: "submitterHandle was asked for a thread that the option `guests` doesn't name.",
    cure: "List the thread in the option `guests` when you open the scheduler.",
  },
};

export const schedulerError: ErrorFactory<SchedulerErrorCode> = errorFactory(schedulerErrors);
