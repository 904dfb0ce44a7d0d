/**
 * How a machine sleeps, and what brings its loop back.
 *
 * A machine that has nothing to do blocks in Atomics.wait, or sleeps in its event loop while
 * handlers on it need that. Either way it announces its sleep, looks at every source of work once
 * more, and then sleeps; a waker publishes first and looks for announcements second. Both
 * announcements are made in one order: the parker is armed before the idle bit is set. A waker that
 * picks this machine in between would otherwise mark it as searching and wake nobody.
 */
import { CLOSED_LIFECYCLE, LIFECYCLE } from "../shared/layout.ts";
import { PARKED_BLOCKED, PARKED_IN_EVENT_LOOP, PARKED_SPARE } from "../shared/trace-ring.ts";
import type { Cancellations } from "./cancellations.ts";
import type { Load } from "./load.ts";
import type { MachineParts } from "./machine-parts.ts";
import type { ParcelFetch } from "./parcel-fetch.ts";
import type { ResultMemory } from "./result-memory.ts";
import type { Seat } from "./seat.ts";

/**
 * Longest blocking wait; then the machine sleeps in its event loop, so that output, inspector and
 * timers aren't held up.
 */
export const PARK_MS = 100;

/**
 * How often a machine that sleeps in its event loop looks around by itself, and how long it leaves
 * work that it sees then to another machine that may have been woken for it.
 */
const LOOK_MS = 1000;
const LEAVE_MS = 100;

export class Rest {
  readonly #parts: MachineParts;
  readonly #seat: Seat;
  readonly #load: Load;
  readonly #parcels: ParcelFetch;
  readonly #cancellations: Cancellations;
  readonly #parker: MachineParts["parker"];
  /** One turn of the loop. */
  readonly #turn: () => void;
  /**
   * The event that brings the loop back: none (it runs), a turn of the event loop, the bell, room
   * for another async task.
   */
  #resumption: "running" | "immediate" | "bell" | "room" | "closed" = "running";
  /** Sleeps in the event loop so far. */
  #sleeps = 0;
  /** Whether there is work: the condition of the last sleep. */
  #hasWork: () => boolean = () => false;
  /** The sleep in which work was seen and left to others. */
  #leftIn = 0;
  #isLookDue = false;
  readonly #seesWorkBound = (): boolean => this.#seesWork();
  readonly #lookBound = (): void => this.#look();

  constructor(parts: MachineParts, seat: Seat, parcels: ParcelFetch, cancellations: Cancellations, turn: () => void) {
    this.#parts = parts;
    this.#seat = seat;
    this.#load = parts.load;
    this.#parcels = parcels;
    this.#cancellations = cancellations;
    this.#parker = parts.parker;
    this.#turn = turn;
  }

  /** A turn of the loop begins; false when the machine has closed. */
  turnBegins(): boolean {
    if (this.#resumption === "closed") return false;
    this.#resumption = "running";
    return true;
  }

  /** The next turn of the loop comes after one of the event loop. */
  yield(): void {
    this.#resumption = "immediate";
    setImmediate(this.#turn);
  }

  /** The loop ends for good. */
  close(): void {
    this.#resumption = "closed";
  }

  get isClosed(): boolean {
    return Atomics.load(this.#parts.shared.words, LIFECYCLE) === CLOSED_LIFECYCLE;
  }

  // ── blocking ──────────────────────────────────────────────────────────────────────────────────

  /**
   * Blocks until there is something to do; false when nothing came for `PARK_MS`. `hasMore`: what
   * else there may be to do.
   */
  block(hasMore?: () => boolean): boolean {
    const { stats, trace } = this.#parts;
    this.#parker.prepare();
    this.#announce();
    let woken = true;
    if (this.#seesWork() || (hasMore !== undefined && hasMore())) this.#parker.cancel();
    else {
      stats.park();
      trace?.parked(this.#seat.processor === undefined ? PARKED_SPARE : PARKED_BLOCKED);
      woken = this.#parker.wait(PARK_MS);
      trace?.unparked(woken);
    }
    const wasPicked = this.#withdraw();
    const hasWork = wasPicked || this.#seesWork();
    if (woken && !hasWork) stats.wokenForNothing();
    return hasWork || woken;
  }

  /** Tells others that this machine sleeps. */
  #announce(): void {
    const { machine, processors, idle } = this.#parts;
    if (this.#seat.processor === undefined) processors.announceSpare(machine);
    else idle.sleep(machine);
  }

  /** The machine is awake; true when a waker had picked it. */
  #withdraw(): boolean {
    const { machine, processors, idle } = this.#parts;
    if (this.#seat.processor === undefined) return processors.cancelSpare(machine);
    if (idle.wakeUp(machine)) {
      this.#seat.processor.wasPicked();
      return true;
    }
    if (this.#seat.processor.seesWork()) this.#seat.processor.search();
    return false;
  }

  // ── in the event loop ─────────────────────────────────────────────────────────────────────────

  /**
   * True when there is work: then the loop goes on. Otherwise the bell brings it back, or `resume`.
   */
  sleepInEventLoop(): boolean {
    const { machine, processors, idle, stats, trace } = this.#parts;
    this.#parker.prepareAsync();
    if (this.#seat.processor === undefined) processors.announceSpare(machine);
    else idle.sleepAsync(machine);
    if (this.#seesWork()) {
      this.#parker.cancel();
      this.#withdrawAsync();
      this.#seat.processor?.search();
      return true;
    }
    stats.park();
    trace?.parked(this.#seat.processor === undefined ? PARKED_SPARE : PARKED_IN_EVENT_LOOP);
    this.#resumption = "bell";
    this.#listen(this.#seesWorkBound);
    return false;
  }

  /** Begins nothing until `resume`. */
  untilResumed(): void {
    this.#resumption = "room";
    this.#hasWork = () => false;
  }

  /**
   * Begins nothing until an async task ends, outcomes come, or results have been read that others
   * wait for. True when that has happened: then the loop goes on.
   */
  untilRoom(results: ResultMemory): boolean {
    this.#parker.prepareAsync();
    results.announce();
    this.#cancellations.look();
    if (this.#parts.nested.hasOutcomes() || results.hasFreed()) {
      this.#parker.cancel();
      return true;
    }
    this.#resumption = "room";
    this.#listen(() => this.#parts.nested.hasOutcomes() || results.hasFreed());
    return false;
  }

  /**
   * Sleeps until the bell rings; for no longer than a second where `hasWork` says that it should
   * have rung.
   */
  #listen(hasWork: () => boolean): void {
    this.#sleeps += 1;
    this.#hasWork = hasWork;
    if (!this.#isLookDue) this.#lookIn(LOOK_MS);
    const ring = this.#parker.listen();
    if (ring === "rung") queueMicrotask(() => this.#ring());
    else if (ring !== "listening") void ring.then(() => this.#ring());
  }

  /** One timer for many sleeps: most of them are over before it comes. */
  #lookIn(ms: number): void {
    this.#isLookDue = true;
    setTimeout(this.#lookBound, ms).unref();
  }

  /**
   * The limit of a sleep in the event loop. A machine that goes on by it has missed a wake-up, and
   * counts that.
   */
  #look(): void {
    this.#isLookDue = false;
    if (this.#resumption !== "room" && this.#resumption !== "bell") return;
    // On a busy machine the timer may come before a bell that has rung.
    if (this.#parker.isNotified() || !this.#hasWork()) {
      this.#lookIn(LOOK_MS);
      return;
    }
    if (this.#leftIn !== this.#sleeps) {
      this.#leftIn = this.#sleeps;
      this.#lookIn(LEAVE_MS);
      return;
    }
    this.#parts.stats.missedWakeUp();
    this.comeBack();
  }

  #withdrawAsync(): void {
    const { machine, processors, idle } = this.#parts;
    if (this.#seat.processor === undefined) processors.cancelSpare(machine);
    else idle.wakeUpAsync(machine);
  }

  #ring(): void {
    this.#parker.answered();
    if (this.#resumption === "room") {
      this.#turn();
      return;
    }
    if (this.#resumption !== "bell") return;
    this.#parts.trace?.unparked(true);
    this.#withdrawAsync();
    this.#turn();
  }

  /**
   * Comes back from the event loop although no bell rang: an async task has ended, or something was
   * submitted.
   */
  resume(): void {
    if (this.#resumption === "room" || this.#hasLoopWork()) this.comeBack();
  }

  /** From the event loop, where this machine may sleep: schedules the loop again. */
  comeBack(): void {
    if (this.#resumption !== "room" && this.#resumption !== "bell") return;
    this.#parker.cancel();
    if (this.#resumption === "bell") this.#withdrawAsync();
    this.yield();
  }

  /** Whether there is something to do beside async tasks that wait for something else. */
  #hasLoopWork(): boolean {
    return this.#load.pendingAsync === 0 || this.#parcels.hasArrived || this.#parts.nested.outstanding > 0;
  }

  #seesWork(): boolean {
    const { processors, nested } = this.#parts;
    const { processor } = this.#seat;
    if (processor === undefined ? processors.isAnyFree() : processor.seesWork()) return true;
    // A pending task needs the event loop, and a join needs its outcomes; both come back by
    // themselves.
    const mustClose = this.isClosed && this.#load.pendingAsync === 0 && this.#load.joinDepth === 0;
    return nested.hasOutcomes() || this.#cancellations.hasNew() || mustClose;
  }
}
