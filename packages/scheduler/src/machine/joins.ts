/**
 * A handler waits for tasks that it has spawned. Its machine runs tasks meanwhile: the handler's
 * own, then others.
 *
 * A join runs no async handler of others: the thread's event loop stands still until the join ends.
 * It needs no other machine to go on, and no processor but the one that it may hold. The task that
 * it waits for is in one of three places:
 *
 *   here, not begun         it is run here; last of all, when every other machine waits in a join
 *                           too, an async one as well: that ends the join with ERR_ASYNC_PENDING,
 *                           since only this event loop could go on with it
 *   on another machine      whose thread runs it, or waits in a join above it that began later: so
 *                           joins don't wait in a circle
 *   pending here            the join ends with ERR_ASYNC_PENDING
 *
 * JOINING, a bit per machine (processors.ts): the machine waits in a join, keeps its processor, and
 * has nothing that it may run. The last machine to set its bit wakes the others, each of which then
 * looks at the tasks that its own join waits for.
 */
import { EMPTY } from "@millrace/shared-memory";
import { schedulerError } from "../errors.ts";
import type { HandlerEntry } from "../handler/handlers.ts";
import type { TaskGroup } from "../handler/task-group.ts";
import { PARCEL } from "../shared/values.ts";
import type { Load } from "./load.ts";
import type { MachineParts } from "./machine-parts.ts";
import type { OwnTasks } from "./own-tasks.ts";
import type { Processor } from "./processor.ts";
import { PARK_MS, type Rest } from "./rest.ts";
import type { ResultMemory } from "./result-memory.ts";
import type { Seat } from "./seat.ts";
import type { Sharing } from "./sharing.ts";
import { requireStack } from "./stack.ts";
import type { TaskRunner } from "./task-runner.ts";

/** Joins within joins that still run tasks of others: each of these may go as deep again. */
const HELP_DEPTH_MAX = 512;

export interface JoinsParts {
  readonly parts: MachineParts;
  readonly seat: Seat;
  readonly sharing: Sharing;
  readonly rest: Rest;
  readonly ownTasks: OwnTasks;
  readonly runner: TaskRunner;
  readonly results: ResultMemory;
}

export class Joins {
  readonly #parts: MachineParts;
  readonly #load: Load;
  readonly #seat: Seat;
  readonly #sharing: Sharing;
  readonly #rest: Rest;
  readonly #ownTasks: OwnTasks;
  readonly #runner: TaskRunner;
  readonly #results: ResultMemory;
  readonly #isSyncBound = (handler: number): boolean => !this.#isAsync(handler);
  /** Tasks that joins have requeued since they ran one, or waited. */
  #refusals = 0;

  constructor({ parts, seat, sharing, rest, ownTasks, runner, results }: JoinsParts) {
    this.#parts = parts;
    this.#load = parts.load;
    this.#seat = seat;
    this.#sharing = sharing;
    this.#rest = rest;
    this.#ownTasks = ownTasks;
    this.#runner = runner;
    this.#results = results;
  }

  /**
   * Throws `ERR_ASYNC_PENDING`, and `ERR_JOIN_DEPTH` where the stack leaves no room for a task of
   * the group.
   */
  join(group: TaskGroup): void {
    this.#requireStack(group);
    this.#load.joinBegins();
    this.#results.sendAll();
    try {
      // Ends: every turn runs a task, reads outcomes, or sleeps until there are some.
      while (group.pending > 0) {
        if (this.#helpPrivate() || this.#helpWaiting(group)) continue;
        if (this.#parts.nested.drain() > 0) continue;
        if (this.#load.joinDepth > HELP_DEPTH_MAX) {
          if (!this.#helpGroup(group)) this.#waitAside(group);
        } else if (!this.#helpOthers(group) && !this.#helpGroup(group)) this.#waitForOutcomes(group);
      }
    } finally {
      this.#load.joinEnds();
      // It may have been woken to search, and goes on with its handler.
      this.#seat.processor?.passSearchOn();
      // From an async handler that goes on: nobody else shares what is left.
      if (!this.#load.isRunning && this.#load.joinDepth === 0) this.#sharing.shareAll();
    }
  }

  /**
   * Without room on the stack no task of the group is begun any more: each would come here with a
   * child of its own.
   */
  #requireStack(group: TaskGroup): void {
    try {
      requireStack(this.#load.joinDepth);
    } catch (thrown) {
      this.#parts.nested.drop(group, thrown);
      throw thrown;
    }
  }

  // ── running tasks meanwhile ───────────────────────────────────────────────────────────────────

  #helpPrivate(): boolean {
    const { nested } = this.#parts;
    const slot = nested.pop();
    if (slot === EMPTY) return false;
    this.#seat.processor?.passSearchOn();
    this.#ownTasks.runClaimed(slot, nested.claimed, false);
    if (nested.size > 0) this.#sharing.shareIfWanted();
    return true;
  }

  /** Runs a task of the group that waits for a slot. */
  #helpWaiting(group: TaskGroup): boolean {
    const { nested } = this.#parts;
    const task = nested.hasWaiting ? nested.takeWaiting(group) : undefined;
    if (task === undefined) return false;
    this.#seat.processor?.passSearchOn();
    this.#ownTasks.runWaiting(task);
    return true;
  }

  /**
   * Runs a task of the group that lies in some queue, unless it is async. Returns whether there was
   * one.
   */
  #helpGroup(group: TaskGroup): boolean {
    const { nested } = this.#parts;
    const slot = nested.claimQueued(group, this.#isSyncBound);
    if (slot === EMPTY) return false;
    this.#seat.processor?.passSearchOn();
    this.#runQueued(slot);
    return true;
  }

  #helpOthers(group: TaskGroup): boolean {
    const { nested, idle } = this.#parts;
    const slot = this.#seat.findWork();
    if (slot === EMPTY) return false;
    const processor = this.#seat.processor as Processor;
    if (this.#needsEventLoop(slot)) {
      this.#runner.requeue(slot, processor.claimed);
      if (idle.isAnyoneIdle()) idle.wakeOne();
      this.#refusals += 1;
      // A task behind it may be for a join; if none is, others get all of them.
      if (this.#refusals > processor.length() && !this.#helpGroup(group)) this.#waitAside(group);
      return true;
    }
    this.#refusals = 0;
    this.#runner.run(slot, processor.claimed);
    // The tasks that it has left there aren't this handler's: others may have them.
    if (nested.size > 0 && this.#seat.processor !== undefined) {
      nested.share(this.#seat.processor, true);
      if (idle.isAnyoneIdle()) idle.wakeOne();
    }
    return true;
  }

  /** Whether a task can't be run within a join. */
  #needsEventLoop(slot: number): boolean {
    const { table } = this.#parts;
    return this.#isAsync(table.handler(slot)) || table.argumentKind(slot) === PARCEL || table.isToBeAlone(slot);
  }

  #isAsync(handler: number): boolean {
    return (this.#parts.handlers[handler] as HandlerEntry).isAsync;
  }

  // ── waiting ───────────────────────────────────────────────────────────────────────────────────

  #waitForOutcomes(group: TaskGroup): void {
    this.#mustRunElsewhere();
    if (this.#seat.processor === undefined) {
      this.#waitWithoutProcessor(group);
      return;
    }
    this.#seat.processor.stopSearching();
    this.#rest.block();
  }

  /** Waits as a spare machine does, which may get a processor to help with. */
  #waitWithoutProcessor(group: TaskGroup): void {
    const { nested, processors, machine } = this.#parts;
    processors.joinBegins(machine);
    this.#rest.block(() => processors.doAllJoin() && nested.hasQueued(group));
    processors.joinEnds(machine);
    if (!this.#seat.isInBlocking && this.#seat.take()) return;
    if (processors.doAllJoin()) this.#runQueued(nested.claimQueued(group));
  }

  /**
   * Waits when there is work that a join can't do. A spare machine gets the processor meanwhile, if
   * one may have it; otherwise this machine keeps it, and others take from its queues.
   */
  #waitAside(group: TaskGroup): void {
    this.#mustRunElsewhere();
    this.#refusals = 0;
    const { isInBlocking } = this.#seat;
    const isBlocked = !isInBlocking && this.#seat.tryBlock();
    if (isBlocked || isInBlocking) this.#seat.yieldProcessor();
    else this.#seat.processor?.leaveToOthers();
    const slot = this.#sleepAside(group);
    if (isBlocked) this.#seat.unblock();
    this.#runQueued(slot);
  }

  /**
   * Sleeps until there are outcomes. Where every machine waits in a join: a task of the group that
   * none of them may run.
   */
  #sleepAside(group: TaskGroup): number {
    const { parker, nested, processors, machine } = this.#parts;
    processors.joinBegins(machine);
    if (processors.doAllJoin()) processors.wakeJoining(machine);
    let slot = EMPTY;
    // Ends: every turn but the last sleeps until there are outcomes, or the last machine to join
    // wakes it.
    for (;;) {
      parker.prepare();
      if (nested.hasOutcomes()) break;
      if (processors.doAllJoin()) slot = nested.claimQueued(group);
      if (slot !== EMPTY || !parker.wait(PARK_MS)) break;
    }
    parker.cancel();
    processors.joinEnds(machine);
    return slot;
  }

  #runQueued(slot: number): void {
    if (slot !== EMPTY) this.#ownTasks.runClaimed(slot, this.#parts.nested.claimed, true);
  }

  /**
   * The task that a join waits for runs elsewhere, unless that very join began it here: then the
   * task needs this thread's event loop.
   */
  #mustRunElsewhere(): void {
    if (!this.#load.hasOwnPending) return;
    throw schedulerError(
      "ERR_ASYNC_PENDING",
      "a join would block the thread whose event loop its own tasks wait for; await the group's done() instead",
    );
  }
}
