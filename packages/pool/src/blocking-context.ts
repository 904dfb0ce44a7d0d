/**
 * The context of a handler on a thread of the blocking pool. The thread is no machine, so the
 * handler can submit no tasks; it may block as it likes; and cancelling its call ends the thread,
 * so there is no cancellation to look for.
 */
import { type ContextHost, TaskContext } from "@millrace/scheduler";
import { poolError } from "./errors.ts";

/** `context.machine` outside of any machine. */
export const NO_MACHINE = -1;

export function blockingContext(deadlineMs: number | undefined): TaskContext {
  return new TaskContext(hostOf(deadlineMs), 0, 0);
}

function hostOf(deadlineMs: number | undefined): ContextHost {
  return {
    machine: NO_MACHINE,
    attempt: () => 0,
    deadlineMs: () => deadlineMs,
    isCancelled: () => false,
    watch: () => {},
    record: () => undefined,
    blocking: (body) => body(),
    run: () => Promise.reject(noMachine("run")),
    spawn: () => {
      throw noMachine("spawn");
    },
    join: () => {},
  };
}

function noMachine(what: string): Error {
  return poolError("ERR_BLOCKING_CONTEXT", `context.${what} was called on a thread of the blocking pool`, {
    details: { what },
  });
}
