/** A handler waits for tasks that it has spawned, and its machine runs tasks meanwhile: the handler's own, then whatever there is. */
import { EMPTY } from "@millrace/shared-memory";
import { schedulerError } from "../errors.ts";
import type { TaskGroup } from "../handler/task-group.ts";
import type { HandlerEntry } from "../handler/handlers.ts";
import { PARCEL } from "../shared/values.ts";
import type { Load } from "./load.ts";
import type { MachineParts } from "./machine-parts.ts";
import type { Processor } from "./processor.ts";
import { PARK_MS, type Rest } from "./rest.ts";
import type { ResultMemory } from "./result-memory.ts";
import type { Seat } from "./seat.ts";
import type { Sharing } from "./sharing.ts";
import type { TaskRunner } from "./task-runner.ts";

/** Joins within joins that still run other tasks; deeper ones only wait, so that the stack has an end. */
const JOIN_DEPTH_MAX = 512;

export class Joins {
  readonly #parts: MachineParts;
  readonly #load: Load;
  readonly #seat: Seat;
  readonly #sharing: Sharing;
  readonly #rest: Rest;
  readonly #runner: TaskRunner;
  readonly #results: ResultMemory;
  /** Tasks that joins have requeued since they ran one, or waited. */
  #refusals = 0;

  constructor(
    parts: MachineParts,
    load: Load,
    seat: Seat,
    sharing: Sharing,
    rest: Rest,
    runner: TaskRunner,
    results: ResultMemory,
  ) {
    this.#parts = parts;
    this.#load = load;
    this.#seat = seat;
    this.#sharing = sharing;
    this.#rest = rest;
    this.#runner = runner;
    this.#results = results;
  }

  join(group: TaskGroup): void {
    const { nested } = this.#parts;
    this.#load.joinBegins();
    this.#results.sendAll();
    try {
      // Ends: every turn runs a task, reads outcomes, or sleeps until there are some.
      while (group.pending > 0) {
        if (this.#helpPrivate()) continue;
        if (nested.drain() > 0) continue;
        if (this.#load.joinDepth < JOIN_DEPTH_MAX && this.#helpOthers()) continue;
        this.#waitForOutcomes();
      }
    } finally {
      this.#load.joinEnds();
      // It may have been woken to search, and goes on with its handler.
      this.#seat.processor?.passSearchOn();
      // From an async handler that goes on: nobody else shares what is left.
      if (!this.#load.isRunning && this.#load.joinDepth === 0) this.#sharing.shareAll();
    }
  }

  #helpPrivate(): boolean {
    const { nested } = this.#parts;
    const slot = nested.pop();
    if (slot === EMPTY) return false;
    this.#seat.processor?.passSearchOn();
    this.#runner.call(slot, nested.claimed, false);
    if (nested.size > 0) this.#sharing.shareIfWanted();
    return true;
  }

  #helpOthers(): boolean {
    const { nested, idle } = this.#parts;
    const slot = this.#seat.findWork();
    if (slot === EMPTY) return false;
    const processor = this.#seat.processor as Processor;
    if (this.#needsEventLoop(slot)) {
      this.#runner.requeue(slot, processor.claimed);
      if (idle.isAnyoneIdle()) idle.wakeOne();
      this.#refusals += 1;
      // What lies behind it may be for a join; where nothing does, others get it all.
      if (this.#refusals > processor.length()) this.#waitAside(slot);
      return true;
    }
    this.#refusals = 0;
    this.#runner.run(slot, processor.claimed);
    // What it has left there isn't this handler's: others may have it.
    if (nested.size > 0 && this.#seat.processor !== undefined) {
      nested.share(this.#seat.processor, true);
      if (idle.isAnyoneIdle()) idle.wakeOne();
    }
    return true;
  }

  /** Whether a task can't be run within a join. */
  #needsEventLoop(slot: number): boolean {
    const { table, handlers } = this.#parts;
    if ((handlers[table.handler(slot)] as HandlerEntry).isAsync) return true;
    return table.argumentKind(slot) === PARCEL || table.isToBeAlone(slot);
  }

  #waitForOutcomes(): void {
    this.#mustRunElsewhere();
    this.#seat.processor?.stopSearching();
    this.#rest.block();
    // It may have been woken to take one that others have left.
    if (this.#seat.processor === undefined && !this.#seat.isInBlocking) this.#seat.take();
  }

  /**
   * As `#waitForOutcomes`, when there is work that a join can't do, such as the task in `slot`: somebody else gets the processor meanwhile. Where too many
   * threads wait in handlers already it is kept; unless a machine has submitted the task, for then the join may be waiting for it.
   */
  #waitAside(slot: number): void {
    const { parker, nested, shared } = this.#parts;
    this.#mustRunElsewhere();
    this.#refusals = 0;
    const { isInBlocking } = this.#seat;
    const isBlocked = !isInBlocking && this.#seat.tryBlock();
    if (isBlocked || isInBlocking) this.#seat.yieldProcessor();
    else if (!shared.isFromOutside(slot)) throw this.#seat.exhausted();
    else this.#seat.processor?.leaveToOthers();
    parker.prepare();
    if (nested.hasOutcomes()) parker.cancel();
    else parker.wait(PARK_MS);
    if (isBlocked) this.#seat.unblock();
  }

  /** What a join waits for runs elsewhere, unless it was begun here by this very join: that needs this thread's event loop. */
  #mustRunElsewhere(): void {
    if (!this.#load.hasOwnPending) return;
    throw schedulerError(
      "ERR_ASYNC_PENDING",
      "a join would block the thread whose event loop its own tasks wait for; await the group's done() instead",
    );
  }
}
