/**
 * A machine: the loop of a worker thread that finds tasks and runs them while it holds a processor.
 *
 * Sync handlers run back to back; the loop goes through the event loop every few milliseconds (turn-clock.ts), so that timers, promises and ports of
 * the user's module get their turn. An idle machine blocks in Atomics.wait. While async handlers are pending, or when nothing
 * came for `PARK_MS` (so that output, inspector and timers aren't held up for ever), it sleeps in its event loop instead and is
 * woken by its bell. A machine without a processor sleeps likewise, as a spare; what its async handlers go on with needs none.
 *
 * Its parts: the processor that it holds (seat.ts), one task from claim to outcome (task-runner.ts), joins (joins.ts), and what handlers ask for
 * (requests.ts). All run on this thread; what other threads see is written there.
 */
import { LookAround } from "@millrace/atomics-sync/kernel";
import { EMPTY } from "@millrace/shared-memory";
import type { HeaderReader } from "../handler/context.ts";
import { schedulerError } from "../errors.ts";
import type { HandlerEntry } from "../handler/handlers.ts";
import { Joins } from "./joins.ts";
import { CLOSED_LIFECYCLE, LIFECYCLE } from "../shared/layout.ts";
import type { MachineOptions, MachineOutbox } from "./machine-options.ts";
import { type MachineParts, machineParts } from "./machine-parts.ts";
import type { Processor } from "./processor.ts";
import { Requests, type RequestsHost } from "./requests.ts";
import { Seat } from "./seat.ts";
import { TaskRunner } from "./task-runner.ts";
import { TRACE } from "../shared/trace-ring.ts";
import { TurnClock } from "./turn-clock.ts";

/** Longest blocking wait; then the machine sleeps in its event loop. */
const PARK_MS = 100;
/** Looks between two readings of the clock. */
const SPIN_LOOKS = 8;
/** Own outcomes are looked for after so many tasks while others are at work for this machine. */
const DRAIN_EVERY = 8;

export class Machine implements RequestsHost {
  readonly runner: TaskRunner;
  readonly joins: Joins;
  readonly #parts: MachineParts;
  readonly #nested: MachineParts["nested"];
  readonly #parker: MachineParts["parker"];
  readonly #stats: MachineParts["stats"];
  readonly #trace: MachineParts["trace"];
  readonly #idle: MachineParts["idle"];
  readonly #processors: MachineParts["processors"];
  readonly #seat: Seat;
  readonly #clock = new TurnClock();
  readonly #asyncTasksMax: number;
  readonly #lookAround: LookAround;
  readonly #turnBound = (): void => this.#turn();
  /** What brings the loop back: nothing (it runs), a turn of the event loop, the bell, room for another async task. */
  #resumption: "running" | "immediate" | "bell" | "room" | "closed" = "running";
  /** Whether the event loop had a turn since the last task was started. */
  #hasYielded = false;

  constructor(
    options: MachineOptions,
    handlers: readonly HandlerEntry[],
    describe: HeaderReader | undefined,
    outbox: MachineOutbox,
  ) {
    const parts = machineParts(options, handlers, outbox);
    this.#parts = parts;
    this.#nested = parts.nested;
    this.#parker = parts.parker;
    this.#stats = parts.stats;
    this.#trace = parts.trace;
    this.#idle = parts.idle;
    this.#processors = parts.processors;
    this.#seat = new Seat(parts);
    const requests = new Requests(parts, this.#seat, describe, this);
    this.runner = new TaskRunner(parts, this.#seat, requests, () => this.resume());
    this.joins = new Joins(parts, this.#seat, this.runner, () => this.#block(), PARK_MS);
    this.#asyncTasksMax = options.asyncTasksMax;
    this.#lookAround = new LookAround(options.lookAroundMs, options.spinMs);
  }

  start(): void {
    this.runner.io.forgetFreed();
    this.#resumption = "immediate";
    setImmediate(this.#turnBound);
  }

  /** The value for a task that had to fetch its argument by message, or why it can't have it. */
  parcelArrived(slot: number, ok: boolean, value: unknown): void {
    this.runner.parcelArrived(slot, ok, value);
  }

  /** Before a wait in a handler: another machine may have the processor. Throws when that is not possible. */
  enterBlocking(): void {
    if (this.runner.pendingAsync > 0) {
      // What waited has taken back this thread's announcement that its event loop may sleep.
      this.#comeBack();
      throw schedulerError("ERR_ASYNC_PENDING", "this thread can't be blocked: handlers on it wait for its event loop");
    }
    this.#seat.enterBlocking();
  }

  leaveBlocking(): void {
    this.#seat.leaveBlocking();
  }

  // ── the loop ─────────────────────────────────────────────────────────────────────────────────────────────────────

  #turn(): void {
    if (this.#resumption === "closed") return;
    this.#resumption = "running";
    this.#clock.start();
    this.runner.cancellations.look();
    let untilDrain = DRAIN_EVERY;
    for (;;) {
      if (this.runner.hasArrived) {
        this.#runArrived();
        if (!this.#isTurnOver() && !this.#nested.hasResolved) continue;
        this.#yield();
        return;
      }
      if (this.runner.isStalled) {
        this.#seat.processor?.leaveToOthers();
        this.#resumption = "room";
        return;
      }
      if (this.runner.isFull(this.#asyncTasksMax)) {
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
      const slot = this.#next();
      if (slot !== EMPTY) {
        this.#hasYielded = false;
        if (!this.#isTurnOver() && !this.#nested.hasResolved) continue;
        this.#yield();
        return;
      }
      if (!this.#sleep()) return;
      this.#clock.start();
      untilDrain = DRAIN_EVERY;
    }
  }

  /** Runs the task whose argument has arrived. The message may have been faster than a bell that rang for other work: that isn't forgotten. */
  #runArrived(): void {
    if (this.#seat.processor === undefined) this.#seat.take();
    this.#seat.processor?.leaveToOthers();
    this.#hasYielded = false;
    this.runner.runArrived();
  }

  /** Finds a task and runs it; its slot, or `EMPTY`. */
  #next(): number {
    const held = this.runner.runHeld();
    if (held !== EMPTY) return held;
    const slot = this.#seat.findWork();
    if (slot !== EMPTY) this.runner.run(slot, this.#seat.claimed);
    return slot;
  }

  /**
   * As many async tasks are pending as may be. They may be waiting for what they have submitted, so that is still run, and its outcomes are read; everything
   * else is left to others. False when the loop comes back by the bell or by `#resume`.
   */
  #waitForRoom(): boolean {
    this.#drain();
    if (this.#nested.hasResolved) {
      this.#yield();
      return false;
    }
    if (this.#nested.outstanding > 0 && this.#runSubmitted()) return true;
    this.#seat.processor?.leaveToOthers();
    this.#parker.prepareAsync();
    this.runner.cancellations.look();
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
    if (this.#seat.processor === undefined && !this.#seat.take()) return false;
    const processor = this.#seat.processor as Processor;
    processor.giveBack();
    for (let left = processor.localLength(); left > 0; left -= 1) {
      const slot = processor.findLocal();
      if (slot === EMPTY) return false;
      if (!this.#parts.shared.isFromOutside(slot)) {
        if (processor.length() > 0) this.#idle.wakeOne();
        this.runner.run(slot, processor.claimed);
        return true;
      }
      this.runner.handBack(slot, processor.claimed);
    }
    return false;
  }

  /** Reads the outcomes of what others have run; how many. They may have made room for more tasks, which others may have in turn. */
  #drain(): number {
    const drained = this.#nested.drain();
    if (drained > 0) this.runner.sharePrivate();
    return drained;
  }

  /** Lets the event loop run and goes on then. */
  #yield(): void {
    this.#nested.hasResolved = false;
    this.#hasYielded = true;
    this.#resumption = "immediate";
    setImmediate(this.#turnBound);
  }

  #isTurnOver(): boolean {
    const clock = this.#clock;
    if (!clock.isDue()) return false;
    const isOver = clock.read();
    this.#stats.busyMs(clock.elapsedMs);
    const { processor } = this.#seat;
    if (processor !== undefined) {
      processor.takesBatches = clock.areTasksShort;
      processor.handOnSearch();
      this.#seat.noteDepth();
    }
    return isOver;
  }

  // ── sleeping ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Nothing to do: sleeps, and returns true when the loop shall go on, false when something else brings it back. */
  #sleep(): boolean {
    // Outcomes aren't work: they are read below.
    if (this.#spin() && !this.#nested.hasOutcomes()) return true;
    this.#seat.processor?.handOnSearch();
    this.#stats.copy(this.#seat.counters);
    this.#seat.noteDepth();
    if (this.#closeIfAsked()) return false;
    this.runner.cancellations.look();
    if (this.#drain() > 0) {
      if (!this.#nested.hasResolved) return true;
      this.#yield();
      return false;
    }
    if (this.runner.pendingAsync > 0) {
      if (this.#hasYielded) return this.#sleepInEventLoop();
      // Most async handlers only wait for a microtask: one turn of the event loop is cheaper than a bell.
      this.#yield();
      return false;
    }
    if (process.stdout.writableLength > 0 || process.stderr.writableLength > 0) return this.#sleepInEventLoop();
    if (this.#block()) return true;
    // It may have begun to search for work that was gone by the second look.
    this.#seat.processor?.handOnSearch();
    return this.#sleepInEventLoop();
  }

  /** Looks for work for a while before sleeping; whether there is some. Counted as searching meanwhile, so that whoever submits
   * one task after the other doesn't wake this machine for each. */
  #spin(): boolean {
    const processor = this.#seat.processor;
    const budgetMs = this.#lookAround.budgetMs();
    if (processor === undefined || this.runner.pendingAsync > 0 || budgetMs === 0) return false;
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
      this.#trace?.record(TRACE.park, -1, 0, -1, this.#seat.processor === undefined ? 2 : 0, 0);
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
    if (this.#seat.processor === undefined) this.#processors.announceSpare(this.#parts.machine);
    else this.#idle.sleep(this.#parts.machine);
  }

  /** It is awake; true when a waker had picked it. */
  #withdraw(): boolean {
    if (this.#seat.processor === undefined) return this.#processors.cancelSpare(this.#parts.machine);
    if (this.#idle.wakeUp(this.#parts.machine)) {
      this.#seat.processor.wasPicked();
      return true;
    }
    if (this.#seat.processor.seesWork()) this.#seat.processor.search();
    return false;
  }

  /** False: the loop comes back by the bell, or by `#resume`. */
  #sleepInEventLoop(): boolean {
    // In this order for the same reason as in #block.
    this.#parker.prepareAsync();
    if (this.#seat.processor === undefined) this.#processors.announceSpare(this.#parts.machine);
    else this.#idle.sleepAsync(this.#parts.machine);
    if (this.#mustGoOn()) {
      this.#parker.cancel();
      this.#withdrawAsync();
      this.#seat.processor?.search();
      return true;
    }
    this.#stats.park();
    this.#trace?.record(TRACE.park, -1, 0, -1, this.#seat.processor === undefined ? 2 : 1, 0);
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
    if (this.#seat.processor === undefined) this.#processors.cancelSpare(this.#parts.machine);
    else this.#idle.wakeUpAsync(this.#parts.machine);
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
  resume(): void {
    if (this.#resumption === "room" || this.#canGoOn()) this.#comeBack();
  }

  /** From the event loop, where this machine sleeps or not: the loop goes on soon. */
  #comeBack(): void {
    if (this.#resumption !== "room" && this.#resumption !== "bell") return;
    this.#parker.cancel();
    if (this.#resumption === "bell") this.#withdrawAsync();
    this.#yield();
  }

  /** Whether there is something to do beside async tasks that wait for something else. */
  #canGoOn(): boolean {
    return this.runner.pendingAsync === 0 || this.runner.hasArrived || this.#nested.outstanding > 0;
  }

  #mustGoOn(): boolean {
    if (this.#seat.processor === undefined ? this.#processors.isAnyFree() : this.#seat.processor.seesWork())
      return true;
    // What is still pending needs the event loop, and a join its outcomes; both come back by themselves.
    const mustClose = this.#isClosed() && this.runner.pendingAsync === 0 && this.runner.joinDepth === 0;
    return this.#nested.hasOutcomes() || this.runner.cancellations.hasNew() || mustClose;
  }

  #isClosed(): boolean {
    return Atomics.load(this.#parts.shared.words, LIFECYCLE) === CLOSED_LIFECYCLE;
  }

  #closeIfAsked(): boolean {
    if (!this.#isClosed() || this.runner.pendingAsync > 0 || this.#seat.processor?.seesWork() === true) return false;
    this.#resumption = "closed";
    this.#parts.outbox.closed();
    return true;
  }
}
