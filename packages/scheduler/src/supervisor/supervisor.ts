/**
 * Starts the machines, notices the death of one, mends the state that it left behind, and starts
 * another thread in its place.
 *
 * There are as many machines as processors at first. When a machine waits in a handler and no spare
 * machine can take its processor, the supervisor starts one more, up to `machinesMax`.
 */
import type { ResourceLimits, Transferable, Worker } from "node:worker_threads";
import { buryThread } from "@millrace/atomics-sync";
import { decode, encode } from "@millrace/codec";
import { isMillraceError, messageOf, startThread, workerUrl } from "@millrace/base";
import { schedulerError } from "../errors.ts";
import { CLOSED_LIFECYCLE, LIFECYCLE, type SchedulerMemory } from "../shared/layout.ts";
import { Shared } from "../shared/shared.ts";
import type { MachineMail, MachineReport, MachineWorkerData, ParcelMail } from "../machine/machine.worker.ts";
import { Recovery, type RecoveryReport } from "./recovery.ts";
import { MACHINE_STATS_BYTES, MachineStats } from "../machine/stats.ts";
import type { TraceRings } from "../shared/trace-ring.ts";

/** A machine that dies sooner than this after its start counts as crashing in a loop. */
const STABLE_MS = 1000;
/** Pause before the next start, doubled each time while machines crash in a loop. */
const BACKOFF_MS = 50;
const BACKOFF_MS_MAX = 5000;
/** How often the supervisor checks whether a dead machine's outcomes were read. */
const DRAIN_CHECK_MS = 2;
/** How long an idle machine looks for work before it sleeps: a sleep and a wake-up cost 50 µs. */
const LOOK_AROUND_MS = 0.05;
/** Ticks of machines after the last arena has become small: they still let go of its regions. */
const TICKS_AFTERWARDS = 5;
/** A machine that still runs this long after close() is stuck in a handler. */
const CLOSE_MS = 5000;

export interface SupervisorOptions {
  readonly handlersUrl: string;
  readonly headerReaderUrl: string | undefined;
  readonly asyncTasksMax: number;
  readonly spinMs: number;
  readonly resourceLimits: ResourceLimits | undefined;
  readonly trace: TraceRings | undefined;
}

/** The death of a machine, and what the recovery did about its tasks. */
export interface MachineDeath extends RecoveryReport {
  readonly machine: number;
  readonly exitCode: number;
  readonly error: Error | undefined;
}

/** The opener's part: it learns of deaths, and holds values that go by message. */
export interface SupervisorHost {
  machineDied(death: MachineDeath): void;
  /** The port that holds the argument with this ticket. */
  parcelFor(ticket: number): Transferable | undefined;
  parcelFrom(machine: number, ticket: number, value: unknown): void;
}

interface MachineThread {
  worker: Worker | undefined;
  readonly stats: MachineStats;
  readonly statsBuffer: SharedArrayBuffer;
  startedAt: number;
  /** The thread is loading its handlers. */
  isStarting: boolean;
  /** The thread died, and the machine is not yet fit for another. */
  isRecovering: boolean;
  exited: Promise<void>;
}

export class Supervisor {
  readonly #memory: SchedulerMemory;
  readonly #options: SupervisorOptions;
  readonly #shared: Shared;
  readonly recovery: Recovery;
  readonly #host: SupervisorHost;
  readonly #machines: MachineThread[];
  #names: readonly string[] | undefined;
  #isClosing = false;
  #ticksLeft = 0;
  #restarts = 0;
  /** Deaths without a new thread in their place. */
  #unreplaced = 0;
  /** Deaths in a row that came soon after a start, and the time before which no thread starts. */
  #crashesInARow = 0;
  #notBefore = 0;

  constructor(memory: SchedulerMemory, options: SupervisorOptions, host: SupervisorHost) {
    this.#memory = memory;
    this.#options = options;
    this.#shared = new Shared(memory);
    this.recovery = new Recovery(this.#shared);
    this.#host = host;
    this.#machines = Array.from({ length: memory.machines }, () => {
      const statsBuffer = new SharedArrayBuffer(MACHINE_STATS_BYTES);
      return {
        worker: undefined,
        stats: new MachineStats(statsBuffer),
        statsBuffer,
        startedAt: 0,
        isStarting: false,
        isRecovering: false,
        exited: Promise.resolve(),
      };
    });
  }

  /**
   * Starts a machine per processor, all at once, and resolves with the names of the handlers.
   * Rejects with the error of the first machine that fails.
   */
  async start(): Promise<readonly string[]> {
    const first = this.#machines.slice(0, this.#memory.processors);
    const outcomes = await Promise.allSettled(first.map((_, machine) => this.#startMachine(machine)));
    const failed = outcomes.find((outcome) => outcome.status === "rejected");
    if (failed !== undefined) {
      await this.terminate();
      throw failed.reason;
    }
    return this.#names as readonly string[];
  }

  get shared(): Shared {
    return this.#shared;
  }

  get restarts(): number {
    return this.#restarts;
  }

  /** How many threads run now. */
  get running(): number {
    return this.#machines.filter((machine) => machine.worker !== undefined).length;
  }

  stats(): MachineStats[] {
    return this.#machines.map((machine) => machine.stats);
  }

  /** Looks for tasks that lost their queue entry; a correct scheduler has none. */
  sweep(): number {
    const found = this.recovery.sweep();
    if (found > 0) this.#shared.idleSet().wakeOne();
    return found;
  }

  /** Once a second: machines give back memory, as long as there may be some. */
  tickMachines(): void {
    this.#ticksLeft = this.#shared.arenas.areSmall ? this.#ticksLeft - 1 : TICKS_AFTERWARDS;
    if (this.#ticksLeft < 0) return;
    for (const { worker, isStarting } of this.#machines) {
      if (!isStarting) worker?.postMessage("tick" satisfies MachineMail);
    }
  }

  /** Ends the machines. Every task must be settled. */
  async close(): Promise<void> {
    this.#isClosing = true;
    Atomics.store(this.#shared.words, LIFECYCLE, CLOSED_LIFECYCLE);
    const idle = this.#shared.idleSet();
    for (let machine = 0; machine < this.#machines.length; machine += 1) idle.wake(machine);
    const stuck = setTimeout(() => void this.terminate(), CLOSE_MS);
    for (const machine of this.#machines) machine.worker?.ref();
    await Promise.all(this.#machines.map((machine) => machine.exited));
    clearTimeout(stuck);
  }

  /** Ends the machines at once, whatever they do. */
  async terminate(): Promise<void> {
    this.#isClosing = true;
    const workers = this.#machines.map((machine) => machine.worker).filter((worker) => worker !== undefined);
    await Promise.all(workers.map((worker) => worker.terminate()));
  }

  #startMachine(machine: number): Promise<void> {
    const thread = this.#machines[machine] as MachineThread;
    const { handlersUrl, headerReaderUrl, asyncTasksMax, spinMs, resourceLimits, trace } = this.#options;
    const data: MachineWorkerData = {
      options: {
        machine,
        memory: this.#memory,
        stats: thread.statsBuffer,
        asyncTasksMax,
        spinMs,
        lookAroundMs: LOOK_AROUND_MS,
        trace,
      },
      handlersUrl,
      headerReaderUrl,
    };
    const worker = startThread(workerUrl("../machine/machine.worker", import.meta.url), {
      workerData: data,
      name: `millrace machine ${machine}`,
      ...(resourceLimits === undefined ? {} : { resourceLimits }),
    });
    thread.worker = worker;
    thread.isStarting = true;
    thread.startedAt = performance.now();
    let error: Error | undefined;
    worker.on("error", (thrown) => (error = thrown instanceof Error ? thrown : new Error(messageOf(thrown))));
    thread.exited = new Promise((resolve) => {
      worker.once("exit", (exitCode) => {
        thread.worker = undefined;
        thread.isStarting = false;
        resolve();
        if (!this.#isClosing && this.#names !== undefined) this.#mend(machine, exitCode, error);
      });
    });
    return new Promise((resolve, reject) => {
      worker.on("message", (report: MachineReport) => {
        try {
          if (this.#handle(machine, worker, report)) resolve();
        } catch (thrown) {
          reject(thrown as Error);
        }
      });
      worker.once("exit", () =>
        reject(error ?? schedulerError("ERR_MACHINE_DIED", "a worker thread ended while it started")),
      );
    });
  }

  /** Returns true when the machine has started. */
  #handle(machine: number, worker: Worker, report: MachineReport): boolean {
    if ("error" in report) throw decode(report.error);
    if ("names" in report) {
      this.#checkNames(report.names);
      worker.unref();
      (this.#machines[machine] as MachineThread).isStarting = false;
      return true;
    }
    if ("fetch" in report) {
      this.#answerFetch(worker, report.fetch, report.slot);
    } else if ("parcel" in report) this.#host.parcelFrom(machine, report.parcel, report.value);
    else if (report.wants === "sweep") this.sweep();
    else this.#staffProcessors();
    return false;
  }

  #answerFetch(worker: Worker, ticket: number, slot: number): void {
    let port: ParcelMail["port"];
    let error: Uint8Array | undefined;
    try {
      port = this.#host.parcelFor(ticket) as ParcelMail["port"];
    } catch (thrown) {
      // Each attempt clones the value anew, and meanwhile it has become one that can't be cloned.
      error = encode(isMillraceError(thrown) ? thrown : cloneError(thrown));
    }
    worker.postMessage({ slot, port, error } satisfies ParcelMail, port === undefined ? [] : [port]);
  }

  #checkNames(names: readonly string[]): void {
    this.#names ??= names;
    if (this.#names.join() !== names.join()) {
      throw schedulerError(
        "ERR_HANDLER_MODULE",
        `${this.#options.handlersUrl} exports different names in different threads`,
      );
    }
  }

  /** A machine's thread is gone. */
  #mend(machine: number, exitCode: number, error: Error | undefined): void {
    const thread = this.#machines[machine] as MachineThread;
    thread.isRecovering = true;
    this.#unreplaced += 1;
    const report = this.recovery.recover(machine);
    const livedMs = performance.now() - thread.startedAt;
    this.#crashesInARow = livedMs < STABLE_MS ? this.#crashesInARow + 1 : 0;
    const backoffMs = this.#crashesInARow <= 1 ? 0 : BACKOFF_MS * 2 ** (this.#crashesInARow - 2);
    this.#notBefore = performance.now() + Math.min(backoffMs, BACKOFF_MS_MAX);
    this.#host.machineDied({ machine, exitCode, error, ...report });
    void this.#becomeFit(machine);
    this.#staffProcessors();
  }

  /**
   * Releases the locks of a dead machine and waits until submitters have read its outcomes. Then
   * another thread may have its number.
   */
  async #becomeFit(machine: number): Promise<void> {
    await buryThread(this.#memory.machineThreads[machine] as number);
    // Ends: submitters read the outcomes; the dead machine's tasks on other machines end at last.
    while (!this.#isClosing && !this.recovery.isDrained(machine)) {
      // oxlint-disable-next-line no-await-in-loop
      await new Promise((resolve) => setTimeout(resolve, DRAIN_CHECK_MS));
    }
    this.recovery.forgetMemory(machine);
    (this.#machines[machine] as MachineThread).isRecovering = false;
    this.#staffProcessors();
  }

  /** Finds a machine for every free processor: a spare, or a new thread if one may start. */
  #staffProcessors(): void {
    if (this.#isClosing) return;
    const processors = this.#shared.processors();
    let free = 0;
    for (let processor = 0; processor < processors.count; processor += 1)
      if (processors.owner(processor) < 0) free += 1;
    // Each thread that is starting will take one.
    const starting = this.#machines.filter((thread) => thread.worker !== undefined && thread.isStarting).length;
    free -= starting;
    while (free > 0 && processors.wakeSpare() >= 0) free -= 1;
    const pauseMs = this.#notBefore - performance.now();
    if (free > 0 && pauseMs > 0) {
      setTimeout(() => this.#staffProcessors(), pauseMs);
      return;
    }
    for (let machine = 0; free > 0 && machine < this.#machines.length; machine += 1) {
      const thread = this.#machines[machine] as MachineThread;
      if (thread.worker !== undefined || thread.isRecovering) continue;
      free -= 1;
      if (this.#unreplaced > 0) {
        this.#unreplaced -= 1;
        this.#restarts += 1;
      }
      // A thread that fails to start ends, and its exit comes back here.
      this.#startMachine(machine).catch(() => {});
    }
  }
}

/** The error of a clone, fit to be sent: a getter may have thrown anything. */
function cloneError(thrown: unknown): Error {
  const error = new Error("the argument can't be sent any more");
  if (!(thrown instanceof Error)) return error;
  const { name, message } = thrown as { readonly name: unknown; readonly message: unknown };
  error.message += `: ${String(message)}`;
  error.name = String(name);
  return error;
}
