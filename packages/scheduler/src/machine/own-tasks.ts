/**
 * Tasks that this machine's handlers have submitted and that it runs itself: they hold no slot
 * meanwhile (nested.ts).
 *
 * Where one dies with the machine, so does everything that waits for it, so no other thread needs
 * to know of it.
 */
import { decode, encodeThrown } from "@millrace/codec";
import type { TaskContext } from "../handler/context.ts";
import type { TaskGroup } from "../handler/task-group.ts";
import { NO_SLOT, runOf } from "../shared/task-table.ts";
import { BYTES, kindOf } from "../shared/values.ts";
import type { HandlerCalls } from "./handler-calls.ts";
import type { MachineParts } from "./machine-parts.ts";
import { copyOf } from "./nested.ts";
import type { OwnTask, TaskOwner } from "./nested-task.ts";
import type { Rest } from "./rest.ts";
import type { Seat } from "./seat.ts";
import type { Sharing } from "./sharing.ts";
import type { TaskIo } from "./task-io.ts";

export interface OwnTasksParts {
  readonly parts: MachineParts;
  readonly seat: Seat;
  readonly sharing: Sharing;
  readonly rest: Rest;
  readonly io: TaskIo;
  readonly calls: HandlerCalls;
}

/** A task whose handler has returned a promise. `slot` and `run`: what the trace knows it by. */
interface Pending {
  readonly slot: number;
  readonly run: number;
  readonly number: number;
  readonly context: TaskContext | undefined;
  readonly owner: TaskOwner;
  readonly index: number;
}

export class OwnTasks {
  readonly #parts: MachineParts;
  readonly #seat: Seat;
  readonly #sharing: Sharing;
  readonly #rest: Rest;
  readonly #io: TaskIo;
  readonly #calls: HandlerCalls;
  readonly #submitter: number;
  /**
   * Stands for a slot in the trace, for tasks that never had one: below `NO_SLOT`, each a number of
   * its own.
   */
  #nameless = NO_SLOT;

  constructor({ parts, seat, sharing, rest, io, calls }: OwnTasksParts) {
    this.#parts = parts;
    this.#seat = seat;
    this.#sharing = sharing;
    this.#rest = rest;
    this.#io = io;
    this.#calls = calls;
    this.#submitter = parts.shared.submitterOfMachine(parts.machine);
  }

  /**
   * A task that this machine has claimed in one of its own slots. `wasShared`: it came from a
   * queue, not from the private stack.
   */
  runClaimed(slot: number, state: number, wasShared: boolean): void {
    const { table, nested, stats, shared } = this.#parts;
    const submittedAt = table.time(slot);
    const number = table.handler(slot);
    const kind = table.argumentKind(slot);
    const index = nested.indexOf(slot);
    let argument: unknown;
    try {
      argument = this.#io.argument(slot);
    } catch (thrown) {
      this.#settle(nested.takeOut(slot, wasShared), index, false, thrown);
      return;
    }
    const owner = nested.takeOut(slot, wasShared);
    if (submittedAt === 0) {
      this.#run(slot, runOf(state), number, kind, argument, owner, index);
      return;
    }
    const startedAt = (shared.nowMs() * 1000) | 0;
    stats.waitedMicroseconds((startedAt - submittedAt) | 0);
    this.#run(slot, runOf(state), number, kind, argument, owner, index);
    stats.ranMicroseconds((((shared.nowMs() * 1000) | 0) - startedAt) | 0);
  }

  /** A task that waited for a slot. */
  runWaiting({ handler, argument, owner, index }: OwnTask): void {
    this.#parts.stats.inline();
    this.#run(this.#name(), 0, handler, BYTES, argument, owner, index);
  }

  /**
   * A task of a group for which there is no slot, within the spawn, so that a handler may spawn
   * without end.
   */
  runOnTheSpot(group: TaskGroup, index: number, handler: number, argument: unknown): void {
    const copy = copyOf(argument);
    this.#parts.load.childBegins(group.parent);
    this.#parts.stats.inline();
    this.#run(this.#name(), 0, handler, BYTES, copy, group, index);
  }

  #name(): number {
    this.#nameless = (this.#nameless - 1) | -0x40_00_00_00;
    return this.#nameless;
  }

  #run(
    slot: number,
    run: number,
    number: number,
    kind: number,
    argument: unknown,
    owner: TaskOwner,
    index: number,
  ): void {
    const { trace, load, nested } = this.#parts;
    trace?.started(slot, run, number, this.#seat.processor?.index ?? -1, this.#submitter);
    this.#calls.call(NO_SLOT, 0, number, kind, argument, owner.parent.blamed);
    const { ok, outcome, context } = this.#calls;
    const promise = this.#calls.promise(number, kind);
    if (promise === undefined) {
      trace?.ended(slot, run, number, ok);
      context?.end();
      this.#settle(owner, index, ok, outcome);
    } else {
      trace?.suspended(slot, run, number);
      load.pendingBegins(context, false);
      const pending = { slot, run, number, context, owner, index };
      promise.then(
        (value) => this.#settleLater(pending, true, value),
        (error: unknown) => this.#settleLater(pending, false, error),
      );
    }
    if (nested.size > 0 && !load.isRunning) this.#sharing.shareAll();
  }

  #settleLater({ slot, run, number, context, owner, index }: Pending, ok: boolean, value: unknown): void {
    const { trace, load } = this.#parts;
    load.pendingEnds(context);
    trace?.settled(slot, run, number, ok);
    context?.end();
    this.#settle(owner, index, ok, value);
    // There may be room for another call of a handler here.
    this.#sharing.shareAll();
    this.#rest.resume();
  }

  /**
   * The owner gets a copy, as if another machine had run the task: no object is shared between
   * tasks by chance.
   */
  #settle(owner: TaskOwner, index: number, ok: boolean, value: unknown): void {
    const { nested, stats } = this.#parts;
    let outcome: unknown;
    let isOk = ok;
    try {
      outcome = ok || kindOf(value) >= 0 ? copyOf(value) : decode(encodeThrown(value));
    } catch (thrown) {
      outcome = thrown;
      isOk = false;
    }
    stats.settled(isOk);
    nested.tell(owner, index, isOk, outcome);
  }
}
