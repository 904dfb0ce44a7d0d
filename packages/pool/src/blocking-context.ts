/**
 * The context of a handler outside of any machine: on a thread of the blocking pool, or in the
 * child process of a quarantine. The handler can submit no tasks; it may block as it likes; and a
 * call that is cancelled loses its thread or process, so there is no cancellation to look for.
 */
import { type ContextHost, TaskContext } from "@millrace/scheduler";
import { poolError } from "./errors.ts";

/** `context.machine` outside of any machine. */
export const NO_MACHINE = -1;

/** `record`: what the handler finds as `context.record`. */
export function blockingContext(deadlineMs: number | undefined, record?: unknown): TaskContext {
  return new TaskContext(hostOf(deadlineMs, record), 0, 0);
}

function hostOf(deadlineMs: number | undefined, record: unknown): ContextHost {
  return {
    machine: NO_MACHINE,
    attempt: () => 0,
    deadlineMs: () => deadlineMs,
    isCancelled: () => false,
    watch: () => {},
    record: () => record,
    blocking: (body) => body(),
    run: () => Promise.reject(noMachine("run")),
    spawn: () => {
      throw noMachine("spawn");
    },
    join: () => {},
  };
}

function noMachine(what: string): Error {
  return poolError(
    "ERR_BLOCKING_CONTEXT",
    `context.${what} was called outside of any machine: on the blocking pool, or in quarantine`,
    {
      details: { what },
    },
  );
}
