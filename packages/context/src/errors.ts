import { errorFactory, type ErrorFactory, type ErrorTable } from "@millrace/base";

export type ContextErrorCode =
  | "ERR_CONTEXT_CANCELLED"
  | "ERR_CONTEXT_DEADLINE"
  | "ERR_CONTEXT_CLOSED"
  | "ERR_CONTEXT_MAKER_DIED"
  | "ERR_CONTEXT_BACKGROUND";

export const contextErrors: ErrorTable<ContextErrorCode> = {
  ERR_CONTEXT_CANCELLED: {
    cause: "A context, or one above it, was cancelled; `cause` is the reason that was given, if any.",
    cure: "Stop the work: nobody waits for its result any more.",
  },
  ERR_CONTEXT_DEADLINE: {
    cause: "The deadline of a context, or of one above it, has passed.",
    cure: "Allow more time, or find out what took so long.",
  },
  ERR_CONTEXT_CLOSED: {
    cause: "A context, or one above it, was closed: the code that made it has left its scope.",
    cure: "Wait for the work of a scope before you leave it, or give the work a context that lives longer.",
  },
  ERR_CONTEXT_MAKER_DIED: {
    cause: "The thread that had made a context, or one above it, has ended without closing it.",
    cure: "Find out why the thread ended: the code that started it has its error or its exit code.",
  },
  ERR_CONTEXT_BACKGROUND: {
    cause: "cancel() was called on the background context, which is never over.",
    cure: "Cancel a context that withCancel, withTimeout or withDeadline has made.",
  },
};

export const contextError: ErrorFactory<ContextErrorCode> = errorFactory(contextErrors);
