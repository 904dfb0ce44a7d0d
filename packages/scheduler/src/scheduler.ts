/**
 * The scheduler as a user of this package sees it. Open it with a module of handlers, call the
 * handlers from this thread, close it.
 */
import { checkRuntime, clearInterval, performance, setInterval, withoutContext } from "@millrace/base";
import { availableParallelism } from "node:os";
import { Reactor, ThreadTable } from "@millrace/atomics-sync";
import { Histogram } from "@millrace/metrics";
import { countBits, maskWords } from "@millrace/shared-memory";
import { type CallOptions, PLAIN_CALL } from "./calls/call-options.ts";
import { Calls } from "./calls/calls.ts";
import { closeAborted, type CloseOptions, closeLimits, isOverdue, type TasksAlive } from "./closing.ts";
import { schedulerError } from "./errors.ts";
import type { Handler } from "./handler/context.ts";
import { allOver, concatenated, cut, type Items, PIECES_PER_PROCESSOR } from "./handler/fork-join.ts";
import { allocateMemory, firstSlotOf, RUN_QUEUE_CAPACITY, type SchedulerMemory } from "./shared/layout.ts";
import { Mail } from "./calls/mail.ts";
import { Watchdog } from "./supervisor/watchdog.ts";
import {
  manyOptions,
  reduceOptions,
  type ResolvedSchedulerOptions,
  runOptions,
  schedulerOptions,
  type SchedulerOptions,
} from "./options.ts";
import type { ParallelMap, ParallelReduce, Run, RunMany, RunManyOptions, RunOptions } from "./run-types.ts";
import { schedTraceLine, schedTraceMs } from "./trace/sched-trace.ts";
import type { HistogramSummary, MachineCounts } from "./machine/stats.ts";
import { Submitter } from "./calls/submitter.ts";
import { valuesOf } from "./calls/values-of.ts";
import { type DeathReason, describeDeath } from "./supervisor/death.ts";
import { type MachineDeath, Supervisor } from "./supervisor/supervisor.ts";
import { QUEUED, RUNNING } from "./shared/task-table.ts";
import { bindHandlers, moduleUrl, unknownHandler } from "./handler/handlers.ts";
import { allocateTraceRings, readTrace, type TraceRings, type TraceSnapshot } from "./shared/trace-ring.ts";
import { BYTES, ITEMS } from "./shared/values.ts";

/** A plain value that lets another thread submit tasks. */
export interface SubmitterHandle {
  readonly memory: SchedulerMemory;
  readonly submitter: number;
  /** The thread id that this submitter must park under. */
  readonly thread: number;
  readonly handlerNames: readonly string[];
}

export interface SchedulerStats {
  readonly processors: number;
  /** Worker threads that run now. */
  readonly threads: number;
  /** Of those, how many sleep with a processor, and how many without. */
  readonly idle: number;
  readonly spare: number;
  readonly outstanding: number;
  readonly restarts: number;
  /** How many threads ended before their time, by the reason. */
  readonly deaths: Readonly<Partial<Record<DeathReason, number>>>;
  /**
   * Bytes of shared memory that hold arguments and results, or have held some in the last seconds.
   */
  readonly mappedBytes: number;
  /** Tasks that had lost their queue entry; 0 in a correct scheduler. */
  readonly sweptTasks: number;
  /** Outcomes and tasks that no bell had announced; 0 in a correct scheduler. */
  readonly wakeupsMissed: number;
  /** How often tasks of a stuck machine were given to others. */
  readonly rescues: number;
  readonly machines: readonly MachineCounts[];
  /** µs from submission to start, and from start to return, of one task in 64. */
  readonly waitingMicroseconds: HistogramSummary;
  readonly runningMicroseconds: HistogramSummary;
}

/**
 * How often memory is given back, and tasks without a queue entry are looked for while nothing
 * moves.
 */
const SWEEP_MS = 1000;
/** The sweep looks for lost tasks after this many looks without progress. */
const QUIET_SWEEPS = 3;

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
  readonly #sweeper: NodeJS.Timeout;
  readonly #schedTrace: NodeJS.Timeout | undefined;
  readonly #startedAt: number = performance.now();
  #sweptTasks = 0;
  #settledAtLastSweep = -1;
  #quietSweeps = 0;
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
    this.run = this.#bindRun() as Run<Handlers>;
    this.runMany = this.#bindRunMany() as RunMany<Handlers>;
    this.parallelMap = this.#bindMap() as ParallelMap<Handlers>;
    this.parallelReduce = this.#bindReduce() as ParallelReduce<Handlers>;
    this.#watchdog = new Watchdog(
      supervisor.shared,
      supervisor.recovery,
      (handler, ms) => this.#hintLong(handler, ms),
      (machine) => supervisor.waitedMs(machine),
    );
    this.#sweeper = setInterval(() => this.#everySecond(), SWEEP_MS).unref();
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
    const machines = options.machinesMax;
    const threads = ThreadTable.current();
    const submitterThreads = [Reactor.current().thread, ...options.guests];
    const memory = allocateMemory(
      {
        processors: options.processors,
        machines,
        outsiders: submitterThreads.length,
        slotsEach: options.tasksMax,
        nestedSlots: options.nestedTasksMax,
        runQueueCapacity: RUN_QUEUE_CAPACITY,
      },
      options.arenaBytesMax,
      threads.buffer,
      Array.from({ length: machines }, () => threads.reserve()),
      submitterThreads,
    );
    const trace =
      options.trace === 0 ? undefined : allocateTraceRings(machines, submitterThreads.length + machines, options.trace);
    const mail = new Mail();
    const supervisor = new Supervisor(
      memory,
      {
        handlersUrl: moduleUrl(options.handlers),
        headerReaderUrl: options.headerReader?.href,
        asyncTasksMax: options.asyncTasksPerMachine,
        spinMs: options.spinMicroseconds / 1000,
        startTimeoutMs: options.startTimeoutMs,
        teardownTimeoutMs: options.teardownTimeoutMs,
        resourceLimits: options.resourceLimits,
        trace,
      },
      {
        machineDied: options.onMachineDeath ?? warnOfDeath,
        parcelFor: (ticket) => mail.parcelFor(ticket),
        parcelFrom: (machine, ticket, value) => mail.arrived(machine, ticket, value),
        asked: async (value) => await options.onAsk?.(value),
      },
    );
    // Before any machine: it gets every region that one makes.
    supervisor.shared.arenas.join(true);
    const handlerNames = await startOrRelease(supervisor, memory);
    return new Scheduler<Handlers>({ memory, supervisor, handlerNames, options, trace, mail });
  }

  /** The names that `run` takes. */
  get handlerNames(): readonly string[] {
    return this.#handlerNames;
  }

  /** The number of a handler. Throws `ERR_HANDLER_UNKNOWN`. */
  handlerNumber(name: string): number {
    const number = this.#handlerNames.indexOf(name);
    if (number >= 0) return number;
    throw unknownHandler(name, this.#handlerNames);
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

  /** How many worker threads run now. */
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
      sweptTasks: this.#sweptTasks,
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
    clearInterval(this.#sweeper);
    clearInterval(this.#schedTrace);
    this.#watchdog.stop();
    this.#supervisor.shared.arenas.leave();
    releaseMachineThreads(this.#memory);
  }

  #everySecond(): void {
    this.#submitter.tick();
    this.#supervisor.tickMachines();
    this.#sweep();
  }

  #sweep(): void {
    const settled = this.#supervisor.stats().reduce((sum, machine) => {
      const { ok, failed } = machine.read();
      return sum + ok + failed;
    }, 0);
    const isQuiet = this.#calls.outstanding > 0 && settled === this.#settledAtLastSweep && !this.#watchdog.isAnyStuck;
    this.#settledAtLastSweep = settled;
    this.#quietSweeps = isQuiet ? this.#quietSweeps + 1 : 0;
    // A machine that the system hasn't let run for a while may hold private entries.
    if (this.#quietSweeps < QUIET_SWEEPS) return;
    this.#quietSweeps = 0;
    this.#sweptTasks += this.#supervisor.sweep();
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

  // ── calls ─────────────────────────────────────────────────────────────────────────────────────

  #call(handler: number, options: CallOptions, argument: unknown): Promise<unknown> {
    this.#watchdog.wake();
    return this.#calls.call(handler, options, argument);
  }

  #bindRun(): object {
    return bindHandlers(
      this.#handlerNames,
      (name, handler) =>
        (argument: unknown, options?: RunOptions): Promise<unknown> =>
          options === undefined
            ? this.#call(handler, PLAIN_CALL, argument)
            : this.#callWith(name, handler, options, argument),
    );
  }

  /** Rejects with what is wrong with the options. */
  async #callWith(name: string, handler: number, options: RunOptions, argument: unknown): Promise<unknown> {
    return await this.#call(handler, runOptions(name, options), argument);
  }

  #bindRunMany(): object {
    return bindHandlers(
      this.#handlerNames,
      (name, handler) =>
        async (items: Iterable<unknown>, options?: RunManyOptions): Promise<unknown[]> => {
          const owner = `runMany.${name}`;
          const call = manyOptions(owner, options, BYTES);
          const values = valuesOf(owner, items);
          this.#watchdog.wake();
          return await this.#calls.callMany(handler, call, values);
        },
    );
  }

  #bindMap(): object {
    return bindHandlers(
      this.#handlerNames,
      (name, handler) =>
        async (items: Iterable<unknown>, options?: RunManyOptions): Promise<unknown[]> => {
          const owner = `parallelMap.${name}`;
          const call = manyOptions(owner, options, ITEMS);
          return await this.#forkJoin(valuesOf(owner, items), handler, -1, call);
        },
    );
  }

  #bindReduce(): object {
    return bindHandlers(
      this.#handlerNames,
      (name, reduce) =>
        async (items: Iterable<unknown>, options?: RunManyOptions & { map?: string }): Promise<unknown> => {
          const owner = `parallelReduce.${name}`;
          const { map, call } = reduceOptions(owner, options);
          const mapper = map === undefined ? -1 : this.handlerNumber(map);
          const values = valuesOf(owner, items);
          if (values.length === 0) throw schedulerError("ERR_LIST_EMPTY", `${owner}: the list has no values`);
          const parts = await this.#forkJoin(values, mapper, reduce, call);
          if (parts.length === 1) return parts[0];
          const [result] = (await this.#call(reduce, call, {
            items: parts,
            map: -1,
            reduce,
          } satisfies Items)) as unknown[];
          return result;
        },
    );
  }

  async #forkJoin(items: readonly unknown[], map: number, reduce: number, options: CallOptions): Promise<unknown[]> {
    const pieces = cut(items, this.#memory.processors * PIECES_PER_PROCESSOR);
    const handler = map < 0 ? reduce : map;
    const results = await allOver(
      pieces.map((piece) => this.#call(handler, options, { items: piece, map, reduce } satisfies Items)),
    );
    return concatenated(results as unknown[][]);
  }
}

interface SchedulerParts {
  readonly memory: SchedulerMemory;
  readonly supervisor: Supervisor;
  readonly handlerNames: readonly string[];
  readonly options: ResolvedSchedulerOptions;
  readonly trace: TraceRings | undefined;
  readonly mail: Mail;
}

/** Where nobody listens to `onMachineDeath`. */
function warnOfDeath(death: MachineDeath): void {
  const { machine, error, failed, requeued } = death;
  process.emitWarning(
    `worker thread ${machine} ended: ${describeDeath(death)}; ${failed} of its tasks failed, ${requeued} run again`,
    {
      type: "MillraceWarning",
      code: "MILLRACE_MACHINE_DIED",
      ...(error.stack === undefined ? {} : { detail: error.stack }),
    },
  );
}

async function startOrRelease(supervisor: Supervisor, memory: SchedulerMemory): Promise<readonly string[]> {
  try {
    return await supervisor.start();
  } catch (thrown) {
    supervisor.shared.arenas.leave();
    releaseMachineThreads(memory);
    throw thrown;
  }
}

function releaseMachineThreads(memory: SchedulerMemory): void {
  for (const thread of memory.machineThreads) ThreadTable.current().release(thread);
}
