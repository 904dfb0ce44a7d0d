/**
 * A machine: the loop of a worker thread that finds tasks and runs them while it holds a processor.
 *
 * Sync handlers run back to back; the loop goes through the event loop every `TURN_MS`, so that timers, promises and ports of
 * the user's module get their turn. An idle machine blocks in Atomics.wait. While async handlers are pending, or when nothing
 * came for `PARK_MS` (so that output, inspector and timers aren't held up for ever), it sleeps in its event loop instead and is
 * woken by its bell. A machine without a processor sleeps likewise, as a spare; what its async handlers go on with needs none.
 *
 * What is written in which order, and what happens if the thread dies in between:
 *
 *   claim                  QUEUED→RUNNING names this machine; the supervisor settles or requeues what RUNNING names
 *   result, then DONE      a half-written result is never read: the state still says RUNNING
 *   completion published   DONE without a completion: the supervisor publishes it
 *   submitter woken        the supervisor wakes every submitter
 *   tasks submitted here   the supervisor frees what nobody runs, and waits for what others run
 */
import { decode, encode } from "@millrace/codec";
import { invariant, seededRandom } from "@millrace/base";
import { Parker, unpark } from "@millrace/atomics-sync";
import { LookAround } from "@millrace/atomics-sync/kernel";
import { EMPTY, FULL, SpscProducer } from "@millrace/shared-memory";
import { Cancellations } from "./cancellations.ts";
import { type ContextHost, type HeaderReader, TaskContext } from "./context.ts";
import { schedulerError } from "./errors.ts";
import { type Items, type ItemsHost, runItems } from "./fork-join.ts";
import { Group } from "./groups.ts";
import { type HandlerEntry, unknownHandler } from "./handlers.ts";
import type { IdleSet } from "./idle.ts";
import { CLOSED_LIFECYCLE, LIFECYCLE, Shared } from "./layout.ts";
import type { MachineOptions, MachineOutbox } from "./machine-options.ts";
import { NestedTasks } from "./nested.ts";
import { Processor } from "./processor.ts";
import { NONE, type Processors, RUNNING_SLOT } from "./processors.ts";
import { MachineStats } from "./stats.ts";
import { TaskIo } from "./task-io.ts";
import { attemptOf, runOf, type TaskTable } from "./task-table.ts";
import { TRACE, TraceRecorder } from "./trace-ring.ts";
import { EXPIRED, ITEMS, kindOf, PARCEL } from "./values.ts";

/** Longest stretch of tasks without a turn of the event loop. */
const TURN_MS = 5;
/** Longest blocking wait; then the machine sleeps in its event loop. */
const PARK_MS = 100;
/** The clock is read about this often; a read costs as much as a small task. */
const CLOCK_MS = 0.2;
const CLOCK_TASKS_MAX = 64;
/** From so many tasks per reading of the clock on, tasks count as short: several entries are taken from the queue at once. */
const SHORT_TASKS = 16;
/** Joins within joins that still run other tasks; deeper ones only wait, so that the stack has an end. */
const JOIN_DEPTH_MAX = 512;
/** Looks between two readings of the clock. */
const SPIN_LOOKS = 8;
/** Own outcomes are looked for after so many tasks while others are at work for this machine. */
const DRAIN_EVERY = 8;
/** The slot of a task that was run on the spot. */
const NO_SLOT = -1;

export class Machine implements ContextHost, ItemsHost {
  readonly machine: number;
  readonly #shared: Shared;
  readonly #words: Int32Array;
  readonly #table: TaskTable;
  readonly #idle: IdleSet;
  readonly #processors: Processors;
  readonly #parker: Parker;
  readonly #handlers: readonly HandlerEntry[];
  readonly #numbers: ReadonlyMap<string, number>;
  readonly #describe: HeaderReader | undefined;
  readonly #asyncTasksMax: number;
  readonly #lookAround: LookAround;
  readonly #submitterThreads: readonly number[];
  readonly #completions: SpscProducer[];
  readonly #nested: NestedTasks;
  readonly #io: TaskIo;
  readonly #cancellations: Cancellations;
  readonly #stats: MachineStats;
  readonly #trace: TraceRecorder | undefined;
  readonly #outbox: MachineOutbox;
  readonly #turnBound = (): void => this.#turn();
  readonly #counters = { steals: 0, stolenTasks: 0, staleEntries: 0, overflows: 0 };
  /** Undefined while the machine is a spare, or waits in a handler. */
  #processor: Processor | undefined;
  #lastProcessor: number;
  #tick = 0;
  #pendingAsync = 0;
  /** How many of them are surely nothing that the outermost handler that runs now waits for: those that there were when it was called, and calls from
   * outside that its joins have run. */
  #pendingBefore = 0;
  /** What brings the loop back: nothing (it runs), a turn of the event loop, the bell, room for another async task. */
  #resumption: "running" | "immediate" | "bell" | "room" | "closed" = "running";
  /** Whether the event loop had a turn since the last task was started. */
  #hasYielded = false;
  #turnEndsAt = 0;
  #clockAt = 0;
  #tasksUntilClock = 0;
  #tasksPerClock = 1;
  #joinDepth = 0;
  /** Tasks that joins have handed back since they ran one, or waited. */
  #refusals = 0;
  #blockDepth = 0;
  /** Handlers on the stack. */
  #running = 0;
  #isFlushDue = false;
  /** A task that must run alone and was claimed while others were pending; -1 without. */
  #held = EMPTY;
  #heldState = 0;
  /** Whether the only pending task must stay alone. */
  #isAlone = false;
  /** Tasks to run again, for which there was no processor. */
  readonly #homeless: number[] = [];
  /** The task whose argument is on its way, and the state it was claimed in; -1 without. */
  #fetching = EMPTY;
  #fetchingState = 0;
  /** Nothing is started before that argument has arrived. */
  #isStalled = false;

  constructor(
    options: MachineOptions,
    handlers: readonly HandlerEntry[],
    describe: HeaderReader | undefined,
    outbox: MachineOutbox,
  ) {
    const { machine, memory, trace } = options;
    const shared = new Shared(memory);
    this.machine = machine;
    this.#shared = shared;
    this.#words = shared.words;
    this.#table = shared.table();
    this.#idle = shared.idleSet();
    this.#processors = shared.processors();
    this.#parker = new Parker(shared.threads, memory.machineThreads[machine] as number);
    this.#handlers = handlers;
    this.#numbers = new Map(handlers.map(({ name }, number) => [name, number]));
    this.#describe = describe;
    this.#asyncTasksMax = options.asyncTasksMax;
    this.#lookAround = new LookAround(options.lookAroundMs, options.spinMs);
    this.#submitterThreads = memory.submitterThreads;
    this.#completions = Array.from(
      { length: shared.submitters },
      (_, submitter) => new SpscProducer(shared.completions(machine, submitter)),
    );
    this.#io = new TaskIo(shared, machine, (value, list) => outbox.sendParcel(value, list));
    this.#cancellations = new Cancellations(shared);
    this.#stats = new MachineStats(options.stats);
    this.#trace = trace === undefined ? undefined : new TraceRecorder(trace, machine);
    this.#nested = new NestedTasks(shared, machine, this.#trace);
    this.#outbox = outbox;
    this.#lastProcessor = machine % memory.processors;
  }

  start(): void {
    this.#io.forgetFreed();
    this.#resumption = "immediate";
    setImmediate(this.#turnBound);
  }

  // ── the loop ─────────────────────────────────────────────────────────────────────────────────────────────────────

  #turn(): void {
    if (this.#resumption === "closed") return;
    this.#resumption = "running";
    this.#startClock();
    this.#cancellations.look();
    let untilDrain = DRAIN_EVERY;
    for (;;) {
      if (this.#isStalled) {
        this.#resumption = "room";
        return;
      }
      if (this.#pendingAsync >= (this.#isAlone || this.#held !== EMPTY ? 1 : this.#asyncTasksMax)) {
        if (!this.#waitForRoom()) return;
        if (!this.#isTurnOver()) continue;
        this.#yield();
        return;
      }
      untilDrain -= 1;
      if (untilDrain === 0) {
        untilDrain = DRAIN_EVERY;
        if (this.#nested.hasShared && this.#nested.drain() > 0 && this.#nested.hasResolved) {
          this.#yield();
          return;
        }
      }
      const slot = this.#next();
      if (slot !== EMPTY) {
        this.#hasYielded = false;
        if (!this.#isTurnOver() && !this.#nested.hasResolved) continue;
        this.#yield();
        return;
      }
      if (!this.#sleep()) return;
      this.#startClock();
      untilDrain = DRAIN_EVERY;
    }
  }

  /** Finds a task and runs it; its slot, or `EMPTY`. */
  #next(): number {
    if (this.#held !== EMPTY) {
      const slot = this.#held;
      this.#held = EMPTY;
      this.#runTask(slot, this.#heldState, true);
      return slot;
    }
    const processor = this.#processor;
    if (processor === undefined) return this.#takeProcessor() ? this.#next() : EMPTY;
    const slot = processor.findWork();
    if (slot === EMPTY) return EMPTY;
    this.#traceSteal(processor, slot);
    this.#runTask(slot, processor.claimed, true);
    return slot;
  }

  /**
   * As many async tasks are pending as may be. They may be waiting for what they have submitted, so that is still run, and its outcomes are read; everything
   * else is left to others. False when the loop comes back by the bell or by `#resume`.
   */
  #waitForRoom(): boolean {
    this.#nested.drain();
    if (this.#nested.hasResolved) {
      this.#yield();
      return false;
    }
    if (this.#nested.outstanding > 0 && this.#runSubmitted()) return true;
    const processor = this.#processor;
    if (processor !== undefined) {
      processor.giveBack();
      processor.stopSearching();
      if (processor.length() > 0 && this.#idle.isAnyoneIdle()) this.#idle.wakeOne();
    }
    this.#parker.prepareAsync();
    if (this.#nested.hasOutcomes()) {
      this.#parker.cancel();
      return true;
    }
    this.#resumption = "room";
    this.#listen();
    return false;
  }

  /** Runs a task that machines have submitted, if one lies here; whether there was one. */
  #runSubmitted(): boolean {
    if (this.#processor === undefined && !this.#takeProcessor()) return false;
    const processor = this.#processor as Processor;
    processor.giveBack();
    for (let left = processor.length(); left > 0; left -= 1) {
      const slot = processor.findLocal();
      if (slot === EMPTY) return false;
      if (!this.#shared.isFromOutside(slot)) {
        this.#runTask(slot, processor.claimed, true);
        return true;
      }
      this.#handBack(slot, processor.claimed);
    }
    return false;
  }

  /** Lets the event loop run and goes on then. */
  #yield(): void {
    this.#nested.hasResolved = false;
    this.#hasYielded = true;
    this.#resumption = "immediate";
    setImmediate(this.#turnBound);
  }

  #startClock(): void {
    this.#clockAt = performance.now();
    this.#turnEndsAt = this.#clockAt + TURN_MS;
    this.#tasksUntilClock = this.#tasksPerClock;
  }

  #isTurnOver(): boolean {
    this.#tasksUntilClock -= 1;
    if (this.#tasksUntilClock > 0) return false;
    const now = performance.now();
    const taskMs = Math.max((now - this.#clockAt) / this.#tasksPerClock, CLOCK_MS / CLOCK_TASKS_MAX);
    this.#stats.busyMs(now - this.#clockAt);
    this.#clockAt = now;
    this.#tasksPerClock = Math.max(1, Math.floor(CLOCK_MS / taskMs));
    this.#tasksUntilClock = this.#tasksPerClock;
    if (this.#processor !== undefined) {
      this.#processor.takesBatches = this.#tasksPerClock >= SHORT_TASKS;
      this.#noteDepth(this.#processor);
    }
    return now >= this.#turnEndsAt;
  }

  // ── processors ───────────────────────────────────────────────────────────────────────────────────────────────────

  #takeProcessor(): boolean {
    const index = this.#processors.acquire(this.machine, this.#lastProcessor);
    if (index === NONE) return false;
    this.#bind(index);
    return true;
  }

  #bind(index: number): void {
    this.#lastProcessor = index;
    const random = seededRandom(this.machine * 64 + index + 1);
    this.#processor = new Processor(this.#shared, index, this.machine, random, this.#counters);
    this.#tick = this.#processors.tick(index) & ~1;
    this.#trace?.record(TRACE.take, -1, 0, -1, index, 0);
    for (const slot of this.#homeless.splice(0)) this.#processor.push(slot);
    this.#processor.publish();
  }

  /** Before a wait in a handler: another machine may have the processor. Throws when that is not possible. */
  enterBlocking(): void {
    if (this.#pendingAsync > 0) {
      throw schedulerError("ERR_ASYNC_PENDING", "this thread can't be blocked: handlers on it wait for its event loop");
    }
    if (this.#blockDepth > 0) {
      this.#blockDepth += 1;
      return;
    }
    if (!this.#processors.tryBlock(this.machine)) throw this.#exhausted();
    this.#blockDepth = 1;
    this.#handOff();
  }

  /** After it: takes a processor if there is one; otherwise the task goes on without. */
  leaveBlocking(): void {
    this.#blockDepth -= 1;
    if (this.#blockDepth === 0) this.#goOn();
  }

  #exhausted(): Error {
    const { machines, processors } = this.#shared.memory;
    return schedulerError("ERR_MACHINES_EXHAUSTED", `${machines - processors} threads wait in handlers already`, {
      details: { machines, processors },
    });
  }

  /** Gives the processor to a spare machine, with everything that lies there. */
  #handOff(): void {
    const processor = this.#processor;
    if (processor === undefined) return;
    if (this.#nested.size > 0) this.#nested.share(processor, true);
    processor.giveBack();
    processor.stopSearching();
    this.#processor = undefined;
    this.#processors.release(processor.index);
    const spare = this.#processors.wakeSpare();
    this.#trace?.record(TRACE.handOff, -1, 0, -1, processor.index, spare);
    if (spare < 0) this.#outbox.wantsMachine();
  }

  #goOn(): void {
    this.#processors.unblock(this.machine);
    if (this.#processor === undefined) this.#takeProcessor();
  }

  blocking<T>(body: () => T): T {
    this.enterBlocking();
    try {
      return body();
    } finally {
      this.leaveBlocking();
    }
  }

  // ── sleeping ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Nothing to do: sleeps, and returns true when the loop shall go on, false when something else brings it back. */
  #sleep(): boolean {
    // Outcomes aren't work: they are read below.
    if (this.#spin() && !this.#nested.hasOutcomes()) return true;
    this.#processor?.stopSearching();
    this.#stats.copy(this.#counters);
    if (this.#processor === undefined) this.#stats.depth(0);
    else this.#noteDepth(this.#processor);
    if (this.#closeIfAsked()) return false;
    this.#cancellations.look();
    if (this.#nested.drain() > 0) {
      if (!this.#nested.hasResolved) return true;
      this.#yield();
      return false;
    }
    if (this.#pendingAsync > 0) {
      if (this.#hasYielded) return this.#sleepInEventLoop();
      // Most async handlers only wait for a microtask: one turn of the event loop is cheaper than a bell.
      this.#yield();
      return false;
    }
    if (process.stdout.writableLength > 0 || process.stderr.writableLength > 0) return this.#sleepInEventLoop();
    if (this.#block()) return true;
    // It may have begun to search for work that was gone by the second look.
    this.#processor?.stopSearching();
    return this.#sleepInEventLoop();
  }

  /** Looks for work for a while before sleeping; whether there is some. Counted as searching meanwhile, so that whoever submits
   * one task after the other doesn't wake this machine for each. */
  #spin(): boolean {
    const processor = this.#processor;
    const budgetMs = this.#lookAround.budgetMs();
    if (processor === undefined || this.#pendingAsync > 0 || budgetMs === 0) return false;
    const end = performance.now() + budgetMs;
    processor.search();
    let hasFound = false;
    do {
      for (let look = 0; look < SPIN_LOOKS && !hasFound; look += 1) {
        hasFound = processor.seesWork() || this.#nested.hasOutcomes();
      }
    } while (!hasFound && performance.now() < end && !this.#isClosed());
    this.#lookAround.looked(hasFound);
    return hasFound;
  }

  /** Blocks until there is something to do; false when nothing came for `PARK_MS`. */
  #block(): boolean {
    // First what a waker acts on, then what makes it choose this machine: one that was chosen and found awake would go to sleep counted
    // as searching, and nobody would be woken any more.
    this.#parker.prepare();
    this.#announce();
    let woken = true;
    if (this.#mustGoOn()) this.#parker.cancel();
    else {
      this.#stats.park();
      this.#trace?.record(TRACE.park, -1, 0, -1, this.#processor === undefined ? 2 : 0, 0);
      woken = this.#parker.wait(PARK_MS);
      this.#trace?.record(TRACE.unpark, -1, 0, -1, woken ? 1 : 0, 0);
    }
    const wasPicked = this.#withdraw();
    const mustGoOn = wasPicked || this.#mustGoOn();
    if (woken && !mustGoOn) this.#stats.wokenForNothing();
    return mustGoOn || woken;
  }

  /** Tells others that this machine sleeps. */
  #announce(): void {
    if (this.#processor === undefined) this.#processors.announceSpare(this.machine);
    else this.#idle.sleep(this.machine);
  }

  /** It is awake; true when a waker had picked it. */
  #withdraw(): boolean {
    if (this.#processor === undefined) return this.#processors.cancelSpare(this.machine);
    if (this.#idle.wakeUp(this.machine)) {
      this.#processor.wasPicked();
      return true;
    }
    if (this.#processor.seesWork()) this.#processor.search();
    return false;
  }

  /** False: the loop comes back by the bell, or by `#resume`. */
  #sleepInEventLoop(): boolean {
    // In this order for the same reason as in #block.
    this.#parker.prepareAsync();
    if (this.#processor === undefined) this.#processors.announceSpare(this.machine);
    else this.#idle.sleepAsync(this.machine);
    if (this.#mustGoOn()) {
      this.#parker.cancel();
      this.#withdrawAsync();
      this.#processor?.search();
      return true;
    }
    this.#stats.park();
    this.#trace?.record(TRACE.park, -1, 0, -1, this.#processor === undefined ? 2 : 1, 0);
    this.#resumption = "bell";
    this.#listen();
    return false;
  }

  #listen(): void {
    const ring = this.#parker.listen();
    if (ring === "rung") queueMicrotask(() => this.#ring());
    else if (ring !== "listening") void ring.then(() => this.#ring());
  }

  #withdrawAsync(): void {
    if (this.#processor === undefined) this.#processors.cancelSpare(this.machine);
    else this.#idle.wakeUpAsync(this.machine);
  }

  #ring(): void {
    this.#parker.answered();
    if (this.#resumption === "room") {
      this.#turn();
      return;
    }
    if (this.#resumption !== "bell") return;
    this.#trace?.record(TRACE.unpark, -1, 0, -1, 1, 0);
    this.#withdrawAsync();
    this.#turn();
  }

  /** Comes back from the event loop although no bell rang: an async task has ended, or something was submitted. */
  #resume(): void {
    if (this.#resumption === "room") {
      this.#parker.cancel();
      this.#yield();
    } else if (this.#resumption === "bell" && (this.#pendingAsync === 0 || this.#nested.outstanding > 0)) {
      this.#parker.cancel();
      this.#withdrawAsync();
      this.#yield();
    }
  }

  #mustGoOn(): boolean {
    if (this.#processor === undefined ? this.#processors.isAnyFree() : this.#processor.seesWork()) return true;
    return this.#nested.hasOutcomes() || this.#cancellations.hasNew() || this.#isClosed();
  }

  #isClosed(): boolean {
    return Atomics.load(this.#words, LIFECYCLE) === CLOSED_LIFECYCLE;
  }

  #closeIfAsked(): boolean {
    if (!this.#isClosed() || this.#pendingAsync > 0 || this.#processor?.seesWork() === true) return false;
    this.#resumption = "closed";
    this.#outbox.closed();
    return true;
  }

  // ── one task ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** `wasShared`: the task came from a queue, not from this machine's private stack. */
  #runTask(slot: number, state: number, wasShared: boolean): void {
    if (!this.#table.isPlain(slot) && !this.#mayRun(slot, state)) return;
    const time = this.#table.time(slot);
    if (time !== 0 && !this.#table.isTimed(slot)) this.#runSampled(slot, state, time, wasShared);
    else this.#call(slot, state, wasShared);
  }

  /** False: the task waits, or is settled. */
  #mayRun(slot: number, state: number): boolean {
    if (this.#table.isToBeAlone(slot) && this.#pendingAsync > 0) {
      this.#held = slot;
      this.#heldState = state;
      return false;
    }
    if (this.#table.isTimed(slot) && !this.#startTimed(slot, state)) return false;
    if (this.#table.argumentKind(slot) !== PARCEL) return true;
    if (this.#fetching !== EMPTY || this.#running > 0) {
      // One at a time: the handler of the first may block this thread, and the second would wait behind it.
      this.#isStalled = this.#fetching !== EMPTY;
      this.#handBack(slot, state);
      return false;
    }
    this.#pendingAsync += 1;
    this.#fetching = slot;
    this.#fetchingState = state;
    this.#outbox.fetchParcel(this.#table.argumentNumber(slot), slot);
    return false;
  }

  /** A claimed task that can't be begun here and now: others may have it. */
  #handBack(slot: number, state: number): void {
    this.#table.unclaim(slot, state);
    if (this.#processor === undefined) this.#homeless.push(slot);
    else {
      this.#processor.push(slot);
      this.#processor.publish();
    }
  }

  /** The value for a task that had to fetch its argument by message. */
  parcelArrived(slot: number, value: unknown): void {
    invariant(this.#fetching === slot, "a parcel is awaited");
    const state = this.#fetchingState;
    this.#fetching = EMPTY;
    this.#isStalled = false;
    this.#pendingAsync -= 1;
    // Before the handler, which may block: what waits for room waits no longer.
    this.#resume();
    this.#callWith(slot, state, value, true);
    this.#afterTask();
  }

  #runSampled(slot: number, state: number, submittedAt: number, wasShared: boolean): void {
    const startedAt = (this.#shared.nowMs() * 1000) | 0;
    this.#stats.waitedMicroseconds((startedAt - submittedAt) | 0);
    this.#call(slot, state, wasShared);
    this.#stats.ranMicroseconds((((this.#shared.nowMs() * 1000) | 0) - startedAt) | 0);
  }

  #call(slot: number, state: number, wasShared: boolean): void {
    let argument: unknown;
    try {
      argument = this.#io.argument(slot);
    } catch (thrown) {
      this.#settle(slot, state, false, thrown, wasShared);
      return;
    }
    this.#callWith(slot, state, argument, wasShared);
    if (this.#nested.size > 0 && this.#running === 0) this.#afterTask();
  }

  #callWith(slot: number, state: number, argument: unknown, wasShared: boolean): void {
    const handler = this.#handlers[this.#table.handler(slot)] as HandlerEntry;
    const processor = this.#processor;
    if (processor !== undefined) this.#setTick(processor, slot + 1, this.#running === 0 ? 1 : 2);
    this.#trace?.record(
      TRACE.start,
      slot,
      runOf(state),
      this.#table.handler(slot),
      processor?.index ?? -1,
      this.#shared.submitterOf(slot),
    );
    let context: TaskContext | undefined;
    let outcome: unknown;
    let ok = true;
    if (this.#running === 0 && this.#joinDepth === 0) this.#pendingBefore = this.#pendingAsync;
    this.#running += 1;
    try {
      if (this.#table.argumentKind(slot) === ITEMS) {
        context = new TaskContext(this, slot, state);
        outcome = runItems(this, this.#handlers, argument as Items, context);
      } else if (handler.takesContext) {
        context = new TaskContext(this, slot, state);
        outcome = handler.call(argument, context);
      } else outcome = handler.call(argument, undefined as never);
    } catch (thrown) {
      ok = false;
      outcome = thrown;
    }
    this.#running -= 1;
    if (this.#processor !== undefined && this.#running === 0) this.#setTick(this.#processor, 0, this.#tick & 1);
    const children = context?.unjoined;
    if (isThenable(outcome) && ok) {
      // Of a list its handlers have been told apart (fork-join.ts).
      if (this.#table.argumentKind(slot) !== ITEMS) handler.isAsync = true;
      this.#trace?.record(TRACE.suspend, slot, runOf(state), this.#table.handler(slot), 0, 0);
      this.#await(slot, state, children === undefined ? outcome : withChildren(outcome, children), context, wasShared);
    } else if (children !== undefined) {
      const own = ok ? Promise.resolve(outcome) : Promise.reject(outcome as Error);
      this.#await(slot, state, withChildren(own, children), context, wasShared);
    } else {
      this.#trace?.record(TRACE.end, slot, runOf(state), this.#table.handler(slot), ok ? 1 : 0, 0);
      this.#endContext(slot, context);
      this.#settle(slot, state, ok, outcome, wasShared);
    }
  }

  /** Odd while a handler runs: the monitor sees for how long it hasn't changed. */
  #setTick(processor: Processor, running: number, steps: number): void {
    const word = this.#processors.tickWord(processor.index);
    this.#tick = (this.#tick + steps) | 0;
    this.#words[word + RUNNING_SLOT] = running;
    this.#words[word] = this.#tick;
  }

  /** What handlers left on the private stack becomes visible to others. */
  #afterTask(): void {
    if (this.#nested.size === 0) return;
    const processor = this.#processor;
    if (processor !== undefined) {
      this.#nested.shareAfterTask(processor);
      if (this.#idle.isAnyoneIdle()) this.#idle.wakeOne();
    } else this.#giveAwayPrivate();
  }

  /** Without a processor: the tasks are queued by their states, the supervisor finds them. */
  #giveAwayPrivate(): void {
    this.#nested.forgetPrivate();
    this.#outbox.wantsSweep();
  }

  #await(
    slot: number,
    state: number,
    promise: PromiseLike<unknown>,
    context: TaskContext | undefined,
    wasShared: boolean,
  ): void {
    this.#pendingAsync += 1;
    if (this.#joinDepth > 0 && this.#shared.isFromOutside(slot)) this.#pendingBefore += 1;
    if (this.#table.isToBeAlone(slot)) this.#isAlone = true;
    promise.then(
      (value) => this.#settleAsync(slot, state, true, value, context, wasShared),
      (error: unknown) => this.#settleAsync(slot, state, false, error, context, wasShared),
    );
  }

  #settleAsync(
    slot: number,
    state: number,
    ok: boolean,
    value: unknown,
    context: TaskContext | undefined,
    wasShared: boolean,
  ): void {
    this.#pendingAsync -= 1;
    this.#isAlone = false;
    this.#trace?.record(TRACE.settle, slot, runOf(state), this.#table.handler(slot), ok ? 1 : 0, 0);
    this.#endContext(slot, context);
    this.#settle(slot, state, ok, value, wasShared);
    this.#resume();
  }

  #endContext(slot: number, context: TaskContext | undefined): void {
    if (context === undefined) return;
    context.end();
    this.#cancellations.forget(slot);
  }

  #settle(slot: number, state: number, ok: boolean, value: unknown, wasShared: boolean): void {
    if (!ok && this.#table.mayRetryAfterError(slot, state) && !this.isCancelled(slot)) {
      this.#retry(slot, state);
      return;
    }
    if (this.#nested.isOwn(slot)) {
      this.#nested.settledHere(slot, ok, value, wasShared);
      this.#stats.settled(ok);
      return;
    }
    const written = this.#io.writeResult(slot, value, ok);
    this.#complete(slot, state, written);
  }

  #complete(slot: number, state: number, ok: boolean): void {
    this.#table.finish(slot, state, ok);
    const submitter = this.#shared.submitterOf(slot);
    const ring = this.#completions[submitter] as SpscProducer;
    const word = ring.stage();
    invariant(word !== FULL, "a completion ring has room for every slot of its submitter");
    this.#words[word] = slot;
    // First: who has read the outcome finds it counted.
    this.#stats.settled(ok);
    ring.publish();
    unpark(this.#shared.threads, this.#submitterThreads[submitter] as number);
  }

  #retry(slot: number, state: number): void {
    this.#table.retry(slot, state);
    if (this.#processor === undefined) {
      this.#homeless.push(slot);
      this.#outbox.wantsSweep();
      return;
    }
    this.#processor.push(slot);
    this.#processor.publish();
  }

  // ── times and cancellation ───────────────────────────────────────────────────────────────────────────────────────

  /** Notes the start; false when the task's time was over before, and then it is settled. */
  #startTimed(slot: number, state: number): boolean {
    const deadline = this.#table.deadline(slot);
    const now = this.#shared.nowMs();
    if (deadline !== 0 && now >= deadline) {
      this.#table.setInlineResult(slot, EXPIRED);
      this.#complete(slot, state, false);
      return false;
    }
    this.#table.setStarted(slot, Math.max(1, Math.ceil(now)));
    return true;
  }

  isCancelled(slot: number): boolean {
    return slot !== NO_SLOT && this.#cancellations.isCancelled(slot);
  }

  deadlineMs(slot: number): number | undefined {
    return slot === NO_SLOT ? undefined : this.#cancellations.deadlineMs(slot);
  }

  watch(context: TaskContext, slot: number): void {
    if (slot !== NO_SLOT) this.#cancellations.watch(context, slot);
  }

  // ── what contexts ask for ────────────────────────────────────────────────────────────────────────────────────────

  get isAsyncPending(): boolean {
    return this.#pendingAsync > 0;
  }

  attempt(running: number): number {
    return attemptOf(running);
  }

  record(slot: number): unknown {
    const header = this.#describe === undefined || slot === NO_SLOT ? undefined : this.#io.header(slot);
    return header === undefined ? undefined : this.#describe?.(header);
  }

  run(name: string, argument: unknown): Promise<unknown> {
    const promise = this.#nested.run(this.#handlerNumber(name), argument);
    if (this.#running === 0) this.#flushSoon();
    return promise;
  }

  spawn(group: Group, index: number, name: string, argument: unknown): void {
    const handler = this.#handlerNumber(name);
    const slot = this.#nested.spawn(group, index, handler, argument);
    if (slot === FULL) {
      this.#runHere(group, index, handler, argument);
      return;
    }
    if (this.#running === 0) this.#flushSoon();
    else this.#shareIfWanted();
  }

  /** There is no slot for another task: it is run on the spot, so that a handler may spawn without end. */
  #runHere(group: Group, index: number, number: number, argument: unknown): void {
    const handler = this.#handlers[number] as HandlerEntry;
    const context = handler.takesContext ? new TaskContext(this, NO_SLOT, 0) : (undefined as never);
    this.#stats.inline();
    let outcome: unknown;
    let ok = true;
    this.#running += 1;
    try {
      outcome = handler.call(copyOf(argument), context);
    } catch (thrown) {
      ok = false;
      outcome = thrown;
    }
    this.#running -= 1;
    const children = context?.unjoined;
    if (children === undefined && !(ok && isThenable(outcome))) {
      this.#settleHere(group, index, ok, outcome);
      return;
    }
    const own = ok ? Promise.resolve(outcome) : Promise.reject(outcome as Error);
    this.#pendingAsync += 1;
    (children === undefined ? own : withChildren(own, children)).then(
      (value) => this.#settleHereAsync(group, index, true, value),
      (error: unknown) => this.#settleHereAsync(group, index, false, error),
    );
  }

  #settleHereAsync(group: Group, index: number, ok: boolean, value: unknown): void {
    this.#pendingAsync -= 1;
    this.#settleHere(group, index, ok, value);
    this.#resume();
  }

  #settleHere(group: Group, index: number, ok: boolean, value: unknown): void {
    this.#stats.settled(ok);
    try {
      group.settled(index, ok, copyOf(value));
    } catch (thrown) {
      group.settled(index, false, thrown);
    }
  }

  newGroup(): Group {
    return new Group(this, true);
  }

  get isSharingWanted(): boolean {
    return (
      this.#pendingAsync === 0 &&
      this.#processors.count > 1 &&
      this.#idle.isAnyoneIdle() &&
      this.#processor?.length() === 0
    );
  }

  spawnItems(group: Group, items: Items): boolean {
    const processor = this.#processor;
    return group.adopt((index) => {
      const handler = items.map < 0 ? items.reduce : items.map;
      const slot = this.#nested.spawnBytes(group, index, handler, ITEMS, encode(items));
      if (slot === FULL || processor === undefined) return slot !== FULL;
      this.#nested.share(processor, true);
      this.#idle.wakeOne();
      return true;
    });
  }

  #handlerNumber(name: string): number {
    const number = this.#numbers.get(name);
    if (number === undefined) throw unknownHandler(name, [...this.#numbers.keys()]);
    return number;
  }

  /** Something was submitted between tasks, by an async handler: it becomes visible once that has run on. */
  #flushSoon(): void {
    if (this.#isFlushDue) return;
    this.#isFlushDue = true;
    queueMicrotask(() => {
      this.#isFlushDue = false;
      this.#afterTask();
      this.#resume();
    });
  }

  /** While a handler runs: others get half of the private tasks when they have nothing to do. */
  #shareIfWanted(): void {
    // With handlers pending a join must not wait for other threads: then its tasks stay here.
    if (this.#processors.count === 1 || this.#processor === undefined || this.#pendingAsync > 0) return;
    if (!this.#idle.isAnyoneIdle() || this.#processor.length() > 0) return;
    this.#nested.share(this.#processor, false);
    this.#noteDepth(this.#processor);
    this.#idle.wakeOne();
  }

  join(group: Group): void {
    // From an async handler that goes on: it is pending itself, and so may be what it has spawned.
    if (this.#running === 0 && this.#joinDepth === 0) this.#pendingBefore = 0;
    this.#joinDepth += 1;
    try {
      // Ends: every turn runs a task, reads outcomes, or sleeps until there are some.
      while (group.pending > 0) {
        if (this.#helpPrivate()) continue;
        if (this.#nested.drain() > 0) continue;
        if (this.#joinDepth < JOIN_DEPTH_MAX && this.#helpOthers()) continue;
        this.#waitForOutcomes();
      }
    } finally {
      this.#joinDepth -= 1;
    }
  }

  #helpPrivate(): boolean {
    const slot = this.#nested.pop();
    if (slot === EMPTY) return false;
    this.#call(slot, this.#nested.claimed, false);
    if (this.#nested.size > 0) this.#shareIfWanted();
    return true;
  }

  #helpOthers(): boolean {
    if (this.#processor === undefined && !this.#takeProcessor()) return false;
    const processor = this.#processor as Processor;
    const slot = processor.findWork();
    if (slot === EMPTY) return false;
    this.#traceSteal(processor, slot);
    if (this.#needsEventLoop(slot)) {
      this.#handBack(slot, processor.claimed);
      if (this.#idle.isAnyoneIdle()) this.#idle.wakeOne();
      this.#refusals += 1;
      // What lies behind it may be for a join; where nothing does, others get it all.
      if (this.#refusals > processor.length()) this.#waitAside(slot);
      return true;
    }
    this.#refusals = 0;
    this.#runTask(slot, processor.claimed, true);
    // What it has left there isn't this handler's: others may have it.
    if (this.#nested.size > 0 && this.#processor !== undefined) {
      this.#nested.share(this.#processor, true);
      if (this.#idle.isAnyoneIdle()) this.#idle.wakeOne();
    }
    return true;
  }

  /** Whether a task can't be run within a join. */
  #needsEventLoop(slot: number): boolean {
    if ((this.#handlers[this.#table.handler(slot)] as HandlerEntry).isAsync) return true;
    return this.#table.argumentKind(slot) === PARCEL || this.#table.isToBeAlone(slot);
  }

  #waitForOutcomes(): void {
    this.#mustRunElsewhere();
    this.#processor?.stopSearching();
    this.#block();
    // It may have been woken to take one that others have left.
    if (this.#processor === undefined && this.#blockDepth === 0) this.#takeProcessor();
  }

  /**
   * As `#waitForOutcomes`, when there is work that a join can't do, such as the task in `slot`: somebody else gets the processor meanwhile. Where too many
   * threads wait in handlers already it is kept; unless a machine has submitted the task, for then the join may be waiting for it.
   */
  #waitAside(slot: number): void {
    this.#mustRunElsewhere();
    this.#refusals = 0;
    const isInBlocking = this.#blockDepth > 0;
    const isBlocked = !isInBlocking && this.#processors.tryBlock(this.machine);
    if (isBlocked || isInBlocking) this.#handOff();
    else if (!this.#shared.isFromOutside(slot)) throw this.#exhausted();
    else this.#processor?.giveBack();
    this.#parker.prepare();
    if (this.#nested.hasOutcomes()) this.#parker.cancel();
    else this.#parker.wait(PARK_MS);
    if (isBlocked) this.#goOn();
  }

  /** What a join waits for runs elsewhere, unless it was begun here by this very join: that needs this thread's event loop. */
  #mustRunElsewhere(): void {
    if (this.#pendingAsync <= this.#pendingBefore) return;
    throw schedulerError(
      "ERR_ASYNC_PENDING",
      "a join would block the thread whose event loop its own tasks wait for; await the group's done() instead",
    );
  }

  #traceSteal(processor: Processor, slot: number): void {
    if (processor.lastVictim < 0) return;
    this.#trace?.record(TRACE.steal, slot, 0, this.#table.handler(slot), processor.lastVictim, processor.length() + 1);
    processor.lastVictim = -1;
    this.#noteDepth(processor);
  }

  #noteDepth(processor: Processor): void {
    const entries = processor.length();
    this.#stats.depth(entries);
    this.#trace?.record(TRACE.depth, -1, 0, -1, entries, processor.index);
  }
}

/** As if it had gone to another thread. */
function copyOf(value: unknown): unknown {
  return kindOf(value) < 0 ? decode(encode(value)) : value;
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && typeof (value as PromiseLike<unknown>).then === "function";
}

/** The outcome of a task whose spawned children are still pending: its own, or else the first error among theirs. */
async function withChildren(own: PromiseLike<unknown>, children: Group): Promise<unknown> {
  let result: unknown;
  let error: unknown;
  let hasFailed = false;
  try {
    result = await own;
  } catch (thrown) {
    hasFailed = true;
    error = thrown;
  }
  try {
    await children.done();
  } catch (thrown) {
    if (!hasFailed) throw thrown;
  }
  if (hasFailed) throw error;
  return result;
}
