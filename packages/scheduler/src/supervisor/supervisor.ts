/**
 * Starts the machines, notices when one dies, mends what it left behind, and starts another in its place.
 *
 * There are as many machines as processors at first; more are started, up to `machinesMax`, when one waits in a handler and no
 * spare is there to take its processor.
 */
import { type ResourceLimits, type Transferable, Worker } from "node:worker_threads";
import { buryThread } from "@millrace/atomics-sync";
import { decode, encode } from "@millrace/codec";
import { messageOf, workerUrl } from "@millrace/base";
import { schedulerError } from "../errors.ts";
import { CLOSED_LIFECYCLE, LIFECYCLE, type SchedulerMemory } from "../shared/layout.ts";
import { Shared } from "../shared/shared.ts";
import type { MachineMail, MachineReport, MachineWorkerData } from "../machine/machine.worker.ts";
import { Recovery, type RecoveryReport } from "./recovery.ts";
import { MACHINE_STATS_BYTES, MachineStats } from "../machine/stats.ts";
import type { TraceRings } from "../shared/trace-ring.ts";

/** A machine that died sooner than this after its start counts as crashing in a loop. */
const STABLE_MS = 1000;
/** Pause before the next start, doubled each time while it crashes in a loop. */
const BACKOFF_MS = 50;
const BACKOFF_MS_MAX = 5000;
/** How often a dead machine is looked at until its outcomes were read. */
const DRAIN_CHECK_MS = 2;
/** How long an idle machine looks around before it sleeps, while that pays: a sleep and a wake-up cost about 50 µs together. */
const LOOK_AROUND_MS = 0.05;
/** After close() a machine that still runs is stuck in a handler. */
const CLOSE_MS = 5000;

export interface SupervisorOptions {
  readonly handlersUrl: string;
  readonly headerReaderUrl: string | undefined;
  readonly asyncTasksMax: number;
  readonly spinMs: number;
  readonly resourceLimits: ResourceLimits | undefined;
  readonly trace: TraceRings | undefined;
}

/** What became of a machine that ended on its own. */
export interface MachineDeath extends RecoveryReport {
  readonly machine: number;
  readonly exitCode: number;
  readonly error: Error | undefined;
}

/** What the opener does for its machines. */
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
  /** Its handlers are being loaded. */
  isStarting: boolean;
  /** It died, and is not yet fit for another start. */
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
  #restarts = 0;
  /** Deaths for which no thread was started yet. */
  #unreplaced = 0;
  /** Deaths soon after a start, one after the other, and before when no thread is started because of them. */
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

  /** Starts a machine per processor, all at once; resolves with the names of the handlers. Rejects with the error of the first that
   * fails. */
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

  /** Threads that run now. */
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

  /** Ends the machines; every task must be settled. */
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
    const worker = new Worker(workerUrl("../machine/machine.worker", import.meta.url), {
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

  /** True when the machine has started. */
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
    let port: MachineMail["port"];
    let error: Uint8Array | undefined;
    try {
      port = this.#host.parcelFor(ticket) as MachineMail["port"];
    } catch (thrown) {
      // The value is cloned anew for each attempt, and has changed so that this isn't possible any more.
      error = encode(cloneError(thrown));
    }
    worker.postMessage({ slot, port, error } satisfies MachineMail, port === undefined ? [] : [port]);
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

  /** Gives back what a dead machine held of locks, and waits until its outcomes were read; then its number may serve another thread. */
  async #becomeFit(machine: number): Promise<void> {
    await buryThread(this.#memory.machineThreads[machine] as number);
    // Ends: whoever submitted reads its outcomes, and what others run for the dead one ends with them at the latest.
    while (!this.#isClosing && !this.recovery.isDrained(machine)) {
      // oxlint-disable-next-line no-await-in-loop
      await new Promise((resolve) => setTimeout(resolve, DRAIN_CHECK_MS));
    }
    (this.#machines[machine] as MachineThread).isRecovering = false;
    this.#staffProcessors();
  }

  /** Finds a machine for every processor without one: a spare, or a new thread if one may be started. */
  #staffProcessors(): void {
    if (this.#isClosing) return;
    const processors = this.#shared.processors();
    let free = 0;
    for (let processor = 0; processor < processors.count; processor += 1)
      if (processors.owner(processor) < 0) free += 1;
    // Threads that start now will take one each.
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
      // A thread that fails to start has ended or will end, and comes back here by its exit.
      this.#startMachine(machine).catch(() => {});
    }
  }
}

/** What a clone has thrown, in a form that can be sent: that may be anything, since a getter can throw it. */
function cloneError(thrown: unknown): Error {
  const error = new Error("the argument can't be sent any more");
  if (!(thrown instanceof Error)) return error;
  const { name, message } = thrown as { readonly name: unknown; readonly message: unknown };
  error.message += `: ${String(message)}`;
  error.name = String(name);
  return error;
}
