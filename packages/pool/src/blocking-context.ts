/**
 * The context of a handler outside of any machine: on a thread of the blocking pool, or in the
 * child process of a quarantine. The handler can submit no tasks, and may block as it likes. A call
 * of the pool that is cancelled loses its thread; one in quarantine may look for the end of its
 * time, and loses its process soon after.
 */
import { type ContextHost, TaskContext } from "@millrace/scheduler";
import { poolError } from "./errors.ts";

/** `context.machine` outside of any machine. */
export const NO_MACHINE = -1;

/** Of a call that delivers a record. */
export interface Delivered {
  /** The handler's `context.record`. */
  readonly record: unknown;
  /** Makes `context.publish`. */
  readonly openStage: ContextHost["openStage"];
  /** Whether its time is over; where it has a limit. */
  readonly isLate: () => boolean;
}

export function blockingContext(deadlineMs: number | undefined, delivered?: Delivered): TaskContext {
  return new TaskContext(hostOf(deadlineMs, delivered), 0, 0);
}

function hostOf(deadlineMs: number | undefined, delivered: Delivered | undefined): ContextHost {
  return {
    machine: NO_MACHINE,
    attempt: () => 0,
    deadlineMs: () => deadlineMs,
    isCancelled: () => delivered?.isLate() ?? false,
    watch: () => {},
    record: () => delivered?.record,
    openStage: (slot, mustRun) => delivered?.openStage(slot, mustRun),
    blocking: (body) => body(),
    run: () => Promise.reject(noMachine("run")),
    spawn: () => {
      throw noMachine("spawn");
    },
    join: () => {},
  };
}

/** For the child process of a quarantine, which has no way to the opening thread. */
export function askNobody(): Promise<never> {
  return Promise.reject(noMachine("publishNow"));
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
