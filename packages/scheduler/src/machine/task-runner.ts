/**
 * One task, from its claim to its outcome: on this thread at once, or after a promise.
 *
 * What is written in which order, and what happens if the thread dies in between:
 *
 *   claim                  QUEUED→RUNNING names this machine; the supervisor settles or requeues
 *                          what RUNNING names
 *   result, then DONE      a half-written result is never read: the state still says RUNNING
 *   completion published   DONE without a completion: the supervisor publishes it
 *   submitter woken        the supervisor wakes every submitter
 *   tasks submitted here   the supervisor frees what nobody runs, and waits for what others run
 *
 * A task that this machine has submitted itself is run by OwnTasks instead, from its claim on.
 */
import { EMPTY } from "@millrace/shared-memory";
import { type TaskContext, Transferred } from "../handler/context.ts";
import type { TaskHooks, TaskStage } from "../handler/task-hooks.ts";
import type { PausedHandlers } from "../shared/paused.ts";
import type { HandlerEntry } from "../handler/handlers.ts";
import { attemptOf, runOf } from "../shared/task-table.ts";
import { EXPIRED, PARCEL } from "../shared/values.ts";
import { Attempt } from "./attribution.ts";
import type { Cancellations } from "./cancellations.ts";
import type { Completions } from "./completions.ts";
import type { HandlerCalls } from "./handler-calls.ts";
import type { Load } from "./load.ts";
import type { MachineParts } from "./machine-parts.ts";
import type { OwnTasks } from "./own-tasks.ts";
import type { ParcelFetch } from "./parcel-fetch.ts";
import type { Rest } from "./rest.ts";
import type { Seat } from "./seat.ts";
import type { Sharing } from "./sharing.ts";
import type { TaskIo } from "./task-io.ts";
import { TaskTimes } from "./task-times.ts";

/** The parts with which a task is run. */
export interface TaskRunnerParts {
  readonly parts: MachineParts;
  readonly seat: Seat;
  readonly sharing: Sharing;
  readonly cancellations: Cancellations;
  readonly parcels: ParcelFetch;
  readonly rest: Rest;
  readonly io: TaskIo;
  readonly completions: Completions;
  readonly calls: HandlerCalls;
  readonly ownTasks: OwnTasks;
  readonly hooks: TaskHooks | undefined;
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
  readonly #paused: PausedHandlers;
  readonly #completions: Completions;
  readonly #calls: HandlerCalls;
  readonly #ownTasks: OwnTasks;
  readonly #hooks: TaskHooks | undefined;
  readonly #times = new TaskTimes();
  /** A task that must run alone and was claimed while others were pending; `EMPTY` without. */
  #held = EMPTY;
  #heldState = 0;
  /** The pending task that must stay alone; `EMPTY` without. */
  #alone = EMPTY;

  constructor({
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
  }: TaskRunnerParts) {
    this.#parts = parts;
    this.#load = parts.load;
    this.#seat = seat;
    this.#sharing = sharing;
    this.#cancellations = cancellations;
    this.#parcels = parcels;
    this.#rest = rest;
    this.#io = io;
    this.#completions = completions;
    this.#calls = calls;
    this.#ownTasks = ownTasks;
    this.#hooks = hooks;
    this.#paused = parts.shared.paused();
  }

  /**
   * Whether as many async tasks are pending as may be, or results wait for room. Tasks that wait
   * for their children don't count: they can't go on by themselves, and what they wait for may need
   * the room.
   */
  isFull(asyncTasksMax: number): boolean {
    if (this.#io.results.isWaiting) return true;
    if (this.#alone !== EMPTY || this.#held !== EMPTY) return this.#load.pendingAsync > 0;
    return this.#load.selfGoing >= asyncTasksMax;
  }

  // ── beginning ─────────────────────────────────────────────────────────────────────────────────

  /** Runs the task that was put aside until it is alone. Returns whether there was one. */
  runHeld(): boolean {
    const slot = this.#held;
    if (slot === EMPTY) return false;
    this.#held = EMPTY;
    this.run(slot, this.#heldState);
    return true;
  }

  /** A task that came from a queue. */
  run(slot: number, state: number): void {
    const { table, nested } = this.#parts;
    if (nested.isOwn(slot)) {
      this.#ownTasks.runClaimed(slot, state, true);
      return;
    }
    if (this.#paused.areAny && this.#putBack(slot, state)) return;
    if (!table.isPlain(slot) && !this.#mayRun(slot, state)) return;
    const time = table.time(slot);
    if (time !== 0 && !table.isTimed(slot)) this.#runSampled(slot, state, time);
    else this.#call(slot, state);
  }

  /**
   * Leaves a task whose handler is paused to the supervisor (paused.ts). Returns whether it is
   * paused.
   */
  #putBack(slot: number, state: number): boolean {
    const { table } = this.#parts;
    const handler = table.handler(slot);
    if (!this.#paused.has(handler)) return false;
    table.unclaim(slot, state);
    if (!this.#paused.has(handler)) this.#seat.push(slot);
    return true;
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
    this.#load.pendingBegins(undefined, false);
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
    this.#load.pendingEnds(undefined);
    if (ok) this.#callWith(slot, state, value);
    else this.#settle(slot, state, false, value);
    this.#sharing.shareAll();
  }

  #runSampled(slot: number, state: number, submittedAt: number): void {
    const { shared, stats } = this.#parts;
    const startedAt = (shared.nowMs() * 1000) | 0;
    stats.waitedMicroseconds((startedAt - submittedAt) | 0);
    this.#call(slot, state);
    stats.ranMicroseconds((((shared.nowMs() * 1000) | 0) - startedAt) | 0);
  }

  // ── the handler ───────────────────────────────────────────────────────────────────────────────

  /** Calls the handler of a task that may be begun. */
  #call(slot: number, state: number): void {
    let argument: unknown;
    try {
      argument = this.#io.argument(slot);
    } catch (thrown) {
      this.#settle(slot, state, false, thrown);
      return;
    }
    this.#callWith(slot, state, argument);
    if (this.#parts.nested.size > 0 && !this.#load.isRunning) this.#sharing.shareAll();
  }

  #callWith(slot: number, state: number, argument: unknown): void {
    const { table, shared, trace } = this.#parts;
    const number = table.handler(slot);
    const kind = table.argumentKind(slot);
    trace?.started(slot, runOf(state), number, this.#seat.processor?.index ?? -1, shared.submitterOf(slot));
    const isRecord = table.headerBytes(slot) !== 0;
    const attempt = isRecord && this.#parts.handlers[number]?.isAsync === true ? new Attempt() : undefined;
    if (isRecord && this.#io.wantsTime(slot)) this.#times.begin(slot);
    this.#calls.call(slot, state, number, kind, argument, attempt);
    const { ok, outcome, context } = this.#calls;
    const promise = this.#calls.promise(number, kind);
    if (promise !== undefined) {
      trace?.suspended(slot, runOf(state), number);
      this.#await(slot, state, promise, context, attempt);
      return;
    }
    trace?.ended(slot, runOf(state), number, ok);
    this.#endContext(slot, context);
    this.#settle(slot, state, ok, outcome, context?.stage);
  }

  #await(
    slot: number,
    state: number,
    promise: Promise<unknown>,
    context: TaskContext | undefined,
    attempt: Attempt | undefined,
  ): void {
    this.#load.pendingBegins(context, this.#parts.shared.isFromOutside(slot));
    if (this.#parts.table.isToBeAlone(slot)) this.#alone = slot;
    if (attempt !== undefined) {
      this.#awaitAttempt(slot, state, promise, context, attempt);
      return;
    }
    promise.then(
      (value) => this.#settleLater(slot, state, true, value, context),
      (error: unknown) => this.#settleLater(slot, state, false, error, context),
    );
  }

  /** The first of these counts: the promise's outcome, or an uncaught error of its work. */
  #awaitAttempt(
    slot: number,
    state: number,
    promise: Promise<unknown>,
    context: TaskContext | undefined,
    attempt: Attempt,
  ): void {
    attempt.begin((error) => {
      // The handler may run on: its signal aborts.
      context?.abort();
      this.#settleLater(slot, state, false, error, context);
    });
    promise.then(
      (value) => {
        if (attempt.end()) this.#settleLater(slot, state, true, value, context);
      },
      (error: unknown) => {
        if (attempt.end()) this.#settleLater(slot, state, false, error, context);
      },
    );
  }

  #settleLater(slot: number, state: number, ok: boolean, value: unknown, context: TaskContext | undefined): void {
    const { trace, table } = this.#parts;
    this.#load.pendingEnds(context);
    if (this.#alone === slot) this.#alone = EMPTY;
    trace?.settled(slot, runOf(state), table.handler(slot), ok);
    this.#endContext(slot, context);
    this.#settle(slot, state, ok, value, context?.stage);
    // There may be room for another call of a handler here.
    this.#sharing.shareAll();
    this.#rest.resume();
  }

  #endContext(slot: number, context: TaskContext | undefined): void {
    if (context === undefined) return;
    context.end();
    this.#cancellations.forget(slot);
  }

  // ── the outcome ───────────────────────────────────────────────────────────────────────────────

  #settle(slot: number, state: number, ok: boolean, value: unknown, stage?: TaskStage): void {
    const { table, idle, outbox } = this.#parts;
    if (!ok && table.mayRetryAfterError(slot, state) && !this.#cancellations.isCancelled(slot)) {
      table.retry(slot, state);
      // Not left to this machine alone: it may sleep in its event loop, for other handlers.
      if (this.#seat.push(slot)) idle.wakeOne();
      else outbox.wantsSweep();
      return;
    }
    // Below another handler nothing waits: it may be blocked for long.
    const mayWait = !this.#load.isRunning && this.#load.joinDepth === 0;
    const result = table.headerBytes(slot) === 0 ? value : this.#toSubmitter(slot, state, ok, value, stage);
    const written = this.#io.writeResult(slot, state, result, ok, mayWait);
    if (written !== "waits") this.#completions.complete(slot, state, written === "ok");
  }

  /**
   * The value that the submitter of a task with a header gets, beside whether its handler returned.
   */
  #toSubmitter(slot: number, state: number, ok: boolean, value: unknown, stage: TaskStage | undefined): unknown {
    const ranMs = this.#times.end(slot);
    if (!ok) {
      const { call } = this.#parts.handlers[this.#parts.table.handler(slot)] as HandlerEntry;
      const header = this.#io.header(slot) as Uint8Array;
      const thrown = { handler: call, thrown: value, runsBefore: attemptOf(state), ranMs };
      return this.#hooks === undefined ? value : this.#hooks.failureOf(header, thrown);
    }
    if (stage === undefined && !this.#io.wantsResult(slot)) return undefined;
    const result = value instanceof Transferred ? value.value : value;
    return this.#hooks?.outcomeOf(this.#io.header(slot) as Uint8Array, stage, result, ranMs);
  }
}
