/**
 * The context of a handler on a thread of the blocking pool. There is no machine, so nothing can be submitted from here; blocking is what
 * the thread is for; and a call that is cancelled ends the thread, so that nobody is left to be told.
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
