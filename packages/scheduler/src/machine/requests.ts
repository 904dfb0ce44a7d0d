/**
 * Carries out the requests that handlers make through their contexts: to submit tasks, to join
 * them, to learn about their own.
 */
import { encode } from "@millrace/codec";
import { FULL } from "@millrace/shared-memory";
import { schedulerError } from "../errors.ts";
import type { ContextHost, TaskContext } from "../handler/context.ts";
import type { Items, ItemsHost } from "../handler/fork-join.ts";
import { bindHandlers, unknownHandler } from "../handler/handlers.ts";
import type { Parent } from "../handler/parent.ts";
import { TaskGroup } from "../handler/task-group.ts";
import type { TaskHooks, TaskStage } from "../handler/task-hooks.ts";
import { attemptOf, NO_SLOT } from "../shared/task-table.ts";
import { ITEMS } from "../shared/values.ts";
import type { Cancellations } from "./cancellations.ts";
import type { MachineParts } from "./machine-parts.ts";
import type { Rest } from "./rest.ts";
import type { Seat } from "./seat.ts";
import type { Sharing } from "./sharing.ts";
import type { TaskIo } from "./task-io.ts";

/**
 * Handlers on the stack from which on a spawned task without a slot waits on the heap: the stack
 * must not grow with a chain of spawns.
 */
const ON_THE_SPOT_DEPTH_MAX = 64;

/** The parts that carry out requests. */
export interface RequestsParts {
  readonly parts: MachineParts;
  readonly seat: Seat;
  readonly sharing: Sharing;
  readonly cancellations: Cancellations;
  readonly rest: Rest;
  readonly io: TaskIo;
  readonly hooks: TaskHooks | undefined;
  /** Runs other tasks until the group has nothing pending. */
  readonly join: (group: TaskGroup) => void;
  /** Runs a task of a group at once, without a slot. */
  readonly runOnTheSpot: (group: TaskGroup, index: number, handler: number, argument: unknown) => void;
}

export class Requests implements ContextHost, ItemsHost {
  readonly machine: number;
  readonly #parts: MachineParts;
  readonly #given: RequestsParts;
  readonly #numbers: ReadonlyMap<string, number>;
  #isFlushDue = false;

  constructor(given: RequestsParts) {
    this.machine = given.parts.machine;
    this.#parts = given.parts;
    this.#given = given;
    this.#numbers = new Map(given.parts.handlers.map(({ name }, number) => [name, number]));
  }

  // ── about the task itself ─────────────────────────────────────────────────────────────────────

  attempt(running: number): number {
    return attemptOf(running);
  }

  record(slot: number, running: number): unknown {
    const header = this.#headerOf(slot);
    return header === undefined ? undefined : this.#given.hooks?.readHeader(header, attemptOf(running));
  }

  openStage(slot: number, mustRun: (what: string) => void): TaskStage | undefined {
    const header = this.#headerOf(slot);
    const names = [...this.#numbers.keys()];
    const bind = (one: (name: string) => unknown): object => bindHandlers(names, one);
    const ask = (value: unknown): Promise<unknown> => this.#parts.outbox.ask(value);
    return header === undefined ? undefined : this.#given.hooks?.openStage(header, { mustRun, bind, ask });
  }

  #headerOf(slot: number): Uint8Array | undefined {
    return this.#given.hooks === undefined || slot === NO_SLOT ? undefined : this.#given.io.header(slot);
  }

  isCancelled(slot: number): boolean {
    return slot !== NO_SLOT && this.#given.cancellations.isCancelled(slot);
  }

  deadlineMs(slot: number): number | undefined {
    return slot === NO_SLOT ? undefined : this.#given.cancellations.deadlineMs(slot);
  }

  watch(context: TaskContext, slot: number): void {
    if (slot !== NO_SLOT) this.#given.cancellations.watch(context, slot);
  }

  // ── blocking ──────────────────────────────────────────────────────────────────────────────────

  blocking<T>(body: () => T): T {
    this.enterBlocking();
    try {
      return body();
    } finally {
      this.leaveBlocking();
    }
  }

  /**
   * Before the thread blocks in a handler. Throws `ERR_ASYNC_PENDING`, `ERR_MACHINES_EXHAUSTED`.
   */
  enterBlocking(): void {
    const { rest, seat, io } = this.#given;
    if (this.#parts.load.pendingAsync > 0) {
      // The wait has overwritten our announcement of sleep: schedule the loop again.
      rest.comeBack();
      throw schedulerError("ERR_ASYNC_PENDING", "this thread can't be blocked: handlers on it wait for its event loop");
    }
    io.results.sendAll();
    seat.enterBlocking();
  }

  leaveBlocking(): void {
    this.#given.seat.leaveBlocking();
  }

  // ── about others ──────────────────────────────────────────────────────────────────────────────

  run(parent: Parent, name: string, argument: unknown): Promise<unknown> {
    const promise = this.#parts.nested.run(parent, this.#handlerNumber(name), argument);
    if (!this.#parts.load.isRunning) this.#flushSoon();
    return promise;
  }

  spawn(group: TaskGroup, index: number, name: string, argument: unknown): void {
    const { sharing, runOnTheSpot } = this.#given;
    const { load, nested } = this.#parts;
    const handler = this.#handlerNumber(name);
    if (nested.spawn(group, index, handler, argument) === FULL) {
      if (load.running < ON_THE_SPOT_DEPTH_MAX) runOnTheSpot(group, index, handler, argument);
      else nested.spawnLater(group, index, handler, argument);
    } else if (load.isRunning) sharing.shareIfWanted();
    else this.#flushSoon();
  }

  join(group: TaskGroup): void {
    this.#given.join(group);
  }

  newGroup(parent: Parent): TaskGroup {
    return new TaskGroup(this, parent, true);
  }

  get isSharingWanted(): boolean {
    const { load, processors, idle } = this.#parts;
    const { seat } = this.#given;
    return load.pendingAsync === 0 && processors.count > 1 && idle.isAnyoneIdle() && seat.processor?.length() === 0;
  }

  spawnItems(group: TaskGroup, items: Items): boolean {
    const { nested, idle } = this.#parts;
    const { processor } = this.#given.seat;
    return group.adopt((index) => {
      const handler = items.map < 0 ? items.reduce : items.map;
      const slot = nested.spawnBytes(group, index, handler, ITEMS, encode(items));
      if (slot === FULL || processor === undefined) return slot !== FULL;
      nested.share(processor, true);
      idle.wakeOne();
      return true;
    });
  }

  #handlerNumber(name: string): number {
    const number = this.#numbers.get(name);
    if (number === undefined) throw unknownHandler(name, [...this.#numbers.keys()]);
    return number;
  }

  /**
   * An async handler has submitted something between tasks: others see it when the handler has
   * paused.
   */
  #flushSoon(): void {
    if (this.#isFlushDue) return;
    this.#isFlushDue = true;
    queueMicrotask(() => {
      this.#isFlushDue = false;
      this.#given.sharing.shareAll();
      this.#given.rest.resume();
    });
  }
}
