/**
 * Starts the machines, notices the death of one, mends the state that it left behind, and starts
 * another thread in its place.
 *
 * There are as many machines as processors at first. When a machine waits in a handler and no spare
 * machine can take its processor, the supervisor starts one more, up to `machinesMax`.
 */
import type { ResourceLimits } from "node:worker_threads";
import { buryThread } from "@millrace/atomics-sync";
import { messageOf, type MillraceError, clearTimeout, performance, setTimeout } from "@millrace/base";
import { schedulerError } from "../errors.ts";
import type { RunningReport } from "../machine/machine.worker.ts";
import type { MachineStats } from "../machine/stats.ts";
import { DeathNotes } from "../shared/death-notes.ts";
import { CLOSED_LIFECYCLE, LIFECYCLE, type SchedulerMemory } from "../shared/layout.ts";
import { Shared } from "../shared/shared.ts";
import { waitedMs } from "../shared/system-thread.ts";
import type { TraceRings } from "../shared/trace-ring.ts";
import { answerAsk, answerFetch, type AnswersHost } from "./answers.ts";
import { CrashLoops } from "./crash-loops.ts";
import { type Death, type DeathReason, describeDeath } from "./death.ts";
import { MachineThread } from "./machine-thread.ts";
import { Output } from "./output.ts";
import { Recovery, type RecoveryReport } from "./recovery.ts";
import { STABLE_MS, StartPolicy } from "./start-policy.ts";

/** How often the supervisor checks whether a dead machine's outcomes were read. */
const DRAIN_CHECK_MS = 2;
/** How long an idle machine looks for work before it sleeps: a sleep and a wake-up cost 50 µs. */
const LOOK_AROUND_MS = 0.05;
/** Ticks of machines after the last arena has become small: they still let go of its regions. */
const TICKS_AFTERWARDS = 5;

export interface SupervisorOptions {
  readonly handlersUrl: string;
  readonly headerReaderUrl: string | undefined;
  readonly asyncTasksMax: number;
  readonly spinMs: number;
  readonly startTimeoutMs: number;
  readonly teardownTimeoutMs: number;
  readonly resourceLimits: ResourceLimits | undefined;
  readonly trace: TraceRings | undefined;
}

/** The death of a machine's thread, and what the recovery did about its tasks. */
export interface MachineDeath extends RecoveryReport, Death {
  readonly machine: number;
}

/** The opener's part: it learns of deaths, and holds values that go by message. */
export interface SupervisorHost extends AnswersHost {
  machineDied(death: MachineDeath): void;
  parcelFrom(machine: number, ticket: number, value: unknown): void;
}

export class Supervisor {
  readonly #memory: SchedulerMemory;
  readonly #options: SupervisorOptions;
  readonly #shared: Shared;
  readonly recovery: Recovery;
  /** The output of the machines' handlers. */
  readonly output: Output = new Output();
  readonly #host: SupervisorHost;
  readonly #machines: MachineThread[];
  readonly #notes: DeathNotes;
  readonly #starts: StartPolicy;
  readonly #loops: CrashLoops;
  #names: readonly string[] | undefined;
  #isClosing = false;
  #isTerminated = false;
  #ticksLeft = 0;
  #restarts = 0;
  readonly #deaths: Partial<Record<DeathReason, number>> = {};
  /** Deaths without a new thread in their place. */
  #unreplaced = 0;
  /** While no thread is started because others were of no use. */
  #pause: NodeJS.Timeout | undefined;

  constructor(memory: SchedulerMemory, options: SupervisorOptions, host: SupervisorHost) {
    this.#memory = memory;
    this.#options = options;
    this.#shared = new Shared(memory);
    this.recovery = new Recovery(this.#shared);
    this.#host = host;
    this.#machines = Array.from({ length: memory.machines }, () => new MachineThread());
    this.#notes = new DeathNotes(memory.deathNotes);
    this.#starts = new StartPolicy(options.startTimeoutMs);
    this.#loops = new CrashLoops(this.#shared.paused(), {
      isThreadReady: () => this.#machines.some((thread) => thread.isReady),
      pauseEnded: () => this.sweep(),
    });
  }

  /**
   * Starts a machine per processor, all at once, and resolves with the names of the handlers.
   * Rejects with the error of the first machine that fails.
   */
  async start(): Promise<readonly string[]> {
    const first = this.#machines.slice(0, this.#memory.processors);
    try {
      await Promise.all(first.map((_, machine) => this.#startMachine(machine)));
    } catch (thrown) {
      await this.terminate();
      throw thrown;
    }
    return this.#names as readonly string[];
  }

  get shared(): Shared {
    return this.#shared;
  }

  get restarts(): number {
    return this.#restarts;
  }

  /** Number of threads that ended before their time, by the reason. */
  get deaths(): Readonly<Partial<Record<DeathReason, number>>> {
    return { ...this.#deaths };
  }

  /** For how long a machine's thread has been ready and had no processor of the system, ms. */
  waitedMs(machine: number): number {
    return waitedMs(this.#machines[machine]?.systemThread);
  }

  /** Number of threads that run now. */
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
    for (const thread of this.#machines) if (thread.isReady) thread.post("tick");
  }

  /**
   * Lets each machine tear down what its module has built, and end. Every task must be settled, or
   * given up: a machine that still runs one is ended after `teardownTimeoutMs`. Rejects with
   * `ERR_TEARDOWN_FAILED`, all machines being gone.
   */
  async close(): Promise<void> {
    this.#isClosing = true;
    this.#loops.stop();
    Atomics.store(this.#shared.words, LIFECYCLE, CLOSED_LIFECYCLE);
    const idle = this.#shared.idleSet();
    for (let machine = 0; machine < this.#machines.length; machine += 1) idle.wake(machine);
    const alive = this.#machines.filter((machine) => machine.worker !== undefined);
    const { teardownTimeoutMs, handlersUrl } = this.#options;
    const late = (): void => {
      const error = new Error(`it took longer than ${teardownTimeoutMs} ms, or a handler still ran`);
      for (const machine of alive) if (machine.worker !== undefined) machine.teardownError ??= error;
      void this.#endMachines();
    };
    const stuck = setTimeout(late, teardownTimeoutMs);
    for (const machine of alive) machine.worker?.ref();
    await Promise.all(alive.map((machine) => machine.exited));
    clearTimeout(stuck);
    this.output.close();
    const failed = this.#isTerminated ? [] : alive.filter((machine) => machine.hasTeardown && !machine.isTornDown);
    if (failed.length > 0) {
      const machines = failed.map((machine) => this.#machines.indexOf(machine));
      throw teardownFailed(handlersUrl, machines, failed[0]?.teardownError);
    }
  }

  /** Ends the machines at once, whatever they do. */
  async terminate(): Promise<void> {
    this.#isClosing = true;
    this.#isTerminated = true;
    clearTimeout(this.#pause);
    this.#loops.stop();
    await this.#endMachines();
    this.output.close();
  }

  /**
   * Ends a machine's thread, which another replaces; `ifBlocked`: only if its event loop doesn't
   * turn for half a second.
   */
  endMachine(machine: number, ifBlocked: boolean): void {
    this.#machines[machine]?.end(ifBlocked);
  }

  async #endMachines(): Promise<void> {
    const workers = this.#machines.map((machine) => machine.worker).filter((worker) => worker !== undefined);
    await Promise.all(workers.map((worker) => worker.terminate()));
  }

  // ── starting ───────────────────────────────────────────────────────────────────────────────

  async #startMachine(machine: number): Promise<void> {
    const thread = this.#machines[machine] as MachineThread;
    const { handlersUrl, headerReaderUrl, asyncTasksMax, spinMs, startTimeoutMs, resourceLimits, trace } =
      this.#options;
    const options = {
      machine,
      memory: this.#memory,
      stats: thread.statsBuffer,
      asyncTasksMax,
      spinMs,
      lookAroundMs: LOOK_AROUND_MS,
      trace,
    };
    const names = await thread.start(
      {
        data: { options, handlersUrl, headerReaderUrl, output: this.output.newPort() },
        resourceLimits,
        timeoutMs: startTimeoutMs,
        isAwaited: this.#names === undefined,
      },
      {
        reported: (report) => this.#handle(machine, report),
        ended: (death, startError) => {
          this.output.flush();
          if (!this.#isClosing && this.#names !== undefined) this.#mend(machine, death, startError);
        },
      },
    );
    this.#checkNames(names);
    this.#loops.threadReady();
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

  #handle(machine: number, report: RunningReport): void {
    const thread = this.#machines[machine] as MachineThread;
    if ("fetch" in report) answerFetch(this.#host, thread, report.fetch, report.slot);
    else if ("parcel" in report) this.#host.parcelFrom(machine, report.parcel, report.value);
    else if ("ask" in report) void answerAsk(this.#host, thread, report.ask, report.value);
    else if (report.wants === "sweep") this.sweep();
    else this.#staffProcessors();
  }

  // ── deaths ─────────────────────────────────────────────────────────────────────────────────

  /** A machine's thread is gone. `startError`: it had not even started. */
  #mend(machine: number, death: Death, startError: MillraceError | undefined): void {
    const thread = this.#machines[machine] as MachineThread;
    const now = performance.now();
    thread.isRecovering = true;
    this.#unreplaced += 1;
    const hadTasks = startError === undefined && this.recovery.countRunning(machine) > 0;
    if (startError === undefined && (hadTasks || thread.settled > 0 || now - thread.startedAt >= STABLE_MS)) {
      this.#starts.succeeded();
    } else this.#starts.failed(thread.startedAt, now);
    const culprit = startError === undefined ? this.recovery.culprit(machine) : -1;
    if (culprit >= 0) this.#loops.pause(culprit, now);
    // First: a submitter reads it as soon as it sees that a task has failed.
    this.#notes.write(machine, startError ?? machineDied(death));
    const report = this.recovery.recover(machine);
    if (this.#starts.isHopeless(now) && !this.#machines.some((each) => each.isReady)) {
      report.failed += this.recovery.failQueued(machine);
    }
    void this.#becomeFit(machine);
    this.#staffProcessors();
    // Last: it is the program's, and may throw.
    this.#deaths[death.reason] = (this.#deaths[death.reason] ?? 0) + 1;
    this.#host.machineDied({ machine, ...death, ...report });
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
    free -= this.#machines.filter((thread) => thread.isStarting).length;
    while (free > 0 && processors.wakeSpare() >= 0) free -= 1;
    const pauseMs = this.#starts.pauseMs(performance.now());
    if (free > 0 && pauseMs > 0) {
      clearTimeout(this.#pause);
      // Calls that wait keep the process alive, this doesn't.
      this.#pause = setTimeout(() => this.#staffProcessors(), pauseMs).unref();
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
      // A thread that fails to start ends, and its end comes back here.
      this.#startMachine(machine).catch(() => {});
    }
  }
}

/**
 * The error of each task that the thread had begun; `value` in slots.ts adds what concerns the task
 * alone.
 */
function machineDied(death: Death): MillraceError {
  const { reason, exitCode, limits, error } = death;
  const text = describeDeath(death);
  return schedulerError("ERR_MACHINE_DIED", `the worker thread that ran the task ended before the task did: ${text}`, {
    cause: error,
    details: { reason, exitCode, ...(limits === undefined ? {} : { limits }) },
  });
}

/** `error`: of the first one. */
function teardownFailed(url: string, machines: readonly number[], error: unknown): MillraceError {
  const text = `teardown() of ${url} failed on ${machines.length} of the worker threads: ${messageOf(error)}`;
  return schedulerError("ERR_TEARDOWN_FAILED", text, { cause: error, details: { url, machines } });
}
