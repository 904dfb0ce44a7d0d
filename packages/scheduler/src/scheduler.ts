/**
 * The scheduler as a user of this package sees it. Open it with a module of handlers, call the
 * handlers from this thread, close it.
 */
import { checkRuntime, clearInterval, performance, setInterval, withoutContext } from "@millrace/base";
import { availableParallelism } from "node:os";
import { Reactor } from "@millrace/atomics-sync";
import { Histogram } from "@millrace/metrics";
import { countBits, maskWords } from "@millrace/shared-memory";
import { CallsByName } from "./calls-by-name.ts";
import { Calls } from "./calls/calls.ts";
import { Submitter } from "./calls/submitter.ts";
import { closeAborted, type CloseOptions, closeLimits, isOverdue, type TasksAlive } from "./closing.ts";
import { schedulerError } from "./errors.ts";
import type { Handler } from "./handler/context.ts";
import { LostTasks } from "./supervisor/lost-tasks.ts";
import { openMachines, releaseMachineThreads, type SchedulerParts } from "./opening.ts";
import { schedulerOptions, type SchedulerOptions } from "./options.ts";
import type { ParallelMap, ParallelReduce, Run, RunMany } from "./run-types.ts";
import type { SchedulerStats } from "./scheduler-stats.ts";
import { firstSlotOf, type SchedulerMemory } from "./shared/layout.ts";
import { QUEUED, RUNNING } from "./shared/task-table.ts";
import { readTrace, type TraceRings, type TraceSnapshot } from "./shared/trace-ring.ts";
import type { Supervisor } from "./supervisor/supervisor.ts";
import { Watchdog } from "./supervisor/watchdog.ts";
import { schedTraceLine, schedTraceMs } from "./trace/sched-trace.ts";

/** A plain value that lets another thread submit tasks. */
export interface SubmitterHandle {
  readonly memory: SchedulerMemory;
  readonly submitter: number;
  /** The thread id that this submitter must park under. */
  readonly thread: number;
  readonly handlerNames: readonly string[];
}

/** How often memory is given back, and lost tasks are looked for. */
const TICK_MS = 1000;

export class Scheduler<Handlers = Record<string, Handler>> {
  readonly #memory: SchedulerMemory;
  readonly #supervisor: Supervisor;
  readonly #reactor: Reactor;
  readonly #submitter: Submitter;
  readonly #calls: Calls;
  readonly #handlerNames: readonly string[];
  readonly #watchdog: Watchdog;
  readonly #trace: TraceRings | undefined;
  /** Whether the numbers of its threads were given back; another runtime may have them now. */
  #isReleased = false;
  readonly #onHint: (text: string) => void;
  readonly #hinted = new Set<number>();
  readonly #lostTasks: LostTasks;
  readonly #ticker: NodeJS.Timeout;
  readonly #schedTrace: NodeJS.Timeout | undefined;
  readonly #startedAt: number = performance.now();
  #closing: Promise<void> | undefined;

  /** Calls by handler name: `await scheduler.run.settle(payment)`. */
  readonly run: Run<Handlers>;
  /** Many calls of one handler at once: `await scheduler.runMany.settle(payments)`. */
  readonly runMany: RunMany<Handlers>;
  readonly parallelMap: ParallelMap<Handlers>;
  readonly parallelReduce: ParallelReduce<Handlers>;

  private constructor(parts: SchedulerParts) {
    const { memory, supervisor, handlerNames, options } = parts;
    this.#memory = memory;
    this.#supervisor = supervisor;
    this.#trace = parts.trace;
    this.#reactor = Reactor.current();
    this.#submitter = new Submitter(memory, 0, parts.trace);
    const waits = {
      pollMs: options.pollMicroseconds / 1000,
      spinMs: options.spinMicroseconds / 1000,
      // With a core to itself this thread takes nothing from the machines by looking.
      mayRest: options.spinMicroseconds === 0 && options.processors >= availableParallelism(),
    };
    this.#calls = new Calls(
      this.#submitter,
      this.#reactor,
      waits,
      (machine, ticket, settle) => parts.mail.take(machine, ticket, settle),
      () => supervisor.output.flushCounted(),
    );
    parts.mail.parcelFor = (ticket) => this.#calls.parcels.take(ticket);
    this.#handlerNames = handlerNames;
    this.#onHint = options.onHint ?? ((hint) => process.emitWarning(hint, "MillraceHint"));
    this.#watchdog = new Watchdog(
      supervisor.shared,
      supervisor.recovery,
      (handler, ms) => this.#hintLong(handler, ms),
      (machine) => supervisor.waitedMs(machine),
    );
    const { processors } = memory;
    const byName = new CallsByName<Handlers>({
      handlerNames,
      calls: this.#calls,
      watchdog: this.#watchdog,
      processors,
    });
    this.run = byName.run;
    this.runMany = byName.runMany;
    this.parallelMap = byName.parallelMap;
    this.parallelReduce = byName.parallelReduce;
    this.#lostTasks = new LostTasks(supervisor, this.#calls, this.#watchdog);
    this.#ticker = setInterval(() => this.#tick(), TICK_MS).unref();
    const traceMs = schedTraceMs(process.env);
    if (traceMs !== undefined) this.#schedTrace = setInterval(() => this.#printState(), traceMs).unref();
  }

  /**
   * Starts the worker threads; resolves when each has loaded the handlers. Throws
   * `ERR_INVALID_OPTION`, `ERR_HANDLER_MODULE`, `ERR_THREAD_FILE`, `ERR_RUNTIME_UNSUPPORTED`.
   */
  static open<Handlers = Record<string, Handler>>(given: SchedulerOptions): Promise<Scheduler<Handlers>> {
    return withoutContext(() => Scheduler.#open<Handlers>(given));
  }

  static async #open<Handlers>(given: SchedulerOptions): Promise<Scheduler<Handlers>> {
    checkRuntime();
    const options = schedulerOptions(given);
    return new Scheduler<Handlers>(await openMachines(options));
  }

  /** The names that `run` takes. */
  get handlerNames(): readonly string[] {
    return this.#handlerNames;
  }

  /**
   * Lets another thread of this process submit tasks: the one at index `guest` of the option
   * `guests`. Throws `ERR_GUEST_UNKNOWN`.
   */
  submitterHandle(guest: number): SubmitterHandle {
    const submitter = guest + 1;
    const thread = submitter < this.#memory.outsiders ? this.#memory.submitterThreads[submitter] : undefined;
    if (thread === undefined) {
      throw schedulerError("ERR_GUEST_UNKNOWN", `the option "guests" names no thread at index ${guest}`, {
        details: { guest, guests: this.#memory.outsiders - 1 },
      });
    }
    return { memory: this.#memory, submitter, thread, handlerNames: this.#handlerNames };
  }

  /** Number of worker threads that run now. */
  get threads(): number {
    return this.#supervisor.running;
  }

  /** Ends a machine's thread; with `ifBlocked` only if its event loop doesn't turn. */
  endMachine(machine: number, ifBlocked: boolean): void {
    this.#supervisor.endMachine(machine, ifBlocked);
  }

  /** Those of all machines: see `SchedulerStats`; for exporters. */
  histograms(): { readonly waitingMicroseconds: Histogram; readonly runningMicroseconds: Histogram } {
    const waitingMicroseconds = new Histogram();
    const runningMicroseconds = new Histogram();
    for (const machine of this.#supervisor.stats()) {
      waitingMicroseconds.add(machine.waiting);
      runningMicroseconds.add(machine.running);
    }
    return { waitingMicroseconds, runningMicroseconds };
  }

  stats(): SchedulerStats {
    const { waitingMicroseconds, runningMicroseconds } = this.histograms();
    const machines = this.#supervisor.stats();
    const { shared } = this.#supervisor;
    const counts = machines.map((machine) => machine.read());
    return {
      processors: this.#memory.processors,
      threads: this.#supervisor.running,
      outstanding: this.#calls.outstanding,
      idle: shared.idleSet().countSleepers(),
      spare: countBits(shared.words, shared.layout.spares, maskWords(this.#memory.machines)),
      restarts: this.#supervisor.restarts,
      deaths: this.#supervisor.deaths,
      mappedBytes: this.#supervisor.shared.arenas.mappedBytes(),
      sweptTasks: this.#lostTasks.found,
      wakeupsMissed: counts.reduce((sum, { wakeupsMissed }) => sum + wakeupsMissed, this.#reactor.wakeupsMissed),
      rescues: this.#watchdog.rescues,
      machines: counts,
      waitingMicroseconds: waitingMicroseconds.summary(),
      runningMicroseconds: runningMicroseconds.summary(),
    };
  }

  /** The records of the option `trace` so far; undefined without the option. */
  trace(): TraceSnapshot | undefined {
    return this.#trace === undefined ? undefined : readTrace(this.#trace);
  }

  /** The rings themselves, for a reader of its own. */
  get traceRings(): TraceRings | undefined {
    return this.#trace;
  }

  /**
   * Takes no more calls: they reject with `ERR_SCHEDULER_CLOSED`. For an owner that has more to do
   * before it closes.
   */
  refuseCalls(): void {
    this.#calls.refuse();
  }

  /**
   * Takes no more calls, waits for those under way, lets each worker thread call the module's
   * `teardown`, ends the threads. Idempotent. When `signal` aborts first, or `timeoutMs` are over,
   * ends what isn't over and rejects with `ERR_CLOSE_ABORTED`, whose `details.tasks` says what that
   * was; so does any later call with a limit. Rejects with `ERR_TEARDOWN_FAILED`.
   */
  async close(options?: CloseOptions): Promise<void> {
    const limits = closeLimits(options);
    this.#closing ??= this.#close();
    const overdue = await isOverdue(this.#closing, limits);
    if (overdue === undefined) return await this.#closing;
    const tasks = this.tasksAlive();
    await this.terminate();
    throw closeAborted(tasks, overdue.reason);
  }

  /**
   * Ends the worker threads at once; calls under way reject with `ERR_SCHEDULER_CLOSED`.
   * Idempotent.
   */
  async terminate(): Promise<void> {
    this.#closing ??= Promise.resolve();
    await this.#supervisor.terminate();
    this.#calls.abandon();
    this.#release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(): Promise<void> {
    await this.#calls.drain();
    try {
      await this.#supervisor.close();
    } finally {
      this.#release();
    }
  }

  /**
   * The tasks that threads outside the machines have submitted and that are under way, by handler.
   */
  tasksAlive(): TasksAlive[] {
    const { table } = this.#submitter;
    const alive = new Map<number, { running: number; queued: number }>();
    const end = firstSlotOf(this.#memory, this.#memory.outsiders);
    for (let slot = 0; slot < end; slot += 1) {
      const state = table.state(slot);
      if (state !== QUEUED && state !== RUNNING) continue;
      const counts = alive.get(table.handler(slot)) ?? { running: 0, queued: 0 };
      if (state === QUEUED) counts.queued += 1;
      else counts.running += 1;
      alive.set(table.handler(slot), counts);
    }
    return [...alive].map(([handler, counts]) => ({ handler: this.#handlerNames[handler] as string, ...counts }));
  }

  #release(): void {
    if (this.#isReleased) return;
    this.#isReleased = true;
    clearInterval(this.#ticker);
    clearInterval(this.#schedTrace);
    this.#watchdog.stop();
    this.#supervisor.shared.arenas.leave();
    releaseMachineThreads(this.#memory);
  }

  #tick(): void {
    this.#submitter.tick();
    this.#supervisor.tickMachines();
    this.#lostTasks.look();
  }

  #hintLong(handler: number, ms: number): void {
    if (this.#hinted.has(handler)) return;
    this.#hinted.add(handler);
    const name = this.#handlerNames[handler];
    this.#onHint(`${name} ran ${Math.round(ms)} ms without a pause: call it through mill.blocking.${name}(…)`);
  }

  #printState(): void {
    const { shared, running } = this.#supervisor;
    process.stderr.write(`${schedTraceLine(shared, this.#startedAt, running, this.#calls.outstanding)}\n`);
  }
}
