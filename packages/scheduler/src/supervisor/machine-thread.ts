/** The thread of a machine: its start, the reports that it sends, and its end with the reason. */
import type { ResourceLimits, Transferable, Worker } from "node:worker_threads";
import { decode } from "@millrace/codec";
import { type MillraceError, startThread, workerUrl, clearTimeout, performance, setTimeout } from "@millrace/base";
import { schedulerError } from "../errors.ts";
import { tooLate } from "../handler/handlers.ts";
import type { LastWords } from "../machine/last-words.ts";
import type { MachineMail, MachineReport, MachineWorkerData, RunningReport } from "../machine/machine.worker.ts";
import { MACHINE_STATS_BYTES, MachineStats } from "../machine/stats.ts";
import { type Death, deathOf, describeDeath } from "./death.ts";

export interface ThreadStart {
  readonly data: MachineWorkerData;
  readonly resourceLimits: ResourceLimits | undefined;
  /** The thread is ended if it hasn't loaded the handlers by then. */
  readonly timeoutMs: number;
  /** Whether it keeps the process alive while it starts. */
  readonly isAwaited: boolean;
}

export interface ThreadListener {
  reported(report: RunningReport): void;
  /** It has ended. `startError`: it had not started; why. */
  ended(death: Death, startError: MillraceError | undefined): void;
}

/** An event loop that doesn't turn for this long is blocked. */
const BLOCKED_MS = 500;

export class MachineThread {
  readonly stats: MachineStats;
  readonly statsBuffer: SharedArrayBuffer = new SharedArrayBuffer(MACHINE_STATS_BYTES);
  /** Undefined while there is none. */
  worker: Worker | undefined;
  /** It is loading its handlers. */
  isStarting = false;
  /** It died, and the machine is not yet fit for another. */
  isRecovering = false;
  /** Whether its module has a `teardown`, and whether that has returned. */
  hasTeardown = false;
  isTornDown = false;
  /** The error that `teardown` has thrown, or that has ended the thread in it. */
  teardownError: unknown;
  /** The system's number of the thread, where that tells. */
  systemThread: number | undefined;
  /** When the last thread was started, ms. */
  startedAt = 0;
  exited: Promise<void> = Promise.resolve();
  #settledAtStart = 0;
  /** Ends the thread, unless it answers before. */
  #ending: NodeJS.Timeout | undefined;

  constructor() {
    this.stats = new MachineStats(this.statsBuffer);
  }

  get isReady(): boolean {
    return this.worker !== undefined && !this.isStarting;
  }

  /** Tasks that the last thread has settled. */
  get settled(): number {
    return this.#allSettled() - this.#settledAtStart;
  }

  #allSettled(): number {
    const { ok, failed } = this.stats.read();
    return ok + failed;
  }

  post(mail: MachineMail, transferList: readonly Transferable[] = []): void {
    this.worker?.postMessage(mail, transferList as Transferable[]);
  }

  /** As `Supervisor.endMachine`. */
  end(ifBlocked: boolean): void {
    const { worker } = this;
    if (worker === undefined || this.#ending !== undefined) return;
    if (!ifBlocked) {
      void worker.terminate();
      return;
    }
    this.#ending = setTimeout(() => {
      this.#ending = undefined;
      if (this.worker === worker) void worker.terminate();
    }, BLOCKED_MS);
    this.#ending.unref();
    this.post("ping");
  }

  /** Its event loop turns. */
  #turns(): void {
    clearTimeout(this.#ending);
    this.#ending = undefined;
  }

  /**
   * Resolves with the names of the handlers. Rejects with `ERR_HANDLER_MODULE` when the thread has
   * ended before.
   */
  start(
    { data, resourceLimits, timeoutMs, isAwaited }: ThreadStart,
    listener: ThreadListener,
  ): Promise<readonly string[]> {
    const { handlersUrl } = data;
    const worker = startThread(workerUrl("../machine/machine.worker", import.meta.url), {
      workerData: data,
      transferList: [data.output.port],
      name: `millrace machine ${data.options.machine}`,
      ...(resourceLimits === undefined ? {} : { resourceLimits }),
    });
    if (!isAwaited) worker.unref();
    this.worker = worker;
    this.isStarting = true;
    this.hasTeardown = false;
    this.isTornDown = false;
    this.teardownError = undefined;
    this.startedAt = performance.now();
    this.#settledAtStart = this.#allSettled();
    let lastWords: LastWords | undefined;
    let error: unknown;
    let limits: ResourceLimits | undefined;
    let startError: MillraceError | undefined;
    const timer = setTimeout(() => {
      startError ??= tooLate(handlersUrl, timeoutMs);
      void worker.terminate();
    }, timeoutMs).unref();
    return new Promise((resolve, reject) => {
      // Before it runs its limits aren't known, afterwards they are gone.
      worker.once("online", () => (limits = worker.resourceLimits));
      worker.on("error", (thrown) => (error = thrown));
      worker.on("message", (report: MachineReport) => {
        if ("lastWords" in report) lastWords = report.lastWords;
        else if ("error" in report) {
          startError ??= decode(report.error) as MillraceError;
          // Work that its module has begun may keep it alive.
          void worker.terminate();
        } else if ("names" in report) {
          if (startError !== undefined) return;
          clearTimeout(timer);
          this.isStarting = false;
          this.hasTeardown = report.hasTeardown;
          worker.unref();
          this.systemThread = report.systemThread;
          resolve(report.names);
        } else if ("tornDown" in report) {
          this.isTornDown = report.tornDown === undefined;
          if (report.tornDown !== undefined) this.teardownError = decode(report.tornDown);
        } else if ("turns" in report) this.#turns();
        else listener.reported(report);
      });
      this.exited = new Promise((resolveExit) => {
        worker.once("exit", (exitCode) => {
          clearTimeout(timer);
          this.#turns();
          const death = deathOf({ exitCode, lastWords, error, limits });
          if (this.hasTeardown && !this.isTornDown) this.teardownError ??= error ?? new Error(describeDeath(death));
          const isUnstarted = this.isStarting;
          this.worker = undefined;
          this.systemThread = undefined;
          this.isStarting = false;
          resolveExit();
          if (isUnstarted) startError ??= endedEarly(handlersUrl, death);
          else startError = undefined;
          if (startError !== undefined) reject(startError);
          listener.ended(death, startError);
        });
      });
    });
  }
}

function endedEarly(url: string, death: Death): MillraceError {
  const text = death.reason === "ended" ? "it awaits a promise that nothing can settle" : describeDeath(death);
  const { reason, exitCode, limits, error } = death;
  return schedulerError("ERR_HANDLER_MODULE", `${url} ended its thread while it was loaded: ${text}`, {
    cause: error,
    details: { url, reason, exitCode, ...(limits === undefined ? {} : { limits }) },
  });
}
