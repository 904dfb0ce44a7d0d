/**
 * A machine: the loop of a worker thread that finds tasks and runs them while it holds a processor.
 *
 * Sync handlers run back to back. Every few milliseconds (turn-clock.ts) the loop goes through the
 * event loop, so that timers, promises and ports of the user's module get their turn. How an idle
 * machine sleeps is in rest.ts. A machine without a processor sleeps too, as a spare; its pending
 * async handlers go on without one.
 *
 * The parts of a machine, each built from those before it:
 *
 *   Load          the work under way on the thread
 *   NestedTasks   tasks that its handlers have submitted
 *   Seat          the processor that it holds
 *   Sharing       how its private tasks become visible to others
 *   ParcelFetch   the argument that is on its way by message
 *   Rest          how it sleeps and comes back
 *   Requests      requests of handlers, through their contexts
 *   HandlerCalls  calls of handlers, one at a time
 *   OwnTasks      tasks that it has submitted and runs itself
 *   TaskRunner    tasks of others, each from its claim to its outcome
 *   Joins         handlers that wait for their tasks
 *
 * One knot is left, and tied here: a handler may join or spawn, and either may run handlers. All
 * parts run on this thread; what other threads see is written in each part.
 */
import { LookAround } from "@millrace/atomics-sync/kernel";
import { EMPTY } from "@millrace/shared-memory";
import type { HandlerEntry } from "../handler/handlers.ts";
import type { TaskHooks } from "../handler/task-hooks.ts";
import { Cancellations } from "./cancellations.ts";
import { Completions } from "./completions.ts";
import { HandlerCalls } from "./handler-calls.ts";
import { Joins } from "./joins.ts";
import type { Load } from "./load.ts";
import type { MachineOptions, MachineOutbox } from "./machine-options.ts";
import { type MachineParts, machineParts } from "./machine-parts.ts";
import { OwnTasks } from "./own-tasks.ts";
import { ParcelFetch } from "./parcel-fetch.ts";
import type { Processor } from "./processor.ts";
import { Requests } from "./requests.ts";
import { Rest } from "./rest.ts";
import { Seat } from "./seat.ts";
import { Sharing } from "./sharing.ts";
import { TaskIo } from "./task-io.ts";
import { TaskRunner } from "./task-runner.ts";
import { TurnClock } from "./turn-clock.ts";

/** Looks between two readings of the clock. */
const SPIN_LOOKS = 8;
/** After this many tasks the machine reads the outcomes of tasks that others run for it. */
const DRAIN_EVERY = 8;

export class Machine {
  readonly #parts: MachineParts;
  readonly #nested: MachineParts["nested"];
  readonly #load: Load;
  readonly #seat: Seat;
  readonly #sharing: Sharing;
  readonly #cancellations: Cancellations;
  readonly #parcels: ParcelFetch;
  readonly #rest: Rest;
  readonly #io: TaskIo;
  readonly #requests: Requests;
  readonly #ownTasks: OwnTasks;
  readonly #runner: TaskRunner;
  readonly #clock = new TurnClock();
  readonly #asyncTasksMax: number;
  readonly #lookAround: LookAround;
  /** Whether the event loop had a turn since the last task was started. */
  #hasYielded = false;

  constructor(
    options: MachineOptions,
    handlers: readonly HandlerEntry[],
    hooks: TaskHooks | undefined,
    outbox: MachineOutbox,
  ) {
    const parts = machineParts(options, handlers, outbox);
    const seat = new Seat(parts);
    const sharing = new Sharing(parts, seat);
    const cancellations = new Cancellations(parts.shared);
    const parcels = new ParcelFetch(outbox);
    const rest = new Rest(parts, seat, parcels, cancellations, () => this.#turn());
    const completions = new Completions(parts.shared, parts.table, parts.machine, parts.stats);
    const io = new TaskIo(parts.shared, parts.machine, completions, (value, list) => outbox.sendParcel(value, list));
    const requests = new Requests({
      parts,
      seat,
      sharing,
      cancellations,
      rest,
      io,
      hooks,
      join: (group) => joins.join(group),
      runOnTheSpot: (group, index, handler, argument) => ownTasks.runOnTheSpot(group, index, handler, argument),
    });
    const calls = new HandlerCalls(parts, seat, requests);
    const ownTasks = new OwnTasks({ parts, seat, sharing, rest, io, calls });
    const runner = new TaskRunner({
      parts,
      seat,
      sharing,
      cancellations,
      parcels,
      rest,
      io,
      completions,
      calls,
      ownTasks,
      hooks,
    });
    const joins = new Joins({ parts, seat, sharing, rest, ownTasks, runner, results: io.results });
    this.#load = parts.load;
    this.#ownTasks = ownTasks;
    this.#parts = parts;
    this.#nested = parts.nested;
    this.#seat = seat;
    this.#sharing = sharing;
    this.#cancellations = cancellations;
    this.#parcels = parcels;
    this.#rest = rest;
    this.#io = io;
    this.#requests = requests;
    this.#runner = runner;
    this.#asyncTasksMax = options.asyncTasksMax;
    this.#lookAround = new LookAround(options.lookAroundMs, options.spinMs);
  }

  start(): void {
    this.#io.results.forgetFreed();
    this.#rest.yield();
  }

  /** The value for a task that had to fetch its argument by message, or why it can't have it. */
  parcelArrived(slot: number, ok: boolean, value: unknown): void {
    this.#parcels.arrived(slot, ok, value);
    this.#rest.resume();
  }

  /**
   * Before a wait in a handler: another machine may have the processor. Throws when that is not
   * possible.
   */
  enterBlocking(): void {
    this.#requests.enterBlocking();
  }

  leaveBlocking(): void {
    this.#requests.leaveBlocking();
  }

  /** From the event loop, once a second: gives back memory that was not needed for a while. */
  tick(): void {
    this.#io.results.tick();
    this.#nested.tick();
    this.#parts.shared.arenas.tick();
  }

  // ── the loop ──────────────────────────────────────────────────────────────────────────────────

  #turn(): void {
    if (!this.#rest.turnBegins()) return;
    this.#clock.start();
    this.#cancellations.look();
    let untilDrain = DRAIN_EVERY;
    for (;;) {
      if (this.#parcels.hasArrived) {
        this.#runArrived();
        if (!this.#isTurnOver() && !this.#nested.hasResolved) continue;
        this.#yield();
        return;
      }
      if (this.#parcels.isStalled) {
        this.#seat.processor?.leaveToOthers();
        this.#rest.untilResumed();
        return;
      }
      if (this.#runner.isFull(this.#asyncTasksMax)) {
        if (!this.#waitForRoom()) return;
        if (!this.#isTurnOver()) continue;
        this.#yield();
        return;
      }
      untilDrain -= 1;
      if (untilDrain === 0) {
        untilDrain = DRAIN_EVERY;
        if (this.#nested.hasShared && this.#drain() > 0 && this.#nested.hasResolved) {
          this.#yield();
          return;
        }
      }
      if (this.#runNext()) {
        this.#hasYielded = false;
        if (!this.#isTurnOver() && !this.#nested.hasResolved) continue;
        this.#yield();
        return;
      }
      this.#parts.stats.busyMs(this.#clock.unreadMs());
      if (!this.#sleep()) return;
      this.#clock.start();
      untilDrain = DRAIN_EVERY;
    }
  }

  /**
   * Runs the task whose argument has arrived. Its message may have been faster than a bell for
   * other work, which stays to be found.
   */
  #runArrived(): void {
    if (this.#seat.processor === undefined) this.#seat.take();
    this.#seat.processor?.leaveToOthers();
    this.#hasYielded = false;
    this.#runner.runArrived();
  }

  /**
   * Finds a task and runs it. Returns whether there was one. Tasks in its own queue come before
   * tasks that wait for a slot.
   */
  #runNext(): boolean {
    if (this.#runner.runHeld()) return true;
    if (this.#nested.hasWaiting && this.#seat.processor?.hasLocal() !== true && this.#runWaiting()) return true;
    const slot = this.#seat.findWork();
    if (slot === EMPTY) return false;
    this.#runner.run(slot, this.#seat.claimed);
    return true;
  }

  /**
   * Runs the youngest task that waits for a slot. Returns whether there was one. Works without a
   * processor too: as a step of the handler that waits for it.
   */
  #runWaiting(): boolean {
    const task = this.#nested.takeWaiting();
    if (task === undefined) return false;
    if (this.#seat.processor === undefined) this.#seat.take();
    this.#seat.processor?.passSearchOn();
    this.#ownTasks.runWaiting(task);
    return true;
  }

  /**
   * The most async tasks are pending, or results wait for room. The pending tasks may wait for
   * tasks that they have submitted, so those still run, and their outcomes are read; everything
   * else is left to others. False when the loop comes back by itself.
   */
  #waitForRoom(): boolean {
    this.#drain();
    if (this.#io.results.sendWaiting() > 0) return true;
    if (this.#nested.hasResolved) {
      this.#yield();
      return false;
    }
    if (this.#nested.outstanding > 0 && (this.#runSubmitted() || this.#runWaiting())) return true;
    this.#seat.processor?.leaveToOthers();
    return this.#rest.untilRoom(this.#io.results);
  }

  /** Runs a task that a machine has submitted, if one lies here. Returns whether there was one. */
  #runSubmitted(): boolean {
    if (this.#seat.processor === undefined && !this.#seat.take()) return false;
    const processor = this.#seat.processor as Processor;
    processor.publishPrivate();
    for (let left = processor.localLength(); left > 0; left -= 1) {
      const slot = processor.findLocal();
      if (slot === EMPTY) return false;
      if (!this.#parts.shared.isFromOutside(slot)) {
        if (processor.length() > 0) this.#parts.idle.wakeOne();
        this.#runner.run(slot, processor.claimed);
        return true;
      }
      this.#runner.requeue(slot, processor.claimed);
    }
    return false;
  }

  /**
   * Reads the outcomes of tasks that others have run, and returns their number. They may have made
   * room for more tasks, which others may have.
   */
  #drain(): number {
    const drained = this.#nested.drain();
    if (drained > 0) this.#sharing.shareAll();
    return drained;
  }

  /** Lets the event loop run first. */
  #yield(): void {
    this.#parts.stats.busyMs(this.#clock.unreadMs());
    this.#nested.hasResolved = false;
    this.#hasYielded = true;
    this.#rest.yield();
  }

  #isTurnOver(): boolean {
    const clock = this.#clock;
    if (!clock.isDue()) return false;
    const isOver = clock.read();
    this.#parts.stats.busyMs(clock.elapsedMs);
    const { processor } = this.#seat;
    if (processor !== undefined) {
      processor.takesBatches = clock.areTasksShort;
      processor.passSearchOn();
      this.#seat.noteDepth();
    }
    return isOver;
  }

  // ── with nothing to do ────────────────────────────────────────────────────────────────────────

  /** Sleeps. Returns true when the loop goes on, false when something else brings it back. */
  #sleep(): boolean {
    // Outcomes aren't work: they are read below.
    if (this.#spin() && !this.#nested.hasOutcomes()) return true;
    this.#seat.processor?.passSearchOn();
    this.#parts.stats.copy(this.#seat.counters);
    this.#seat.noteDepth();
    if (this.#closeIfAsked()) return false;
    this.#cancellations.look();
    if (this.#drain() > 0) {
      if (!this.#nested.hasResolved) return true;
      this.#yield();
      return false;
    }
    if (this.#load.pendingAsync > 0) {
      if (this.#hasYielded) return this.#rest.sleepInEventLoop();
      // Most async handlers only wait for a microtask: one turn of the event loop is cheaper than a
      // bell.
      this.#yield();
      return false;
    }
    if (process.stdout.writableLength > 0 || process.stderr.writableLength > 0) return this.#rest.sleepInEventLoop();
    if (this.#rest.block()) return true;
    // It may have begun to search for work that was gone by the second look.
    this.#seat.processor?.passSearchOn();
    return this.#rest.sleepInEventLoop();
  }

  /**
   * Looks for work for a while before sleeping. Returns whether there is some. The machine counts
   * as searching meanwhile, so that a thread that submits one task after the other doesn't wake it
   * for each.
   */
  #spin(): boolean {
    const processor = this.#seat.processor;
    const budgetMs = this.#lookAround.budget();
    if (processor === undefined || this.#load.pendingAsync > 0 || budgetMs === 0) return false;
    const end = performance.now() + budgetMs;
    processor.search();
    let hasFound = false;
    do {
      for (let look = 0; look < SPIN_LOOKS && !hasFound; look += 1) {
        hasFound = processor.seesWork() || this.#nested.hasOutcomes();
      }
    } while (!hasFound && performance.now() < end && !this.#rest.isClosed);
    this.#lookAround.looked(hasFound);
    return hasFound;
  }

  #closeIfAsked(): boolean {
    if (!this.#rest.isClosed || this.#load.pendingAsync > 0 || this.#seat.processor?.seesWork() === true) return false;
    this.#rest.close();
    this.#parts.outbox.closed();
    return true;
  }
}
