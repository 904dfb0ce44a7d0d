/**
 * One task, from its claim to its outcome: on this thread at once, or after a promise.
 *
 * What is written in which order, and what happens if the thread dies in between:
 *
 *   claim                  QUEUED→RUNNING names this machine; the supervisor settles or requeues what RUNNING names
 *   result, then DONE      a half-written result is never read: the state still says RUNNING
 *   completion published   DONE without a completion: the supervisor publishes it
 *   submitter woken        the supervisor wakes every submitter
 *   tasks submitted here   the supervisor frees what nobody runs, and waits for what others run
 */
import { EMPTY } from "@millrace/shared-memory";
import { type ContextHost, TaskContext } from "../handler/context.ts";
import { isThenable, type Items, type ItemsHost, runItems } from "../handler/fork-join.ts";
import type { HandlerEntry } from "../handler/handlers.ts";
import { withChildren } from "../handler/task-group.ts";
import { runOf } from "../shared/task-table.ts";
import { EXPIRED, ITEMS, PARCEL } from "../shared/values.ts";
import type { Cancellations } from "./cancellations.ts";
import type { Completions } from "./completions.ts";
import type { Load } from "./load.ts";
import type { MachineParts } from "./machine-parts.ts";
import type { ParcelFetch } from "./parcel-fetch.ts";
import type { Rest } from "./rest.ts";
import type { Seat } from "./seat.ts";
import type { Sharing } from "./sharing.ts";
import type { TaskIo } from "./task-io.ts";

/** What a task is run with. */
export interface TaskRunnerParts {
  readonly parts: MachineParts;
  readonly load: Load;
  readonly seat: Seat;
  readonly sharing: Sharing;
  readonly cancellations: Cancellations;
  readonly parcels: ParcelFetch;
  readonly rest: Rest;
  readonly io: TaskIo;
  readonly completions: Completions;
  /** What the contexts of handlers ask. */
  readonly host: ContextHost & ItemsHost;
}

export class TaskRunner {
  readonly #parts: MachineParts;
  readonly #load: Load;
  readonly #seat: Seat;
  readonly #sharing: Sharing;
  readonly #cancellations: Cancellations;
  readonly #parcels: ParcelFetch;
  readonly #rest: Rest;
  readonly #io: TaskIo;
  readonly #host: ContextHost & ItemsHost;
  readonly #completions: Completions;
  /** A task that must run alone and was claimed while others were pending; `EMPTY` without. */
  #held = EMPTY;
  #heldState = 0;
  /** The pending task that must stay alone; `EMPTY` without. */
  #alone = EMPTY;

  constructor({ parts, load, seat, sharing, cancellations, parcels, rest, io, completions, host }: TaskRunnerParts) {
    this.#parts = parts;
    this.#load = load;
    this.#seat = seat;
    this.#sharing = sharing;
    this.#cancellations = cancellations;
    this.#parcels = parcels;
    this.#rest = rest;
    this.#io = io;
    this.#host = host;
    this.#completions = completions;
  }

  /** Whether as many async tasks are pending as may be, or results wait for room. */
  isFull(asyncTasksMax: number): boolean {
    if (this.#io.results.isWaiting) return true;
    return this.#load.pendingAsync >= (this.#alone !== EMPTY || this.#held !== EMPTY ? 1 : asyncTasksMax);
  }

  // ── beginning ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Runs the task that was put aside until it is alone; its slot, or `EMPTY`. */
  runHeld(): number {
    const slot = this.#held;
    if (slot === EMPTY) return EMPTY;
    this.#held = EMPTY;
    this.run(slot, this.#heldState);
    return slot;
  }

  /** A task that came from a queue. */
  run(slot: number, state: number): void {
    const { table } = this.#parts;
    if (!table.isPlain(slot) && !this.#mayRun(slot, state)) return;
    const time = table.time(slot);
    if (time !== 0 && !table.isTimed(slot)) this.#runSampled(slot, state, time);
    else this.call(slot, state, true);
  }

  /** False: the task waits, or is settled. */
  #mayRun(slot: number, state: number): boolean {
    const { table } = this.#parts;
    if (table.isToBeAlone(slot) && this.#load.pendingAsync > 0) {
      this.#held = slot;
      this.#heldState = state;
      return false;
    }
    if (table.isTimed(slot) && !this.#startTimed(slot, state)) return false;
    if (table.argumentKind(slot) !== PARCEL) return true;
    if (this.#parcels.isBusy || this.#load.isRunning) {
      this.#parcels.isStalled = this.#parcels.isBusy;
      this.requeue(slot, state);
      return false;
    }
    this.#load.pendingBegins(false);
    if (table.isToBeAlone(slot)) this.#alone = slot;
    this.#parcels.begin(slot, state, table.argumentNumber(slot));
    return false;
  }

  /** Notes the start; false when the task's time was over before, and then it is settled. */
  #startTimed(slot: number, state: number): boolean {
    const { table, shared } = this.#parts;
    const deadline = table.deadline(slot);
    if (deadline !== 0 && shared.msUntil(deadline) <= 0) {
      table.setInlineResult(slot, EXPIRED);
      this.#completions.complete(slot, state, false);
      return false;
    }
    table.setStarted(slot, Math.ceil(shared.nowMs()));
    return true;
  }

  /** A claimed task that can't be begun here and now: others may have it. */
  requeue(slot: number, state: number): void {
    this.#parts.table.unclaim(slot, state);
    this.#seat.push(slot);
  }

  /** Runs the task whose argument has arrived. */
  runArrived(): void {
    const { slot, state, ok, value } = this.#parcels.take();
    if (this.#alone === slot) this.#alone = EMPTY;
    this.#load.pendingEnds();
    if (ok) this.#callWith(slot, state, value, true);
    else this.#settle(slot, state, false, value, true);
    this.#sharing.shareAll();
  }

  #runSampled(slot: number, state: number, submittedAt: number): void {
    const { shared, stats } = this.#parts;
    const startedAt = (shared.nowMs() * 1000) | 0;
    stats.waitedMicroseconds((startedAt - submittedAt) | 0);
    this.call(slot, state, true);
    stats.ranMicroseconds((((shared.nowMs() * 1000) | 0) - startedAt) | 0);
  }

  // ── the handler ──────────────────────────────────────────────────────────────────────────────────────────────────

  /** Calls the handler of a task that may be begun. `wasShared`: it came from a queue, not from this machine's private stack. */
  call(slot: number, state: number, wasShared: boolean): void {
    let argument: unknown;
    try {
      argument = this.#io.argument(slot);
    } catch (thrown) {
      this.#settle(slot, state, false, thrown, wasShared);
      return;
    }
    this.#callWith(slot, state, argument, wasShared);
    if (this.#parts.nested.size > 0 && !this.#load.isRunning) this.#sharing.shareAll();
  }

  #callWith(slot: number, state: number, argument: unknown, wasShared: boolean): void {
    const { table, handlers, shared, trace } = this.#parts;
    const number = table.handler(slot);
    const handler = handlers[number] as HandlerEntry;
    this.#seat.handlerBegins(slot + 1, !this.#load.isRunning);
    trace?.started(slot, runOf(state), number, this.#seat.processor?.index ?? -1, shared.submitterOf(slot));
    let context: TaskContext | undefined;
    let outcome: unknown;
    let ok = true;
    this.#load.handlerBegins();
    try {
      if (table.argumentKind(slot) === ITEMS) {
        context = new TaskContext(this.#host, slot, state);
        outcome = runItems(this.#host, handlers, argument as Items, context);
      } else if (handler.takesContext) {
        context = new TaskContext(this.#host, slot, state);
        outcome = handler.call(argument, context);
      } else outcome = handler.call(argument, undefined as never);
    } catch (thrown) {
      ok = false;
      outcome = thrown;
    }
    this.#load.handlerEnds();
    if (!this.#load.isRunning) this.#seat.outermostHandlerEnds();
    const children = context?.unjoined;
    if (isThenable(outcome) && ok) {
      // fork-join.ts has already marked those of a list.
      if (table.argumentKind(slot) !== ITEMS) handler.isAsync = true;
      trace?.suspended(slot, runOf(state), number);
      // A promise of our own: another one's `then` may call back twice, or throw.
      const own = Promise.resolve(outcome);
      this.#await(slot, state, children === undefined ? own : withChildren(own, children), context, wasShared);
    } else if (children !== undefined) {
      const own = ok ? Promise.resolve(outcome) : Promise.reject(outcome as Error);
      this.#await(slot, state, withChildren(own, children), context, wasShared);
    } else {
      trace?.ended(slot, runOf(state), number, ok);
      this.#endContext(slot, context);
      this.#settle(slot, state, ok, outcome, wasShared);
    }
  }

  #await(
    slot: number,
    state: number,
    promise: PromiseLike<unknown>,
    context: TaskContext | undefined,
    wasShared: boolean,
  ): void {
    this.#load.pendingBegins(this.#parts.shared.isFromOutside(slot));
    if (this.#parts.table.isToBeAlone(slot)) this.#alone = slot;
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
    const { trace, table } = this.#parts;
    this.#load.pendingEnds();
    if (this.#alone === slot) this.#alone = EMPTY;
    trace?.settled(slot, runOf(state), table.handler(slot), ok);
    this.#endContext(slot, context);
    this.#settle(slot, state, ok, value, wasShared);
    // There may be room for another call of a handler here.
    this.#sharing.shareAll();
    this.#rest.resume();
  }

  #endContext(slot: number, context: TaskContext | undefined): void {
    if (context === undefined) return;
    context.end();
    this.#cancellations.forget(slot);
  }

  // ── the outcome ──────────────────────────────────────────────────────────────────────────────────────────────────

  #settle(slot: number, state: number, ok: boolean, value: unknown, wasShared: boolean): void {
    const { table, nested, stats, idle, outbox } = this.#parts;
    if (!ok && table.mayRetryAfterError(slot, state) && !this.#cancellations.isCancelled(slot)) {
      table.retry(slot, state);
      // Not left to this machine alone: it may sleep in its event loop, for other handlers.
      if (this.#seat.push(slot)) idle.wakeOne();
      else outbox.wantsSweep();
      return;
    }
    if (nested.isOwn(slot)) {
      nested.settledHere(slot, ok, value, wasShared);
      stats.settled(ok);
      return;
    }
    // Below another handler nothing waits: it may be blocked for long.
    const mayWait = !this.#load.isRunning && this.#load.joinDepth === 0;
    const written = this.#io.writeResult(slot, state, value, ok, mayWait);
    if (written !== "waits") this.#completions.complete(slot, state, written === "ok");
  }
}
