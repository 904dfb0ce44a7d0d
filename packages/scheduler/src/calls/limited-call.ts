/**
 * A call that may end before its task does: by its AbortSignal, or because its time is over.
 *
 * A task that no machine has yet is taken back, and never runs. Later the caller's promise rejects
 * at once, and the handler is asked to stop (`context.isCancelled`, `context.signal`). The
 * handler's result is then thrown away. The slot is free when the handler ends.
 */
import { onAbort, clearTimeout, setTimeout } from "@millrace/base";
import { schedulerError } from "../errors.ts";
import type { CallLimits } from "./call-options.ts";
import type { Submitter } from "./submitter.ts";
import { QUEUED, RUNNING } from "../shared/task-table.ts";

/** How often a task that waits for its start is looked at. */
const LOOK_MS = 10;
const NOT_SUBMITTED = -1;

export class LimitedCall {
  readonly #limits: CallLimits;
  readonly #submitter: Submitter;
  readonly #reject: (error: unknown) => void;
  #slot = NOT_SUBMITTED;
  #onFreed: (slot: number) => void = () => {};
  #onLeft: () => void = () => {};
  #timer: NodeJS.Timeout | undefined;
  #runTimer: NodeJS.Timeout | undefined;
  isOver = false;
  /** Takes the listener off the signal. */
  #forgetSignal: () => void = () => {};

  constructor(limits: CallLimits, submitter: Submitter, reject: (error: unknown) => void) {
    this.#limits = limits;
    this.#submitter = submitter;
    this.#reject = reject;
    const { timeoutMs } = limits;
    this.deadline = timeoutMs === undefined ? 0 : Math.ceil(submitter.shared.nowMs() + timeoutMs);
    if (limits.signal?.aborted === true) this.#abort();
  }

  /** Ms since the epoch, 0 without. */
  readonly deadline: number;

  /** `onFreed`: its task was taken back. `onLeft`: it ended while it waited for a slot. */
  start(onFreed: (slot: number) => void, onLeft: () => void): void {
    this.#onFreed = onFreed;
    this.#onLeft = onLeft;
    const { signal, timeoutMs } = this.#limits;
    if (signal !== undefined) this.#forgetSignal = onAbort(signal, () => this.#abort());
    if (timeoutMs !== undefined) this.#timer = setTimeout(() => this.#timeOut("timeoutMs", timeoutMs), timeoutMs);
  }

  submitted(slot: number): void {
    this.#slot = slot;
    if (this.isOver) {
      // A getter of the argument has aborted the call.
      this.#takeBack();
      return;
    }
    const { runTimeoutMs } = this.#limits;
    if (runTimeoutMs !== undefined) this.#lookIn(Math.min(runTimeoutMs, LOOK_MS));
  }

  /** The task is over, in time or not. */
  settled(): void {
    // A handler that ends because its time is over may be faster than the timer.
    if (!this.isOver && this.deadline !== 0 && this.#submitter.shared.nowMs() >= this.deadline) {
      this.#reject(timeoutError("timeoutMs", this.#limits.timeoutMs as number, true));
    }
    this.end();
  }

  /** Nothing more is to come. */
  end(): void {
    this.isOver = true;
    this.#forgetSignal();
    clearTimeout(this.#timer);
    clearTimeout(this.#runTimer);
  }

  #lookIn(ms: number): void {
    this.#runTimer = setTimeout(() => this.#look(), ms);
  }

  #look(): void {
    const { table, shared } = this.#submitter;
    const runTimeoutMs = this.#limits.runTimeoutMs as number;
    const state = table.state(this.#slot);
    if (state !== RUNNING && state !== QUEUED) return;
    const started = state === RUNNING ? table.started(this.#slot) : 0;
    if (started === 0) {
      this.#lookIn(LOOK_MS);
      return;
    }
    const left = shared.msUntil(started) + runTimeoutMs;
    if (left > 0) this.#lookIn(left);
    else this.#timeOut("runTimeoutMs", runTimeoutMs);
  }

  #abort(): void {
    this.#endEarly(
      schedulerError("ERR_TASK_ABORTED", "the call was aborted", { cause: this.#limits.signal?.reason as unknown }),
    );
  }

  #timeOut(option: string, ms: number): void {
    const isStarted = this.#slot !== NOT_SUBMITTED && this.#submitter.table.state(this.#slot) !== QUEUED;
    this.#endEarly(timeoutError(option, ms, isStarted));
  }

  #endEarly(error: Error): void {
    if (this.isOver) return;
    this.end();
    this.#reject(error);
    if (this.#slot === NOT_SUBMITTED) this.#onLeft();
    else this.#takeBack();
  }

  #takeBack(): void {
    if (this.#submitter.cancel(this.#slot)) this.#onFreed(this.#slot);
    else this.#submitter.askToStop(this.#slot);
  }
}

function timeoutError(option: string, ms: number, isStarted: boolean): Error {
  return schedulerError("ERR_TASK_TIMEOUT", `the task was not over within ${ms} ms (${option})`, {
    details: { [option]: ms, isStarted },
  });
}
