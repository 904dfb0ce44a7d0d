import { errorFactory, type ErrorFactory, type ErrorTable } from "@millrace/base";

export type PoolErrorCode =
  | "ERR_BLOCKING_FULL"
  | "ERR_BLOCKING_CONTEXT"
  | "ERR_POOL_FULL"
  | "ERR_POOL_TASK"
  | "ERR_POOL_UNSUPPORTED"
  | "ERR_QUARANTINE_DIED"
  | "ERR_QUARANTINE_TIMEOUT";

export const poolErrors: ErrorTable<PoolErrorCode> = {
  ERR_BLOCKING_FULL: {
    cause: "More blocking calls wait for a thread than queueMax allows.",
    cure: "Make fewer at a time, raise threadsMax if they wait rather than compute, or raise queueMax.",
  },
  ERR_BLOCKING_CONTEXT: {
    cause:
      "A handler that was called through mill.blocking used context.run or context.spawn: it runs outside of the scheduler.",
    cure: "Call it through mill.run, or let the caller make the other calls.",
  },
  ERR_QUARANTINE_DIED: {
    cause: "A record's handler ended the child process that it was put into, because it may have ended others before.",
    cure: "Mend the handler for this record; the error is one of the record's failures.",
  },
  ERR_QUARANTINE_TIMEOUT: {
    cause:
      "A record's handler took longer than its time limit in the child process that it was put into, or the handlers' module never loaded there. The process was ended.",
    cure: "Give the handler the time that it needs (`timeoutMs`; without one it has ten minutes there), and let it heed context.signal.",
  },
  ERR_POOL_FULL: {
    cause: "More tasks of a Pool wait than maxQueue allows.",
    cure: "Wait for the event drain, or raise maxQueue.",
  },
  ERR_POOL_TASK: {
    cause: "The module that a Pool was told to run exports no function of that name, or no module was named.",
    cure: "Check `filename` and `name`, in the options of the pool and of run().",
  },
  ERR_POOL_UNSUPPORTED: {
    cause: "Something of Piscina was used that the pool over the scheduler can't do.",
    cure: "The message says what to use instead; docs/pool.md has the whole list.",
  },
};

export const poolError: ErrorFactory<PoolErrorCode> = errorFactory(poolErrors);
