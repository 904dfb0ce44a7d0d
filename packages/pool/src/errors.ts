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
    cure: "Make fewer calls at a time, or raise queueMax. If the calls wait rather than compute, raise threadsMax.",
  },
  ERR_BLOCKING_CONTEXT: {
    cause:
      "A handler that was called through mill.blocking used context.run or context.spawn, but " +
      "it runs outside of the scheduler.",
    cure: "Call it through mill.run, or let the caller make the other calls.",
  },
  ERR_QUARANTINE_DIED: {
    cause:
      "A record that may have ended processes before was handled in a child process of its " +
      "own, and its handler ended that process too.",
    cure: "Correct the handler for this record; the error is one of the record's failures.",
  },
  ERR_QUARANTINE_TIMEOUT: {
    cause:
      "A record was handled in a child process of its own, and its handler took longer than " +
      "its time limit, or the module never loaded there. The process was ended.",
    cure:
      "Give the handler enough time with `timeoutMs` (the default there is ten minutes), and " +
      "let it watch context.signal.",
  },
  ERR_POOL_FULL: {
    cause: "More tasks of a Pool wait than maxQueue allows.",
    cure: "Wait for the event drain, or raise maxQueue.",
  },
  ERR_POOL_TASK: {
    cause: "The module of a Pool exports no function of that name, or no module was named.",
    cure: "Check `filename` and `name`, in the options of the pool and of run().",
  },
  ERR_POOL_UNSUPPORTED: {
    cause: "The program used a feature of piscina that the pool over the scheduler can't offer.",
    cure: "The message says what to use instead; docs/pool.md has the whole list.",
  },
};

export const poolError: ErrorFactory<PoolErrorCode> = errorFactory(poolErrors);
