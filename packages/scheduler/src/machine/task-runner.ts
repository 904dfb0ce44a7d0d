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
import { decode, encode } from "@millrace/codec";
import { invariant } from "@millrace/base";
import { unpark } from "@millrace/atomics-sync";
import { EMPTY, FULL, SpscProducer } from "@millrace/shared-memory";
import { Cancellations } from "./cancellations.ts";
import { type ContextHost, TaskContext } from "../handler/context.ts";
import { isThenable, type Items, type ItemsHost, runItems } from "../handler/fork-join.ts";
import type { TaskGroup } from "../handler/task-group.ts";
import type { HandlerEntry } from "../handler/handlers.ts";
import type { MachineParts } from "./machine-parts.ts";
import type { Seat } from "./seat.ts";
import { TaskIo } from "./task-io.ts";
import { runOf } from "../shared/task-table.ts";
import { TRACE } from "../shared/trace-ring.ts";
import { EXPIRED, ITEMS, kindOf, PARCEL } from "../shared/values.ts";

/** The slot of a task that was run on the spot. */
export const NO_SLOT = -1;

export class TaskRunner {
  readonly io: TaskIo;
  readonly cancellations: Cancellations;
  readonly #parts: MachineParts;
  readonly #seat: Seat;
  readonly #host: ContextHost & ItemsHost;
  /** Called when an async task has ended, or room was made: the loop may be waiting for that. */
  readonly #resume: () => void;
  readonly #completions: SpscProducer[];
  readonly #submitterThreads: readonly number[];
  #pendingAsync = 0;
  /** How many of them are surely nothing that the outermost handler that runs now waits for: those that there were when it was called, and calls from
   * outside that its joins have run. */
  #pendingBefore = 0;
  /** Handlers on the stack. */
  #running = 0;
  #joinDepth = 0;
  /** A task that must run alone and was claimed while others were pending; -1 without. */
  #held = EMPTY;
  #heldState = 0;
  /** The pending task that must stay alone; -1 without. */
  #alone = EMPTY;
  /** The task whose argument is on its way, and the state it was claimed in; -1 without. The argument, once it is there. */
  #fetching = EMPTY;
  #fetchingState = 0;
  #hasArrived = false;
  #isArrivedOk = false;
  #arrived: unknown;
  /** Nothing is started before that argument has arrived. */
  #isStalled = false;

  constructor(parts: MachineParts, seat: Seat, host: ContextHost & ItemsHost, resume: () => void) {
    const { shared, machine, outbox } = parts;
    this.#parts = parts;
    this.#seat = seat;
    this.#host = host;
    this.#resume = resume;
    this.io = new TaskIo(shared, machine, (value, list) => outbox.sendParcel(value, list));
    this.cancellations = new Cancellations(shared);
    this.#submitterThreads = shared.memory.submitterThreads;
    this.#completions = Array.from(
      { length: shared.submitters },
      (_, submitter) => new SpscProducer(shared.completions(machine, submitter)),
    );
  }

  /** Async tasks that are pending on this thread. */
  get pendingAsync(): number {
    return this.#pendingAsync;
  }

  /** Whether a handler is on the stack. */
  get isRunning(): boolean {
    return this.#running > 0;
  }

  get isStalled(): boolean {
    return this.#isStalled;
  }

  /** Whether as many async tasks are pending as may be. */
  isFull(asyncTasksMax: number): boolean {
    return this.#pendingAsync >= (this.#alone !== EMPTY || this.#held !== EMPTY ? 1 : asyncTasksMax);
  }

  // ── joins ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Joins on the stack. */
  get joinDepth(): number {
    return this.#joinDepth;
  }

  joinBegins(): void {
    // From an async handler that goes on: it is pending itself, and so may be what it has spawned.
    if (this.#running === 0 && this.#joinDepth === 0) this.#pendingBefore = 0;
    this.#joinDepth += 1;
  }

  joinEnds(): void {
    this.#joinDepth -= 1;
  }

  /** Whether a join may be waiting for something that needs this thread's event loop: it was begun here by that very join. */
  get hasOwnPending(): boolean {
    return this.#pendingAsync > this.#pendingBefore;
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
    const { table, outbox } = this.#parts;
    if (table.isToBeAlone(slot) && this.#pendingAsync > 0) {
      this.#held = slot;
      this.#heldState = state;
      return false;
    }
    if (table.isTimed(slot) && !this.#startTimed(slot, state)) return false;
    if (table.argumentKind(slot) !== PARCEL) return true;
    if (this.#fetching !== EMPTY || this.#running > 0) {
      // One at a time: the handler of the first may block this thread, and the second would wait behind it.
      this.#isStalled = this.#fetching !== EMPTY;
      this.handBack(slot, state);
      return false;
    }
    this.#pendingAsync += 1;
    if (table.isToBeAlone(slot)) this.#alone = slot;
    this.#fetching = slot;
    this.#fetchingState = state;
    outbox.fetchParcel(table.argumentNumber(slot), slot);
    return false;
  }

  /** Notes the start; false when the task's time was over before, and then it is settled. */
  #startTimed(slot: number, state: number): boolean {
    const { table, shared } = this.#parts;
    const deadline = table.deadline(slot);
    if (deadline !== 0 && shared.msUntil(deadline) <= 0) {
      table.setInlineResult(slot, EXPIRED);
      this.#complete(slot, state, false);
      return false;
    }
    table.setStarted(slot, Math.ceil(shared.nowMs()));
    return true;
  }

  /** A claimed task that can't be begun here and now: others may have it. */
  handBack(slot: number, state: number): void {
    this.#parts.table.unclaim(slot, state);
    this.#seat.push(slot);
  }

  /** The value for a task that had to fetch its argument by message, or why it can't have it. Its handler is called by the loop: here, in the middle of the machine's sleep, it
   * couldn't sleep itself. */
  parcelArrived(slot: number, ok: boolean, value: unknown): void {
    invariant(this.#fetching === slot, "a parcel is awaited");
    this.#hasArrived = true;
    this.#isArrivedOk = ok;
    this.#arrived = value;
    this.#isStalled = false;
    this.#resume();
  }

  /** Whether `runArrived` has something to run. */
  get hasArrived(): boolean {
    return this.#hasArrived;
  }

  /** Runs the task whose argument has arrived. */
  runArrived(): void {
    const slot = this.#fetching;
    const value = this.#arrived;
    this.#fetching = EMPTY;
    this.#hasArrived = false;
    this.#arrived = undefined;
    if (this.#alone === slot) this.#alone = EMPTY;
    this.#pendingAsync -= 1;
    if (this.#isArrivedOk) this.#callWith(slot, this.#fetchingState, value, true);
    else this.#settle(slot, this.#fetchingState, false, value, true);
    this.sharePrivate();
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
      argument = this.io.argument(slot);
    } catch (thrown) {
      this.#settle(slot, state, false, thrown, wasShared);
      return;
    }
    this.#callWith(slot, state, argument, wasShared);
    if (this.#parts.nested.size > 0 && this.#running === 0) this.sharePrivate();
  }

  #callWith(slot: number, state: number, argument: unknown, wasShared: boolean): void {
    const { table, handlers, shared, trace } = this.#parts;
    const number = table.handler(slot);
    const handler = handlers[number] as HandlerEntry;
    this.#seat.handlerBegins(slot + 1, this.#running === 0);
    trace?.record(TRACE.start, slot, runOf(state), number, this.#seat.processor?.index ?? -1, shared.submitterOf(slot));
    let context: TaskContext | undefined;
    let outcome: unknown;
    let ok = true;
    if (this.#running === 0 && this.#joinDepth === 0) this.#pendingBefore = this.#pendingAsync;
    this.#running += 1;
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
    this.#running -= 1;
    if (this.#running === 0) this.#seat.outermostHandlerEnds();
    const children = context?.unjoined;
    if (isThenable(outcome) && ok) {
      // Of a list its handlers have been told apart (fork-join.ts).
      if (table.argumentKind(slot) !== ITEMS) handler.isAsync = true;
      trace?.record(TRACE.suspend, slot, runOf(state), number, 0, 0);
      // A promise of our own: another one's `then` may call back twice, or throw.
      const own = Promise.resolve(outcome);
      this.#await(slot, state, children === undefined ? own : withChildren(own, children), context, wasShared);
    } else if (children !== undefined) {
      const own = ok ? Promise.resolve(outcome) : Promise.reject(outcome as Error);
      this.#await(slot, state, withChildren(own, children), context, wasShared);
    } else {
      trace?.record(TRACE.end, slot, runOf(state), number, ok ? 1 : 0, 0);
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
    this.#pendingAsync += 1;
    if (this.#joinDepth > 0 && this.#parts.shared.isFromOutside(slot)) this.#pendingBefore += 1;
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
    this.#pendingAsync -= 1;
    if (this.#alone === slot) this.#alone = EMPTY;
    trace?.record(TRACE.settle, slot, runOf(state), table.handler(slot), ok ? 1 : 0, 0);
    this.#endContext(slot, context);
    this.#settle(slot, state, ok, value, wasShared);
    // There may be room for another call of a handler here.
    this.sharePrivate();
    this.#resume();
  }

  #endContext(slot: number, context: TaskContext | undefined): void {
    if (context === undefined) return;
    context.end();
    this.cancellations.forget(slot);
  }

  // ── the outcome ──────────────────────────────────────────────────────────────────────────────────────────────────

  #settle(slot: number, state: number, ok: boolean, value: unknown, wasShared: boolean): void {
    const { table, nested, stats, idle, outbox } = this.#parts;
    if (!ok && table.mayRetryAfterError(slot, state) && !this.cancellations.isCancelled(slot)) {
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
    this.#complete(slot, state, this.io.writeResult(slot, value, ok));
  }

  #complete(slot: number, state: number, ok: boolean): void {
    const { table, shared, stats } = this.#parts;
    table.finish(slot, state, ok);
    const submitter = shared.submitterOf(slot);
    const ring = this.#completions[submitter] as SpscProducer;
    const word = ring.stage();
    invariant(word !== FULL, "a completion ring has room for every slot of its submitter");
    shared.words[word] = slot;
    // First: who has read the outcome finds it counted.
    stats.settled(ok);
    ring.publish();
    unpark(shared.threads, this.#submitterThreads[submitter] as number);
  }

  // ── tasks without a slot ─────────────────────────────────────────────────────────────────────────────────────────

  /** There is no slot for another task of the group: it is run on the spot, so that a handler may spawn without end. */
  runOnTheSpot(group: TaskGroup, index: number, number: number, argument: unknown): void {
    const handler = this.#parts.handlers[number] as HandlerEntry;
    const context = handler.takesContext ? new TaskContext(this.#host, NO_SLOT, 0) : (undefined as never);
    this.#parts.stats.inline();
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
      this.#settleOnTheSpot(group, index, ok, outcome);
      return;
    }
    const own = ok ? Promise.resolve(outcome) : Promise.reject(outcome as Error);
    this.#pendingAsync += 1;
    const settle = (isOk: boolean, value: unknown): void => {
      this.#pendingAsync -= 1;
      this.#settleOnTheSpot(group, index, isOk, value);
      this.#resume();
    };
    (children === undefined ? own : withChildren(own, children)).then(
      (value) => settle(true, value),
      (error: unknown) => settle(false, error),
    );
  }

  #settleOnTheSpot(group: TaskGroup, index: number, ok: boolean, value: unknown): void {
    this.#parts.stats.settled(ok);
    try {
      group.settled(index, ok, copyOf(value));
    } catch (thrown) {
      group.settled(index, false, thrown);
    }
  }

  // ── the private stack ────────────────────────────────────────────────────────────────────────────────────────────

  /** What handlers left on the private stack becomes visible to others. */
  sharePrivate(): void {
    const { nested, idle, outbox } = this.#parts;
    if (nested.size === 0) return;
    const { processor } = this.#seat;
    if (processor !== undefined) {
      nested.shareAfterTask(processor);
      if (idle.isAnyoneIdle()) idle.wakeOne();
      return;
    }
    // The tasks are queued by their states, the supervisor finds them.
    nested.forgetPrivate();
    outbox.wantsSweep();
  }

  /** While a handler runs: others get half of the private tasks when they have nothing to do. */
  sharePrivateIfWanted(): void {
    const { nested, idle, processors } = this.#parts;
    const { processor } = this.#seat;
    // With handlers pending a join must not wait for other threads: then its tasks stay here.
    if (processors.count === 1 || processor === undefined || this.#pendingAsync > 0) return;
    if (!idle.isAnyoneIdle() || processor.length() > 0) return;
    nested.share(processor, false);
    this.#seat.noteDepth();
    idle.wakeOne();
  }
}

/** As if it had gone to another thread. */
function copyOf(value: unknown): unknown {
  return kindOf(value) < 0 ? decode(encode(value)) : value;
}

/** The outcome of a task whose spawned children are still pending: its own, or else the first error among theirs. */
async function withChildren(own: PromiseLike<unknown>, children: TaskGroup): Promise<unknown> {
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
